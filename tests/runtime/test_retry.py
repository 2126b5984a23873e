"""LangGraph's retries of a guarded node: the user's decision, asked as often as LangGraph asks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained, NodeTimeoutError
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, Deadline, Policy, Run, harden

PATIENT = 60.0
THREAD: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    text: str


class Decides:
    """A user's `retry_on`, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, error: Exception) -> bool:
        self.asked += 1
        return isinstance(error, ConnectionError)


def failing(times: int, error: type[Exception] = ConnectionError) -> Callable[[State], State]:
    left = iter(range(times))

    def node(state: State) -> State:
        if next(left, None) is not None:
            raise error
        return {"text": "done"}

    return node


def one(node: Any, **options: Any) -> Any:
    return StateGraph(State).add_node("node", node, **options).add_edge(START, "node")


def quick(decides: Decides, attempts: int = 10) -> RetryPolicy:
    return RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=attempts, retry_on=decides)


STACKS: dict[str, list[Policy]] = {
    "bare": [],
    "errors captured": [CaptureErrors()],
    "deadline": [Deadline(60.0)],
    "both": [CaptureErrors(), Deadline(60.0)],
    "continues": [CaptureErrors(then={"permanent": "continue"})],
}


@pytest.mark.parametrize("policies", STACKS.values(), ids=STACKS)
def test_retry_on_is_asked_once_for_each_failure(policies: list[Policy]) -> None:
    decides = Decides()
    graph = harden(one(failing(3), retry_policy=quick(decides)), policies).compile()

    assert graph.invoke({}) == {"text": "done"}
    assert decides.asked == 3


@pytest.mark.parametrize("policies", STACKS.values(), ids=STACKS)
async def test_retry_on_is_asked_once_for_each_failure_of_an_async_run(
    policies: list[Policy],
) -> None:
    decides = Decides()
    graph = harden(one(failing(3), retry_policy=quick(decides)), policies).compile()

    assert await graph.ainvoke({}) == {"text": "done"}
    assert decides.asked == 3


def test_an_error_that_is_not_retried_is_asked_about_once() -> None:
    decides = Decides()
    node = failing(1, LookupError)
    graph = harden(one(node, retry_policy=quick(decides)), [CaptureErrors()]).compile()

    with pytest.raises(LookupError):
        graph.invoke({})
    assert decides.asked == 1


def test_the_last_attempt_is_the_last() -> None:
    decides = Decides()
    graph = harden(one(failing(5), retry_policy=quick(decides, 3)), [Deadline(60.0)]).compile()

    with pytest.raises(ConnectionError):
        graph.invoke({})
    assert decides.asked == 3


@pytest.mark.parametrize("jitter", [False, True])
def test_pauses_are_as_long_as_langgraph_s_own(
    monkeypatch: pytest.MonkeyPatch, jitter: bool
) -> None:
    policy = RetryPolicy(
        initial_interval=1.0, backoff_factor=3.0, max_interval=5.0, max_attempts=9, jitter=jitter
    )
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.25)
    harden(one(failing(3), retry_policy=policy), [CaptureErrors()]).compile().invoke({})

    assert slept == [pause + 0.25 * jitter for pause in (1.0, 3.0, 5.0)]


def test_langgraph_notes_on_an_error_which_task_it_failed() -> None:
    """Attempts are found by it."""
    with pytest.raises(LookupError) as raised:
        one(failing(1, LookupError)).compile().invoke({})
    (note,) = raised.value.__notes__
    assert "with name 'node' and id '" in note


def test_a_drain_leaves_langgraph_s_retry_module_alone() -> None:
    from langgraph.pregel import _retry

    harden(one(failing(0)), [CaptureErrors()]).compile().invoke({})

    assert (_retry.time, _retry.asyncio) == (time, asyncio)


async def test_a_drain_does_not_abandon_a_node_with_a_timeout() -> None:
    """The watchdog of a timeout waits by the same means as a pause before a retry."""
    begun, may_end, run = asyncio.Event(), asyncio.Event(), Run()
    ended: list[str] = []

    async def works(state: State) -> State:
        begun.set()
        await may_end.wait()
        ended.append("once")
        return {"text": "done"}

    inner = one(works, timeout=PATIENT).compile()
    builder = one(inner).add_node("after", lambda state: state).add_edge("node", "after")
    graph = harden(builder, [CaptureErrors()]).compile(InMemorySaver())
    running = asyncio.create_task(graph.ainvoke({}, THREAD, control=run))
    await begun.wait()
    run.request_drain()
    await asyncio.sleep(0)
    may_end.set()

    with pytest.raises(GraphDrained):
        await running
    await graph.ainvoke(None, THREAD)
    assert ended == ["once"]


def pauses(run: Run) -> bool:
    attempts: Any = run.attempts.values()
    return any(attempt.pauses for attempt in attempts)


async def test_a_timeout_that_is_retried_ends_at_a_drain() -> None:
    tried, run = asyncio.Event(), Run()

    async def hangs(state: State) -> None:
        tried.set()
        await asyncio.Event().wait()

    patient = RetryPolicy(
        initial_interval=PATIENT, jitter=False, retry_on=lambda e: isinstance(e, NodeTimeoutError)
    )
    graph = harden(one(hangs, timeout=0.01, retry_policy=patient), [CaptureErrors()]).compile()
    running = asyncio.create_task(graph.ainvoke({}, control=run))
    await tried.wait()
    while not pauses(run):  # noqa: ASYNC110 - LangGraph tells nobody that it pauses
        await asyncio.sleep(0)
    run.request_drain()

    with pytest.raises(GraphDrained):
        await asyncio.wait_for(running, PATIENT / 2)


def test_a_synchronous_pause_ends_at_a_drain() -> None:
    tried, run = threading.Event(), Run()

    def fails(state: State) -> None:
        tried.set()
        raise ConnectionError

    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    graph = harden(one(fails, retry_policy=patient), [CaptureErrors()]).compile()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(graph.invoke, {}, control=run)
        assert tried.wait(PATIENT / 2)
        run.request_drain()
        with pytest.raises(GraphDrained):
            running.result(PATIENT / 2)
