"""The laws of LangGraph, as tests of one's own policies and nodes: what passes through, whatever stands around it.

    from lg_prod_nodes.testing import check_policy

    def test_my_policy():
        check_policy(MyPolicy())

Each law is a small graph that is run bare, and run again with the policies around it: the caller must not see a
difference. With pytest, a test that takes `policy_law` or `node_law` runs once for each law and way.
"""

from __future__ import annotations

from lg_prod_nodes.testing.laws import LawBroken, PolicyLaw, check_policy, policy_laws
from lg_prod_nodes.testing.nodes import NodeLaw, check_node, node_laws

__all__ = [
    "LawBroken",
    "NodeLaw",
    "PolicyLaw",
    "check_node",
    "check_policy",
    "node_laws",
    "policy_laws",
]
