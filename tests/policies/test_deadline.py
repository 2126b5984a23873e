"""A run's deadline, on a clock that tests move."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from tests.conftest import FakeClock
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    invoke,
    notes,
    one,
)

from lg_prod_nodes import (
    CaptureErrors,
    ConfigurationError,
    Deadline,
    DeadlineExceeded,
    RateLimit,
    Run,
    as_middleware,
    current_run,
    guard,
    harden,
)


class Clock(FakeClock):
    """A clock whose sleepers wait until somebody advances it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        while self._waiting and self._waiting[0][0] <= self.seconds:
            _, _, sleeper = heapq.heappop(self._waiting)
            if not sleeper.done():
                sleeper.set_result(None)

    async def asleep(self, seconds: float, bell: object = None) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.seconds + seconds, id(sleeper), sleeper))
        await sleeper


@pytest.fixture
def clock() -> Clock:
    return Clock()


DONE = notes("done")


def takes(clock: Clock, seconds: float, then: Callable[[Any], Any] = DONE) -> Any:
    """A node during which time passes."""

    def node(state: Any) -> Any:
        clock.advance(seconds)
        return then(state)

    return node


def chain(*nodes: Any, **options: Any) -> StateGraph[Any]:
    builder = StateGraph(State)
    for number, node in enumerate(nodes):
        builder.add_node(f"n{number}", node, **options)
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return builder


async def test_a_run_that_is_in_time_is_as_it_was(run: Runner, clock: Clock) -> None:
    graph = harden(
        chain(takes(clock, 4.0), takes(clock, 5.0)), [Deadline(10.0)], clock=clock
    ).compile()
    assert (await run(graph, {"log": []}))["log"] == ["done", "done"]


async def test_no_node_begins_when_the_time_is_over(run: Runner, clock: Clock) -> None:
    graph = harden(
        chain(takes(clock, 10.0), notes("late")), [Deadline(10.0)], clock=clock
    ).compile()
    told = Run()

    with pytest.raises(DeadlineExceeded, match="deadline of 10 s") as refusal:
        await run(graph, {"log": []}, control=told)

    assert (refusal.value.seconds, refusal.value.policy) == (10.0, "Deadline")
    assert (told.report.outcome, told.report.events["call_rejected"]) == ("rejected", 1)


async def test_nor_in_a_subgraph_whose_own_deadline_is_later(run: Runner, clock: Clock) -> None:
    inner = harden(
        chain(takes(clock, 10.0), notes("late")), [Deadline(99.0)], clock=clock
    ).compile()
    graph = harden(chain(inner), [Deadline(10.0)], clock=clock).compile()

    with pytest.raises(DeadlineExceeded):
        await run(graph, {"log": []})


async def test_nor_a_model_s_call(run: Runner, clock: Clock) -> None:
    model = FakeModel()
    graph = harden(chain(takes(clock, 10.0, asks(model))), [Deadline(10.0)], clock=clock).compile()

    with pytest.raises(DeadlineExceeded):
        await run(graph, {"messages": [("user", "hi")]})
    assert model.asked == []


async def test_each_run_and_each_resumption_has_its_time(run: Runner, clock: Clock) -> None:
    asking = takes(clock, 9.0, lambda state: {"text": interrupt("how?")})
    graph = harden(one(asking), [Deadline(10.0)], clock=clock).compile(InMemorySaver())
    told = Run()

    await run(graph, {"log": []}, THREAD, control=told)
    clock.advance(100.0)
    result = await run(graph, Command(resume="so"), THREAD, control=told)

    assert result["text"] == "so"


@pytest.mark.parametrize("writes_stream", [False, True])
async def test_an_asynchronous_node_is_cancelled(clock: Clock, writes_stream: bool) -> None:
    ended: list[str] = []
    started = asyncio.Event()

    async def endless(state: State) -> Any:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    graph = harden(one(endless), [Deadline(10.0)], clock=clock).compile()

    async def read() -> None:
        if writes_stream:
            async for _ in graph.astream_events({"log": []}, version="v2"):
                pass
        else:
            await graph.ainvoke({"log": []})

    reading = asyncio.create_task(read())
    await started.wait()
    clock.advance(10.0)
    with pytest.raises(DeadlineExceeded):
        await reading
    assert ended == ["cleaned up"]
    assert reading.cancelling() == 0


async def test_a_cancelled_run_stays_cancelled(clock: Clock) -> None:
    started = asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    graph = harden(one(endless), [Deadline(10.0)], clock=clock).compile()
    running = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_node_that_swallows_its_cancellation_may_end(clock: Clock) -> None:
    started = asyncio.Event()

    async def stubborn(state: State) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return {"log": ["ended"]}

    graph = harden(one(stubborn), [Deadline(10.0)], clock=clock).compile()
    running = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    clock.advance(10.0)
    assert (await running)["log"] == ["ended"]


async def test_no_retry_waits_beyond_it(run: Runner, clock: Clock) -> None:
    tries: list[int] = []

    def fails(state: State) -> Any:
        tries.append(1)
        raise ConnectionError

    slow = RetryPolicy(initial_interval=10.0, jitter=False, retry_on=lambda error: True)
    graph = harden(one(fails, retry_policy=slow), [Deadline(10.0)], clock=clock).compile()

    with pytest.raises(DeadlineExceeded) as refusal:
        await run(graph, {"log": []})
    assert isinstance(refusal.value.__cause__, ConnectionError)
    assert len(tries) == 1


async def test_its_refusal_is_not_tried_again(run: Runner, clock: Clock) -> None:
    tries: list[int] = []
    late = takes(clock, 10.0, lambda state: tries.append(1) or asks(FakeModel())(state))
    graph = harden(one(late, retry_policy=AT_ONCE), [Deadline(10.0)], clock=clock).compile()

    with pytest.raises(DeadlineExceeded):
        await run(graph, {"messages": [("user", "hi")]})
    assert len(tries) == 1


async def test_no_policy_waits_beyond_it(run: Runner, clock: Clock) -> None:
    policies = [Deadline(10.0), RateLimit("1/minute", max_wait=120.0)]
    graph = harden(one(notes("x")), policies, clock=clock).compile()

    await run(graph, {"log": []})
    with pytest.raises(DeadlineExceeded):
        await run(graph, {"log": []})
    assert clock.slept == []


async def test_nodes_know_what_is_left(run: Runner, clock: Clock) -> None:
    left: list[float | None] = []

    def node(state: State) -> Any:
        left.append(current_run().remaining())  # type: ignore[union-attr]

    graph = harden(chain(takes(clock, 4.0), node), [Deadline(10.0)], clock=clock).compile()
    await run(graph, {"log": []})
    assert left == [6.0]
    assert Run().remaining() is None


async def test_it_can_be_answered_like_any_refusal(run: Runner, clock: Clock) -> None:
    capture = CaptureErrors(then={"rejected": "end"}, reply={"rejected": "That takes too long."})
    graph = harden(
        chain(takes(clock, 10.0), notes("late")), [capture, Deadline(10.0)], clock=clock
    ).compile()

    result = await run(graph, {"messages": [("user", "hi")]})
    assert result["messages"][-1].text == "That takes too long."


async def test_is_for_runs_alone() -> None:
    for attach in (
        lambda: harden(one(notes("x")), nodes={"node": [Deadline(1.0)]}).compile(),
        lambda: guard(Deadline(1.0))(notes("x")),
        lambda: create_agent(FakeModel(), [], middleware=[as_middleware(Deadline(1.0))]),
    ):
        with pytest.raises(ConfigurationError, match="whole run"):
            attach()
    with pytest.raises(ConfigurationError, match="above 0"):
        Deadline(0)
    graph = harden(one(notes("x")), [Deadline(1.0)]).compile()
    assert (await invoke(graph, {"log": []}))["log"] == ["x"]
