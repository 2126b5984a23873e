"""Errors from around a node's function: of its update, of its conditional edges, of a graph inside of it."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError, NodeError
from langgraph.graph import START, StateGraph
from tests.policies.conftest import AT_ONCE, THREAD, Runner, State, fails, notes, one

from lg_prod_nodes import CaptureErrors, harden

CHOOSY = CaptureErrors(then={"transient": "end"}, state_key="log")

pytestmark = pytest.mark.usefixtures("logged")


def gives_no_update(state: Any) -> Any:
    return 5


def routed(route: Any, **options: Any) -> StateGraph[Any]:
    return one(notes("done"), **options).add_conditional_edges("node", route, ["node"])


@pytest.mark.parametrize(
    ("builder", "policy", "error"),
    [
        (one(gives_no_update), CHOOSY, InvalidUpdateError),
        (routed(fails), CHOOSY, ValueError),
        (routed(fails), CaptureErrors(then="end", critical=(ValueError,)), ValueError),
    ],
    ids=["update", "edge", "critical"],
)
async def test_what_is_not_recovered_from_is_raised_and_the_node_runs_again(
    run: Runner, builder: Any, policy: CaptureErrors, error: type[Exception]
) -> None:
    graph = harden(builder, [policy]).compile(InMemorySaver())

    for given in ({"log": []}, None):
        with pytest.raises(error):
            await run(graph, given, THREAD)
        assert graph.get_state(THREAD).next == ("node",)


async def test_a_conditional_edge_is_recovered_from_after_its_last_attempt(run: Runner) -> None:
    tries: list[int] = []

    def route(state: Any) -> str:
        tries.append(1)
        raise ConnectionError("secret")

    graph = harden(routed(route, retry_policy=AT_ONCE), [CHOOSY]).compile()

    done, captured = (await run(graph, {"log": []}))["log"]
    assert (done, captured["type"], len(tries)) == ("done", "ConnectionError", 3)


def test_an_update_by_hand_fails_as_ever() -> None:
    graph = harden(one(notes("x")), [CHOOSY]).compile(InMemorySaver())

    def updates(state: Any) -> Any:
        graph.update_state(THREAD, 5, as_node="node")

    with pytest.raises(InvalidUpdateError):
        graph.update_state(THREAD, 5, as_node="node")
    with pytest.raises(InvalidUpdateError):
        harden(one(updates), [CHOOSY]).compile().invoke({"log": []})


@pytest.mark.parametrize("saver", [None, InMemorySaver()])
async def test_a_graph_inside_is_tried_again_by_the_one_around_it(run: Runner, saver: Any) -> None:
    tries: list[int] = []

    def flaky(state: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("secret")
        return {"log": ["done"]}

    outer = one(one(flaky).compile(), "inner", retry_policy=AT_ONCE)
    graph = harden(outer, [CHOOSY]).compile(saver)

    assert (await run(graph, {"log": []}, THREAD))["log"][-1] == "done"


async def test_a_graph_inside_is_recovered_from_by_the_user_s_handler_around_it(
    run: Runner,
) -> None:
    def handler(state: State, error: NodeError) -> Any:
        return {"log": [f"handled {type(error.error).__name__}"]}

    outer = StateGraph(State).add_node("inner", one(fails).compile(), error_handler=handler)
    graph = harden(outer.add_edge(START, "inner"), [CHOOSY]).compile()

    assert (await run(graph, {"log": []}))["log"] == ["handled ValueError"]
