from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from tests.policies.conftest import (
    AT_ONCE,
    Runner,
    State,
    failed,
    fails,
    notes,
    one,
    said,
)

from lg_prod_nodes import CapturedError, CaptureErrors, ConfigurationError, Run, guard, harden

GO_ON = CaptureErrors(then="continue", state_key="log")
FAILED = CapturedError("node", "ValueError", 1, "bad_input")

pytestmark = pytest.mark.usefixtures("logged")


async def test_an_error_is_recorded_once_by_names_alone(run: Runner, logged: Any) -> None:
    graph = harden(one(fails, retry_policy=AT_ONCE), [CaptureErrors()]).compile()
    told = Run()

    with pytest.raises(ValueError, match="secret"):
        await run(graph, {"text": "x"}, control=told)

    assert told.report.errors == [CapturedError("node", "ValueError", 3, "bad_input")]
    assert told.report.outcome == "error"
    (line,) = logged
    assert line["node"], line["error_type"] == ("node", "ValueError")
    assert (line["attempts"], line["then"]) == (3, "raise")
    assert "secret" not in repr(line)


def branching(policy: CaptureErrors) -> Any:
    """A failing node with a plain edge, a conditional one, and a join with a node that does not fail."""
    builder = StateGraph(State).add_node("bad", fails)
    for name in ("good", "joined", "chosen", "next"):
        builder.add_node(name, notes(name))
    builder.add_edge(START, "bad").add_edge(START, "good").add_edge(["bad", "good"], "joined")
    builder.add_edge("bad", "next")
    builder.add_conditional_edges("bad", lambda state: "chosen", ["chosen"])
    return harden(builder, [policy]).compile()


async def test_goes_on_along_each_of_the_failed_node_s_edges(run: Runner) -> None:
    result = await run(branching(GO_ON), {"log": []})

    error, good, *others = result["log"]
    assert (error, good) == (failed("bad"), "good")
    assert sorted(others) == ["chosen", "joined", "next"]


async def test_ends_the_failed_node_s_branch_alone(run: Runner) -> None:
    graph = branching(CaptureErrors(then="end", state_key="log"))

    assert (await run(graph, {"log": []}))["log"] == [failed("bad"), "good"]


async def test_a_conditional_edge_sees_what_was_captured(run: Runner) -> None:
    builder = one(fails).add_node("mend", notes("mended"))
    builder.add_conditional_edges("node", lambda state: "mend" if state["log"] else END)

    result = await run(harden(builder, [GO_ON]).compile(), {"log": []})

    assert result["log"] == [failed(), "mended"]


async def test_says_so_in_messages(run: Runner) -> None:
    graph = harden(one(fails), [CaptureErrors(then="end", reply="Sorry.")]).compile()

    assert said(await run(graph, {"messages": [("user", "hi")]})) == ["hi", "Sorry."]


async def test_retries_come_first(run: Runner) -> None:
    tries: list[int] = []

    def third_time(state: State) -> Any:
        tries.append(1)
        return fails(state) if len(tries) < 3 else {"log": ["done"]}

    graph = harden(one(third_time, retry_policy=AT_ONCE), [GO_ON]).compile()
    told = Run()

    assert (await run(graph, {"log": []}, control=told))["log"] == ["done"]
    assert told.report.errors == []


async def test_the_number_of_attempts_is_captured(run: Runner) -> None:
    graph = harden(one(fails, retry_policy=AT_ONCE), [GO_ON]).compile()

    assert (await run(graph, {"log": []}))["log"] == [failed(attempts=3)]


async def test_the_attempts_of_nodes_that_fail_together_are_captured() -> None:
    both = asyncio.Barrier(2)

    async def fail_together(state: State) -> Any:
        await both.wait()
        fails(state)

    builder = one(fail_together, "a", retry_policy=AT_ONCE)
    builder.add_node("b", fail_together, retry_policy=AT_ONCE).add_edge(START, "b")

    result = await harden(builder, [GO_ON]).compile().ainvoke({"log": []})

    assert result["log"] == [failed("a", 3), failed("b", 3)]


def test_drawings_stay_the_same() -> None:
    builder = one(notes("ran"))

    drawn = harden(builder, [GO_ON]).compile().get_graph().draw_mermaid()

    assert drawn == builder.compile().get_graph().draw_mermaid()


@pytest.mark.parametrize(
    "settings", [{"then": "ignore"}, {"state_key": "errors"}, {"reply": "Sorry."}]
)
def test_settings_that_cannot_work_are_refused_while_building(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="choose"):
        CaptureErrors(**settings)


def test_a_policy_that_goes_on_cannot_decorate_a_node() -> None:
    with pytest.raises(ConfigurationError, match="harden"):
        guard(GO_ON)(fails)


def test_retry_policies_see_the_error_itself() -> None:
    policy = RetryPolicy(max_attempts=2, initial_interval=0, retry_on=LookupError)
    told = Run()

    with pytest.raises(ValueError, match="secret"):
        harden(one(fails, retry_policy=policy), [CaptureErrors()]).compile().invoke(
            {}, control=told
        )
    assert told.report.errors == [FAILED]
