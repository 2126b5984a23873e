"""Nodes that are called alone, and graphs that are called inside of a run under a control of their own."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from tests.policies.conftest import FakeModel, Runner, State, one, said

from lg_prod_nodes import (
    BudgetExceeded,
    CaptureErrors,
    Deadline,
    DeadlineExceeded,
    Metrics,
    Redact,
    Run,
    RunBudget,
    TokenUsage,
    Tracing,
    current_run,
    harden,
)

HI: Any = {"messages": [("user", "Hi.")]}
POLICIES = [
    Tracing(),
    Metrics(),
    CaptureErrors(),
    TokenUsage(),
    Deadline(60.0),
    RunBudget(),
    Redact(),
]


def asks(model: FakeModel) -> Any:
    return lambda state: {"messages": [model.invoke(state["messages"])]}


def calls(inner: Any, **options: Any) -> Any:
    return lambda state: {"messages": inner.invoke(HI, **options)["messages"][-1:]}


def test_a_node_alone_runs_under_every_policy(model: FakeModel) -> None:
    node = harden(one(asks(model)), POLICIES).compile().nodes["node"]
    assert said(node.invoke(HI)) == said(asyncio.run(node.ainvoke(HI)))


def test_the_calls_of_a_node_alone_are_counted(model: FakeModel) -> None:
    def asks_twice(state: State) -> Any:
        return [model.invoke("?") for _ in range(2)]

    node = harden(one(asks_twice), [RunBudget(model_calls=1)]).compile().nodes["node"]
    with pytest.raises(BudgetExceeded, match="1 model calls"):
        node.invoke(HI)


async def test_a_graph_under_its_own_control_counts_on_the_run_around_it(
    run: Runner, model: FakeModel
) -> None:
    told = Run()
    policies = [TokenUsage(), RunBudget(model_calls=1)]
    inner = harden(one(asks(model)), policies).compile()

    def calls_twice(state: State) -> Any:
        return [inner.invoke(HI, control=RunControl()) for _ in range(2)]

    with pytest.raises(BudgetExceeded, match="1 model calls"):
        await run(harden(one(calls_twice), policies).compile(), HI, control=told)
    assert told.report.usage.calls == 1


def test_a_graph_under_its_own_control_keeps_the_run_s_deadline(clock: Any) -> None:
    def slow(state: State) -> Any:
        clock.advance(2.0)
        return {"messages": []}

    policies = [Deadline(1.0)]
    inner = harden(one(slow).add_node("next", slow).add_edge("node", "next"), policies, clock=clock)
    outer = harden(one(calls(inner.compile(), control=RunControl())), policies, clock=clock)
    with pytest.raises(DeadlineExceeded):
        outer.compile().invoke(HI)


def test_its_own_control_stops_that_graph_alone() -> None:
    control, told = RunControl(), Run()
    seen: list[Any] = []

    def drains(state: State) -> Any:
        control.request_drain("enough")
        seen.append(current_run())
        return {"messages": []}

    inner = one(drains).add_node("next", drains).add_edge("node", "next")
    stopped = harden(inner, [RunBudget()]).compile()

    def catches(state: State) -> Any:
        with pytest.raises(GraphDrained, match="enough"):
            stopped.invoke(HI, control=control)

    harden(one(catches), [RunBudget()]).compile().invoke(HI, control=told)
    assert (told.drain_requested, told.report.outcome, len(seen)) == (False, "ok", 1)
    assert seen[0].id == told.id


def test_what_stops_the_run_stops_the_graph_inside() -> None:
    told = Run()
    steps: list[int] = []

    def drains(state: State) -> Any:
        steps.append(1)
        told.request_drain("deploy")
        return {"messages": []}

    inner = one(drains).add_node("next", drains).add_edge("node", "next")
    outer = one(calls(harden(inner, [RunBudget()]).compile(), control=RunControl()))
    with pytest.raises(GraphDrained, match="deploy"):
        harden(outer, [RunBudget()]).compile().invoke(HI, control=told)
    assert steps == [1]


def test_a_reply_may_be_an_update_of_a_graph_without_messages() -> None:
    class Plain(TypedDict):
        text: str

    budget = RunBudget(steps=1, reply=lambda error: {"text": type(error).__name__})
    builder = one(lambda state: {"text": "n"}, schema=Plain)
    builder.add_node("next", lambda state: {"text": "n"}).add_edge("node", "next")
    assert harden(builder, [budget]).compile().invoke({"text": ""}) == {"text": "BudgetExceeded"}
