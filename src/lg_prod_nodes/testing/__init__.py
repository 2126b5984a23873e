"""Tests that your own policies and nodes preserve LangGraph's behavior, and a chat model that needs no network.

    from lg_prod_nodes.testing import check_policy

    def test_my_policy():
        check_policy(MyPolicy())

Each law is a small graph that runs once bare and once with the policies around it; the caller must see no difference.
With pytest, a test that takes `policy_law` or `node_law` runs once for each law and each way to run a graph.
"""

from __future__ import annotations

from lg_prod_nodes.testing.chat_model import FakeChatModel
from lg_prod_nodes.testing.laws import LawBroken, PolicyLaw, check_policy, policy_laws
from lg_prod_nodes.testing.nodes import NodeLaw, check_node, node_laws

__all__ = [
    "FakeChatModel",
    "LawBroken",
    "NodeLaw",
    "PolicyLaw",
    "check_node",
    "check_policy",
    "node_laws",
    "policy_laws",
]
