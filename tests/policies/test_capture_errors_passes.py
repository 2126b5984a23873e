"""What `CaptureErrors` leaves alone, and where else errors come from: subgraphs, sends, agents."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError, NodeError
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import (
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    failed,
    fails,
    notes,
    one,
    said,
)

from lg_prod_nodes import (
    CapturedError,
    CaptureErrors,
    ContentBlocked,
    ContentFilter,
    Run,
    harden,
)

GO_ON = CaptureErrors(then="continue", state_key="log")
pytestmark = pytest.mark.usefixtures("logged")


async def test_interrupts_pass(run: Runner) -> None:
    builder = one(lambda state: {"text": interrupt("how?")})
    graph = harden(builder, [GO_ON]).compile(InMemorySaver())
    told = Run()

    paused = await run(graph, {"log": []}, THREAD, control=told)
    result = await run(graph, Command(resume="so"), THREAD)

    assert paused["__interrupt__"][0].value == "how?"
    assert (result["text"], result["log"], told.report.errors) == ("so", [], [])


@pytest.mark.parametrize("where", [None, Command.PARENT])
async def test_commands_pass(run: Runner, where: str | None) -> None:
    def node(state: State) -> Any:
        return Command(graph=where, goto="after")

    inner = one(node).compile() if where else node
    builder = one(inner, destinations=("after",)).add_node("after", notes("after"))
    graph = harden(builder, [GO_ON]).compile()

    assert (await run(graph, {"log": []}))["log"] == ["after"]


@pytest.mark.parametrize("policy", [CaptureErrors(), GO_ON])
async def test_cancellations_pass(policy: CaptureErrors) -> None:
    started = asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    told = Run()
    task = asyncio.create_task(
        harden(one(endless), [policy]).compile().ainvoke({"log": []}, control=told)
    )
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (told.report.outcome, told.report.errors) == ("cancelled", [])


async def test_critical_errors_are_raised_and_recorded(run: Runner) -> None:
    policy = CaptureErrors(then="continue", state_key="log", critical=(LookupError, ValueError))
    told = Run()

    with pytest.raises(ValueError, match="secret"):
        await run(harden(one(fails), [policy]).compile(), {"log": []}, control=told)
    assert told.report.errors == [CapturedError("node", "ValueError", 1, "critical")]


async def test_refusals_are_raised_and_not_recorded(run: Runner) -> None:
    nodes = {"node": [ContentFilter(["blocked"])]}
    graph = harden(one(notes("blocked")), [GO_ON], nodes=nodes).compile()
    told = Run()

    with pytest.raises(ContentBlocked):
        await run(graph, {"log": []}, control=told)
    assert (told.report.errors, told.report.outcome) == ([], "rejected")


@pytest.mark.parametrize("default", [True, False])
async def test_the_user_s_error_handler_wins(run: Runner, default: bool) -> None:
    def handler(state: State, error: NodeError) -> Any:
        return {"log": [f"{error.node} handled"]}

    builder = one(fails) if default else one(fails, error_handler=handler)
    if default:
        builder.set_node_defaults(error_handler=handler)

    assert (await run(harden(builder, [GO_ON]).compile(), {"log": []}))["log"] == ["node handled"]


async def test_of_parallel_sends_the_others_are_kept(run: Runner) -> None:
    def work(state: State) -> Any:
        return fails(state) if state["text"] == "2" else {"log": [state["text"]]}

    builder = StateGraph(State).add_node("work", work).add_node("after", notes("after"))
    ways = [Send("work", {"text": text}) for text in "123"]
    builder.add_conditional_edges(START, lambda state: ways, ["work"]).add_edge("work", "after")

    result = await run(harden(builder, [GO_ON]).compile(), {"log": []})

    assert result["log"] == ["1", failed("work"), "3", "after"]


def test_each_of_parallel_failures_is_logged(logged: list[Any]) -> None:
    builder = StateGraph(State).add_node("work", fails)
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])
    told = Run()

    harden(builder, [GO_ON]).compile().invoke({"log": []}, control=told)

    assert len(told.report.errors) == len(logged) == 3


async def test_a_subgraph_s_node_is_captured_where_it_failed(run: Runner) -> None:
    inner = one(fails, "bad").add_node("next", notes("next")).add_edge("bad", "next")

    result = await run(harden(one(inner.compile(), "inner"), [GO_ON]).compile(), {"log": []})

    assert result["log"] == [failed("inner/bad"), "next"]


def test_an_error_in_a_hardened_subgraph_is_recorded_once() -> None:
    inner = harden(one(fails, "bad"), [CaptureErrors()]).compile()
    told = Run()

    with pytest.raises(ValueError, match="secret"):
        harden(one(inner, "inner"), [CaptureErrors()]).compile().invoke({}, control=told)

    assert told.report.errors == [CapturedError("bad", "ValueError", 1, "bad_input")]


CALL = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}


@tool
def look_up(who: str) -> str:
    """Look somebody up."""
    raise ConnectionError("secret")


class Failing(FakeModel):
    def _generate(self, *args: Any, **options: Any) -> Any:
        raise ConnectionError("secret")


async def test_a_compiled_agent_goes_on_or_ends(run: Runner) -> None:
    asked = {"messages": [("user", "hi")]}
    policy = CaptureErrors(then="end", reply="Sorry.")

    tools_fail = harden(create_agent(FakeModel(calls=(CALL,)), [look_up]), [policy])
    model_fails = harden(create_agent(Failing(), []), [policy])

    assert said(await run(tools_fail, asked)) == ["hi", "hello there", "Sorry."]
    assert said(await run(model_fails, asked)) == ["hi", "Sorry."]


@pytest.mark.parametrize(
    "way",
    [
        "state",
        "send",
    ],
)
def test_a_failed_tool_s_call_is_answered(way: str) -> None:
    model, policy = FakeModel(calls=(CALL,)), CaptureErrors(then="continue", reply="Sorry.")
    by_state = one(asks(model), "model").add_node("tools", ToolNode([look_up]))
    by_state.add_edge("model", "tools")
    graph = by_state.compile() if way == "state" else create_agent(model, [look_up])

    messages = harden(graph, [policy]).invoke({"messages": [("user", "hi")]})["messages"]

    assert [(m.type, m.tool_call_id) for m in messages if m.text == "Sorry."] == [("tool", "1")]


def test_a_graph_s_own_error_is_recorded() -> None:
    told = Run()
    loop = harden(one(notes("again")).add_edge("node", "node"), [CaptureErrors()]).compile()

    with pytest.raises(GraphRecursionError):
        loop.invoke({"log": []}, {"recursion_limit": 3}, control=told)
    assert told.report.errors == [CapturedError(None, "GraphRecursionError", 1, "permanent")]


def test_what_was_captured_is_read_back_from_a_checkpoint(caplog: Any) -> None:
    graph = harden(one(fails), [GO_ON]).compile(InMemorySaver())
    graph.invoke({"log": []}, THREAD)

    with caplog.at_level(logging.WARNING):
        assert graph.get_state(THREAD).values["log"] == [failed()]
    assert caplog.records == []
