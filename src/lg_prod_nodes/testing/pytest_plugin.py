"""Pytest plugin: a test that takes `policy_law` or `node_law` runs once for each law and each way to run a graph."""

from __future__ import annotations

from typing import Any


def pytest_generate_tests(metafunc: Any) -> None:
    """Parametrize a test with the laws."""
    for name in {"policy_law", "node_law"}.intersection(metafunc.fixturenames):
        from lg_prod_nodes import testing

        laws = testing.policy_laws() if name == "policy_law" else testing.node_laws()
        metafunc.parametrize(name, laws, ids=str)
