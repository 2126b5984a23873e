from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import NodeTimeoutError
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import AT_ONCE, THREAD, Runner, State, fails, notes, one
from tests.policies.test_deadline import Clock

from lg_prod_nodes import (
    ConfigurationError,
    Deadline,
    DeadlineExceeded,
    Run,
    Timeout,
    current_run,
    guard,
    harden,
)

A_MOMENT = 0.01  # of real time: a thread is waited for


class Gate:
    """A synchronous node that waits until it may go on."""

    def __init__(self) -> None:
        self.opens, self.ended, self.tries = threading.Event(), threading.Event(), 0

    def __call__(self, state: State) -> Any:
        self.tries += 1
        self.opens.wait()
        self.ended.set()
        return {"log": ["late"]}


async def test_a_synchronous_node_is_given_up_and_what_it_returns_is_discarded(run: Runner) -> None:
    gate, told = Gate(), Run()
    graph = harden(one(gate), nodes={"node": [Timeout(A_MOMENT)]}).compile(InMemorySaver())

    with pytest.raises(NodeTimeoutError, match=r"'node' exceeded its run timeout of 0.010s"):
        await run(graph, {"log": []}, THREAD, control=told)
    gate.opens.set()
    assert gate.ended.wait(10)

    assert graph.get_state(THREAD).values["log"] == []
    assert told.report.events["node_timed_out"] == 1


async def test_it_is_tried_again_as_langgraph_s_own(run: Runner) -> None:
    gate = Gate()
    retry = AT_ONCE._replace(max_attempts=2)
    graph = harden(one(gate, retry_policy=retry), nodes={"node": [Timeout(A_MOMENT)]}).compile()

    with pytest.raises(NodeTimeoutError):
        await run(graph, {"log": []})
    gate.opens.set()
    assert gate.tries == 2


async def test_an_asynchronous_node_is_cancelled_by_the_call_s_clock() -> None:
    clock, started = Clock(), asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    graph = harden(one(endless), [Timeout(5.0)], clock=clock).compile()
    running = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    clock.advance(5.0)
    with pytest.raises(NodeTimeoutError) as timed_out:
        await running
    assert timed_out.value.elapsed == 5.0


async def test_a_nearer_deadline_cuts_earlier() -> None:
    clock, started = Clock(), asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    graph = harden(one(endless), [Deadline(3.0), Timeout(5.0)], clock=clock).compile()
    running = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    clock.advance(3.0)
    with pytest.raises(DeadlineExceeded):
        await running


def test_a_nearer_deadline_cuts_a_synchronous_node_too() -> None:
    gate = Gate()
    graph = harden(one(gate), [Deadline(A_MOMENT), Timeout(60.0)]).compile()
    with pytest.raises(DeadlineExceeded):
        graph.invoke({"log": []})
    gate.opens.set()


@pytest.mark.parametrize("seconds", [60.0, float("inf")])
async def test_what_is_in_time_is_as_it_was(run: Runner, seconds: float) -> None:
    def node(state: State) -> Any:
        assert current_run() is not None
        get_stream_writer()("written")
        return Command(goto=Send("after", {}), update={"log": ["sent"]})

    builder = one(node, destinations=("after",)).add_node("after", notes("after"))
    graph = harden(builder, [Timeout(seconds)]).compile()

    assert (await run(graph, {"log": []}))["log"] == ["sent", "after"]


async def test_errors_and_interrupts_pass(run: Runner) -> None:
    with pytest.raises(ValueError, match="secret"):
        await run(harden(one(fails), [Timeout(60.0)]).compile(), {"log": []})
    asking = one(lambda state: {"text": interrupt("how?")})
    graph = harden(asking, [Timeout(60.0)]).compile(InMemorySaver())
    assert (await run(graph, {"log": []}, THREAD))["__interrupt__"][0].value == "how?"
    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


def test_decorates_a_node() -> None:
    gate = Gate()
    with pytest.raises(NodeTimeoutError):
        guard(Timeout(A_MOMENT))(gate.__call__)({})
    gate.opens.set()
    with pytest.raises(ConfigurationError, match="above 0"):
        Timeout(0)
