"""Runs come to a checkpoint before their process ends."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Bulkhead,
    CaptureErrors,
    ConfigurationError,
    GracefulShutdown,
    Policy,
    RateLimit,
    Run,
    ShuttingDown,
    harden,
)
from lg_prod_nodes.core.clock import Bell
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
PATIENT = 60.0


class State(TypedDict):
    said: Annotated[list[str], operator.add]


@dataclass
class Steps:
    """Two nodes: the first one lets the test in while it runs, the second one notes that it ran."""

    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def first(self, state: State) -> dict[str, list[str]]:
        self.begun.set()
        assert self.may_end.wait(PATIENT)
        return {"said": ["first"]}

    def second(self, state: State) -> dict[str, list[str]]:
        return {"said": ["second"]}

    def graph(self, policies: list[Policy] | None = None, **nodes: Any) -> Any:
        built = StateGraph(State).add_node("first", self.first, **nodes)
        built.add_node("second", self.second).add_edge(START, "first").add_edge("first", "second")
        return harden(built, policies or [CaptureErrors()]).compile(checkpointer=InMemorySaver())


def end_the_step_when_draining(steps: Steps) -> None:
    while not IN_FLIGHT.is_draining:
        pass
    steps.may_end.set()


def test_a_run_that_goes_on_stops_after_its_step_and_goes_on_later() -> None:
    steps = Steps()
    graph = steps.graph()
    with ThreadPoolExecutor() as threads:
        with GracefulShutdown() as shutdown:
            running = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD)
            assert steps.begun.wait(PATIENT)
            threads.submit(end_the_step_when_draining, steps)
        with pytest.raises(GraphDrained):
            running.result()
    assert graph.get_state(THREAD).next == ("second",)
    assert shutdown.unfinished == 0
    assert graph.invoke(None, THREAD) == {"said": ["hi", "first", "second"]}


def test_no_run_begins_while_others_end() -> None:
    steps = Steps()
    graph, run = steps.graph(), Run()
    IN_FLIGHT.drain("test")
    try:
        with pytest.raises(ShuttingDown, match=r"accepts no new runs; retry in 1 s") as refused:
            graph.invoke({"said": ["hi"]}, THREAD, control=run)
    finally:
        IN_FLIGHT.reopen()
    assert refused.value.retry_after == 1.0
    assert run.report.outcome == "rejected"
    assert run.report.events["call_rejected"] == 1
    assert not steps.begun.is_set()
    assert graph.get_state(THREAD).values == {}
    steps.may_end.set()
    assert graph.invoke({"said": ["hi"]}, THREAD)["said"] == ["hi", "first", "second"]


def test_another_graph_is_left_alone() -> None:
    one, other = Steps(), Steps()
    ending, going_on = one.graph(), other.graph()
    other.may_end.set()
    shutdown = GracefulShutdown(graph=ending)
    with shutdown:
        one.may_end.set()
    IN_FLIGHT.drain("test", vars(ending)["_hardening"])
    try:
        with pytest.raises(ShuttingDown):
            ending.invoke({"said": ["hi"]}, THREAD)
        assert going_on.invoke({"said": ["hi"]}, THREAD)["said"][-1] == "second"
        assert not IN_FLIGHT.is_draining
    finally:
        IN_FLIGHT.reopen(vars(ending)["_hardening"])


def test_the_block_does_not_wait_longer_than_its_grace() -> None:
    steps = Steps()
    graph = steps.graph()
    with ThreadPoolExecutor() as threads:
        with GracefulShutdown(grace=0.01) as shutdown:
            running = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD)
            assert steps.begun.wait(PATIENT)
        assert shutdown.unfinished == 1
        steps.may_end.set()
        with pytest.raises(GraphDrained):
            running.result()


def failing(tried: threading.Event) -> Any:
    def fail(state: State) -> None:
        tried.set()
        raise ConnectionError

    return fail


def retrying(tried: threading.Event, saver: Any = ...) -> Any:
    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    built = StateGraph(State).add_node("fail", failing(tried), retry_policy=patient)
    hardened = harden(built.add_edge(START, "fail"), [CaptureErrors()])
    return hardened.compile(checkpointer=InMemorySaver() if saver is ... else saver)


def drain_in_pause(graph: Any, given: Any, tried: threading.Event, run: Run) -> None:
    """Let a run try, ask it to stop, and see that it does so at once."""
    with ThreadPoolExecutor() as threads:
        running = threads.submit(graph.invoke, given, THREAD, control=run)
        assert tried.wait(PATIENT)
        run.request_drain()
        with pytest.raises(GraphDrained):
            running.result(PATIENT / 2)


async def adrain_in_pause(graph: Any, tried: threading.Event) -> None:
    """Like `drain_in_pause`, in an event loop."""
    run = Run()
    running = asyncio.create_task(graph.ainvoke({"said": ["hi"]}, THREAD, control=run))
    await asyncio.to_thread(tried.wait, PATIENT)
    run.request_drain()
    with pytest.raises(GraphDrained):
        await asyncio.wait_for(running, PATIENT / 2)


def test_a_pause_before_a_retry_ends_at_once() -> None:
    tried, run = threading.Event(), Run()
    graph = retrying(tried)
    drain_in_pause(graph, {"said": ["hi"]}, tried, run)
    assert graph.get_state(THREAD).next == ("fail",)
    assert not graph.get_state(THREAD).tasks[0].error
    assert run.report.outcome == "drained"
    assert run.report.errors == []


@pytest.mark.anyio
async def test_a_pause_before_a_retry_ends_at_once_in_an_event_loop() -> None:
    tried = threading.Event()
    graph = retrying(tried)
    await adrain_in_pause(graph, tried)
    assert graph.get_state(THREAD).next == ("fail",)


def test_who_replaces_sleep_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with pytest.raises(ConnectionError):
        retrying(threading.Event()).invoke({"said": ["hi"]}, THREAD)
    assert slept == [PATIENT, 2 * PATIENT]


def test_a_run_that_is_asked_to_stop_does_not_try_again() -> None:
    tries, run = [], Run()

    def fail(state: State) -> None:
        tries.append("tried")
        run.request_drain()
        raise ConnectionError

    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    built = StateGraph(State).add_node("fail", fail, retry_policy=patient).add_edge(START, "fail")
    graph = harden(built, [CaptureErrors()]).compile(checkpointer=InMemorySaver())
    with pytest.raises(GraphDrained):
        graph.invoke({"said": ["hi"]}, THREAD, control=run)
    assert tries == ["tried"]


def test_what_runs_beside_a_pause_comes_to_its_end_and_is_kept() -> None:
    tried, run, steps = threading.Event(), Run(), Steps()
    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    built = StateGraph(State).add_node("fail", failing(tried), retry_policy=patient)
    built.add_node("first", steps.first).add_edge(START, "fail").add_edge(START, "first")
    graph = harden(built, [CaptureErrors()]).compile(checkpointer=InMemorySaver())
    with ThreadPoolExecutor() as threads:
        running = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD, control=run)
        assert tried.wait(PATIENT)
        assert steps.begun.wait(PATIENT)
        run.request_drain()
        assert not running.done()
        steps.may_end.set()
        with pytest.raises(GraphDrained):
            running.result(PATIENT / 2)
    steps.begun.clear()
    tried.clear()
    again = Run()
    drain_in_pause(graph, None, tried, again)
    assert not steps.begun.is_set()


def test_a_pause_in_a_subgraph_ends_at_once() -> None:
    tried, run = threading.Event(), Run()
    built = StateGraph(State).add_node("inner", retrying(tried, None)).add_edge(START, "inner")
    graph = harden(built, [CaptureErrors()]).compile(checkpointer=InMemorySaver())
    drain_in_pause(graph, {"said": ["hi"]}, tried, run)
    assert graph.get_state(THREAD).next == ("inner",)


def test_a_pause_after_an_edge_failed_ends_at_once() -> None:
    tried, run = threading.Event(), Run()
    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    built = StateGraph(State).add_node("first", lambda state: {"said": []}, retry_policy=patient)
    built.add_edge(START, "first").add_conditional_edges("first", failing(tried), ["first"])
    graph = harden(built, [CaptureErrors()]).compile(checkpointer=InMemorySaver())
    drain_in_pause(graph, {"said": ["hi"]}, tried, run)
    assert graph.get_state(THREAD).next == ("first",)


def tasked(tried: threading.Event) -> Any:
    @task(retry_policy=RetryPolicy(initial_interval=PATIENT, jitter=False))
    def fail() -> None:
        tried.set()
        raise ConnectionError

    @entrypoint(checkpointer=InMemorySaver())
    def flow(said: str) -> None:
        fail().result()

    return harden(cast(Any, flow), [CaptureErrors()])


def test_a_task_s_pause_before_a_retry_ends_at_once() -> None:
    tried, run = threading.Event(), Run()
    graph = tasked(tried)
    drain_in_pause(graph, "hi", tried, run)
    assert graph.get_state(THREAD).next == ("flow",)


@pytest.mark.anyio
async def test_a_graph_s_pause_in_a_node_s_function_ends_at_once() -> None:
    tried = threading.Event()
    patient = RetryPolicy(initial_interval=PATIENT, jitter=False)
    plain = StateGraph(State).add_node("fail", failing(tried), retry_policy=patient)
    called = plain.add_edge(START, "fail").compile()

    async def calls(state: State) -> Any:
        return await called.ainvoke(state)

    built = StateGraph(State).add_node("calls", calls).add_edge(START, "calls")
    graph = harden(built, [CaptureErrors()]).compile(checkpointer=InMemorySaver())
    await adrain_in_pause(graph, tried)
    assert graph.get_state(THREAD).next == ("calls",)


def test_errors_that_slept_stay_picklable() -> None:
    seen: list[Exception] = []

    def fail(state: State) -> None:
        seen.append(ConnectionError())
        raise seen[-1]

    quick = RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=2)
    built = StateGraph(State).add_node("fail", fail, retry_policy=quick).add_edge(START, "fail")
    with pytest.raises(ConnectionError):
        harden(built, [CaptureErrors()]).compile().invoke({"said": []})
    assert [vars(error).get("lg_prod_bell") for error in seen] == [None, None]


def test_a_wait_for_room_in_a_node_ends_at_once() -> None:
    steps, run = Steps(), Run()
    steps.may_end.set()
    limit = RateLimit("1/hour", max_wait=3600.0)
    built = StateGraph(State).add_node("first", steps.first).add_node("second", steps.second)
    built.add_edge(START, "first").add_edge("first", "second")
    limited = harden(built, [CaptureErrors()], nodes={"second": [limit]})
    graph = limited.compile(checkpointer=InMemorySaver())
    graph.invoke({"said": []}, {"configurable": {"thread_id": "0"}})
    with ThreadPoolExecutor() as threads:
        running = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD, control=run)
        while graph.get_state(THREAD).next != ("second",):
            pass
        run.request_drain()
        with pytest.raises(GraphDrained):
            running.result(PATIENT / 2)
    assert graph.get_state(THREAD).next == ("second",)


def test_a_run_that_waits_to_begin_is_refused() -> None:
    steps = Steps()
    steps.may_end.set()
    graph = steps.graph([RateLimit("1/hour", max_wait=3600.0)])
    graph.invoke({"said": []}, {"configurable": {"thread_id": "0"}})
    with ThreadPoolExecutor() as threads:
        with GracefulShutdown():
            running = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD)
            while not IN_FLIGHT.count():
                pass
        with pytest.raises(ShuttingDown):
            running.result(PATIENT / 2)
    assert graph.get_state(THREAD).values == {}


def test_who_waits_for_a_place_stops_and_leaves_it_to_others() -> None:
    steps, run = Steps(), Run()
    bulkhead = Bulkhead(1, max_wait=3600.0)
    graph = steps.graph([bulkhead])
    with ThreadPoolExecutor() as threads:
        first = threads.submit(graph.invoke, {"said": ["hi"]}, THREAD)
        assert steps.begun.wait(PATIENT)
        waiting = threads.submit(
            graph.invoke, {"said": ["hi"]}, {"configurable": {"thread_id": "2"}}, control=run
        )
        while not run.is_started:
            pass
        run.request_drain()
        with pytest.raises(ShuttingDown):
            waiting.result(PATIENT / 2)
        steps.may_end.set()
        assert first.result()["said"][-1] == "second"


class Closes(Resource):
    def __init__(self) -> None:
        self.closed: list[str] = []

    def close(self) -> None:
        self.closed.append("closed")


@dataclass(frozen=True)
class Closed(Policy):
    client: Closes = field(default_factory=Closes)

    @property
    def resources(self) -> tuple[Resource, ...]:
        return (self.client,)

    @property
    def closed(self) -> list[str]:
        return self.client.closed


def test_policies_are_closed_when_the_runs_have_stopped() -> None:
    policy = Closed()
    with GracefulShutdown([policy]):
        assert policy.closed == []
    assert policy.closed == ["closed"]


@pytest.mark.anyio
async def test_policies_are_closed_in_an_event_loop() -> None:
    policy = Closed()
    async with GracefulShutdown([policy]):
        assert policy.closed == []
    assert policy.closed == ["closed"]


def test_a_handler_that_was_there_is_told_and_put_back() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with GracefulShutdown():
            signal.raise_signal(signal.SIGTERM)
            while not IN_FLIGHT.is_draining:
                pass
            assert told == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler
        assert not IN_FLIGHT.is_draining
    finally:
        signal.signal(signal.SIGTERM, before)


BUSY = """
import asyncio, os, signal
from lg_prod_nodes import GracefulShutdown

async def main():
    loop, stops = asyncio.get_running_loop(), []
    call_soon = loop.call_soon_threadsafe
    def counted(*args, **options):
        stops.append(args)
        return call_soon(*args, **options)
    async with GracefulShutdown():
        loop.call_soon_threadsafe = counted
        os.kill(os.getpid(), signal.SIGTERM)
        while len(stops) < 3:
            pass
        try:
            await asyncio.Event().wait()
        finally:
            print(asyncio.current_task().cancelling(), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_block_in_an_event_loop_that_is_busy_is_cancelled_once() -> None:
    command = [sys.executable, "-c", BUSY]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines()[-1:] == ["1"], ended.stderr


def test_a_block_can_be_entered_again() -> None:
    shutdown = GracefulShutdown()
    for _ in range(2):
        with shutdown:
            assert not IN_FLIGHT.is_draining


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan")])
def test_a_grace_that_cannot_be_waited_for_is_refused(grace: float) -> None:
    with pytest.raises(ConfigurationError, match=f"grace is {grace}; give seconds, 0 or more"):
        GracefulShutdown(grace=grace)


def until(draining: bool) -> None:
    while IN_FLIGHT.is_draining != draining:
        pass


@pytest.mark.anyio
async def test_who_is_cancelled_at_the_end_of_the_block_leaves_it() -> None:
    steps = Steps()
    running = asyncio.create_task(steps.graph().ainvoke({"said": ["hi"]}, THREAD))
    await asyncio.to_thread(steps.begun.wait, PATIENT)

    async def block() -> None:
        async with GracefulShutdown():
            pass

    leaving = asyncio.create_task(block())
    await asyncio.to_thread(until, True)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    steps.may_end.set()
    with pytest.raises(GraphDrained):
        await running
    await asyncio.to_thread(until, False)  # its thread is done, without an error


@pytest.mark.anyio
async def test_a_run_that_is_given_twice_is_waited_for_until_both_have_stopped() -> None:
    slow, fast, run = Steps(), Steps(), Run()
    fast.may_end.set()
    running = asyncio.create_task(slow.graph().ainvoke({"said": []}, THREAD, control=run))
    await asyncio.to_thread(slow.begun.wait, PATIENT)
    await fast.graph().ainvoke({"said": []}, THREAD, control=run)
    assert IN_FLIGHT.count() == 1
    slow.may_end.set()
    await running
    assert IN_FLIGHT.count() == 0


def test_a_graph_without_policies_around_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give a graph that was hardened"):
        GracefulShutdown(graph=StateGraph(State))


@pytest.mark.anyio
async def test_a_bell_wakes_tasks_and_those_who_come_later_do_not_wait() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.await_(PATIENT))
    await asyncio.sleep(0)
    threading.Thread(target=bell.ring).start()
    assert await waiting
    assert await bell.await_(PATIENT)
    assert bell.wait(PATIENT)


@pytest.mark.anyio
async def test_a_bell_that_nobody_rings_ends_no_wait() -> None:
    assert not await Bell().await_(0.001)
    assert not Bell().wait(0.001)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
@pytest.mark.parametrize("script", ["running", "waiting", "caught", "group"])
def test_a_script_ends_when_its_run_has_stopped(script: str) -> None:
    with started(script) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENT / 2) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
def test_a_forked_child_waits_for_no_run_of_its_parent() -> None:
    with IN_FLIGHT.held(Run(), None):
        if (child := os.fork()) == 0:
            os._exit(IN_FLIGHT.count())
        _, status = os.waitpid(child, 0)
        assert (IN_FLIGHT.count(), os.WEXITSTATUS(status)) == (1, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_second_signal_ends_a_script_at_once() -> None:
    with started("stubborn") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert b"draining" in process.stdout.readline()
        assert process.stdout.readline() == b"ready\n"  # it went on
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENT / 2) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
def test_a_child_that_was_forked_in_the_block_dies_as_any_other() -> None:
    with started("forked") as process:
        assert process.wait(PATIENT / 2) == signal.SIGTERM


@contextmanager
def started(script: str) -> Iterator[subprocess.Popen[bytes]]:
    program = Path(__file__).parent / "programs/script.py"
    with subprocess.Popen([sys.executable, program, script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()
