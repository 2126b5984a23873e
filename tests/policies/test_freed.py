"""LangGraph's loops, and what they hold, are freed with the run, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.pregel._loop import AsyncPregelLoop, SyncPregelLoop
from langgraph.types import RetryPolicy
from tests.policies.conftest import FakeModel, one

from lg_prod_nodes import (
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    ContentFilter,
    Deadline,
    Fallback,
    Metrics,
    Redact,
    RunBudget,
    Timeout,
    TokenBudget,
    TokenUsage,
    Tracing,
    harden,
)

HI: Any = {"messages": [("user", "Hi.")]}
POLICIES = [
    *(Metrics(), Tracing(), CaptureErrors(then="continue"), TokenUsage(), Deadline(60.0)),
    *(RunBudget(), Bulkhead(9), TokenBudget("1000000/day", max_output=10), Redact()),
    *(ContentFilter(["bomb"]), CircuitBreaker(), Fallback(answer={})),
]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    made: list[Any] = []
    for cls in (AsyncPregelLoop, SyncPregelLoop):
        init: Any = cls.__init__

        def noted(self: Any, *args: Any, init: Any = init, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            made.append(weakref.ref(self))

        monkeypatch.setattr(cls, "__init__", noted)
    gc.disable()
    yield made
    gc.enable()


async def freed(loops: list[Any]) -> bool:
    """Whether all loops are gone after the event loop has done what was left to do."""
    for _ in range(100):
        await asyncio.sleep(0)
        if loops and not any(loop() for loop in loops):
            return True
    return False


@pytest.mark.parametrize(
    "options",
    [{}, {"retry_policy": RetryPolicy()}, {"timeout": 60.0}],
    ids=["plain", "retried", "timed"],
)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_an_asynchronous_run_is_freed(
    loops: list[Any], model: FakeModel, policy: Any, options: Any
) -> None:
    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = harden(one(node, **options), [policy]).compile()
    await graph.ainvoke(HI)
    assert await freed(loops)


async def test_a_timed_attempt_is_freed(loops: list[Any], model: FakeModel) -> None:
    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    await harden(one(node), nodes={"node": [Timeout(60.0)]}).compile().ainvoke(HI)
    assert await freed(loops)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_synchronous_run_is_freed(loops: list[Any], model: FakeModel, policy: Any) -> None:
    graph = harden(one(lambda s: {"messages": [model.invoke(s["messages"])]}), [policy]).compile()
    graph.invoke(HI)
    assert await freed(loops)


async def test_a_hardened_graph_in_a_bare_one_frees_the_loop_of_that(loops: list[Any]) -> None:
    inner = harden(one(lambda state: {"messages": []}), [Metrics(), RunBudget()]).compile()

    async def node(state: Any) -> Any:
        return await inner.ainvoke(state)

    await one(node).compile().ainvoke(HI)
    assert await freed(loops)
