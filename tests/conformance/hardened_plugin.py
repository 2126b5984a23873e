"""A pytest plugin: every `StateGraph` passes through `harden` with a stack of policies before it compiles.

The limits are far away, nothing that the tests say is redacted or blocked, and nothing that they raise is recovered
from, so a test that passes without this plugin must pass with it. Each test's report says how many graphs it hardened.
"""

import functools
import os
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import pytest
from langgraph.graph.state import StateGraph
from prometheus_client import CollectorRegistry

from lg_prod_nodes import (
    CaptureErrors,
    ContentFilter,
    Fallback,
    Metrics,
    RateLimit,
    Redact,
    TokenUsage,
    Tracing,
    harden,
)


class NeverRaised(Exception):
    """An error that no test raises."""


STACKS = {
    "full": [
        Tracing(),
        Metrics(registry=CollectorRegistry()),
        CaptureErrors(),
        TokenUsage(),
        RateLimit("1000000/second"),
        ContentFilter(blocked=["zzz-never-said"]),
        Redact("IBAN_CODE"),
    ],
    "recovering": [
        CaptureErrors(then={"rate_limited": "continue"}, critical=(NeverRaised,)),
        Fallback(answer={}, on=(NeverRaised,)),
    ],
    "observing": [Tracing(), Metrics(registry=CollectorRegistry()), CaptureErrors(), TokenUsage()],
}
STACK = STACKS[os.environ.get("CONFORMANCE_STACK", "full")]

_hardening: ContextVar[bool] = ContextVar("hardening", default=False)
_compile = StateGraph.compile
_hardened_graphs = 0


@functools.wraps(_compile)
def _hardened_compile(self: StateGraph[Any, Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
    global _hardened_graphs
    if _hardening.get():  # the hardened builder's own compile comes back here through super()
        return _compile(self, *args, **kwargs)
    token = _hardening.set(True)
    try:
        hardened = harden(self, STACK).compile(*args, **kwargs)
    finally:
        _hardening.reset(token)
    _hardened_graphs += 1
    return hardened


StateGraph.compile = _hardened_compile  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    before = _hardened_graphs
    try:
        return (yield)
    finally:
        item.user_properties.append(("hardened graphs", _hardened_graphs - before))
