from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    fails,
    notes,
    one,
    said,
)

from lg_prod_nodes import (
    BudgetExceeded,
    ConfigurationError,
    Run,
    RunBudget,
    as_middleware,
    guard,
    harden,
)

HI: Any = {"messages": [("user", "hi")]}


def loop(node: Any, times: int = 1_000_000) -> StateGraph[Any]:
    """A graph whose one node follows itself, so many times."""

    def again(state: State) -> str:
        return "node" if len(state.get("log", ())) < times else "__end__"

    return one(node).add_conditional_edges("node", again, ["node", "__end__"])


async def test_stops_a_graph_in_a_loop(run: Runner) -> None:
    told = Run()
    graph = harden(loop(notes("step")), [RunBudget(steps=5)]).compile(InMemorySaver())

    with pytest.raises(BudgetExceeded, match="run budget of 5 steps exhausted") as error:
        await run(graph, {"log": []}, THREAD, control=told)

    assert (error.value.policy, error.value.available) == ("RunBudget", 0)
    assert graph.get_state(THREAD).values["log"] == ["step"] * 5
    assert told.report.budgets == {"RunBudget.steps": 0}


async def test_a_run_that_fits_is_left_alone(run: Runner) -> None:
    told = Run()
    graph = harden(loop(notes("step"), 5), [RunBudget(steps=5)]).compile()

    assert len((await run(graph, {"log": []}, control=told))["log"]) == 5
    assert told.report.budgets == {"RunBudget.steps": 0}
    assert told.report.outcome == "ok"


@pytest.mark.parametrize(
    "reply", ["Enough.", lambda refused: f"The {refused.budget} is exhausted."]
)
async def test_a_reply_ends_the_run_and_the_thread_stays_usable(run: Runner, reply: Any) -> None:
    told = Run()
    policy = RunBudget(steps=2, reply=reply)
    graph = harden(loop(notes("step"), 100), [policy]).compile(InMemorySaver())

    result = await run(graph, HI, THREAD, control=told)

    assert said(result)[0] == "hi"
    assert said(result)[1:] in (["Enough."], ["The run budget of 2 steps is exhausted."])
    assert result["log"] == ["step"] * 2
    assert told.report.outcome == "rejected"
    again = await run(graph, {"messages": [("user", "again")], "log": ["x"] * 98}, THREAD)
    assert said(again)[-1] == "again"


async def test_nodes_side_by_side_are_one_step_and_give_one_reply(run: Runner) -> None:
    builder = StateGraph(State).add_node("work", notes("work"))
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 5, ["work"])
    builder.add_conditional_edges("work", lambda state: [Send("work", {})], ["work"])
    graph = harden(builder, [RunBudget(steps=2, reply="Enough.")]).compile()

    result = await run(graph, HI)

    assert said(result) == ["hi", "Enough."]
    assert result["log"] == ["work"] * 10


async def test_the_tries_of_a_node_are_one_step(run: Runner) -> None:
    graph = harden(one(fails, retry_policy=AT_ONCE), [RunBudget(steps=1)]).compile()

    with pytest.raises(ValueError, match="secret"):
        await run(graph, HI)


async def test_steps_of_subgraphs_count_too(run: Runner) -> None:
    graph = one(loop(notes("step"), 3).compile())
    enough = harden(graph, [RunBudget(steps=4)]).compile()
    assert len((await run(enough, {"log": []}))["log"]) == 3

    with pytest.raises(BudgetExceeded):
        await run(harden(graph, [RunBudget(steps=3)]).compile(), {"log": []})


async def test_a_reply_in_a_subgraph_ends_the_whole_run(run: Runner) -> None:
    told = Run()
    inner = loop(notes("step")).compile()
    graph = one(inner).add_node("after", notes("after")).add_edge("node", "after")
    policy = RunBudget(steps=4, reply="Enough.")

    result = await run(harden(graph, [policy]).compile(), HI, control=told)

    assert "after" not in result.get("log", [])
    assert told.report.outcome == "rejected"


async def test_model_calls_are_counted_below_tools_and_subgraphs_too(
    run: Runner, model: FakeModel
) -> None:
    @tool
    def look(word: str) -> str:
        """Look up."""
        return str(model.invoke(word).content)

    def node(state: State) -> Any:
        look.invoke({"word": "x"})
        return {"messages": [model.invoke("hi")]}

    graph = one(loop(node).compile())
    with pytest.raises(BudgetExceeded, match="run budget of 3 model calls"):
        await run(harden(graph, [RunBudget(model_calls=3)]).compile(), HI)

    assert len(model.asked) == 3


async def test_repeated_model_calls_count_each(run: Runner, model: FakeModel) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        raise ValueError

    graph = harden(one(node, retry_policy=AT_ONCE), [RunBudget(model_calls=2)]).compile()
    with pytest.raises(BudgetExceeded):
        await run(graph, HI)


CALL = {"name": "look", "args": {"word": "x"}, "id": "1", "type": "tool_call"}


class Insists(FakeModel):
    """Calls a tool each time."""

    def _generate(self, messages: list[Any], *args: Any, **options: Any) -> Any:
        result = super()._generate(messages, *args, **options)
        number = len(self.asked)
        calls = [{**CALL, "id": f"{number}.{at}"} for at in range(2)]
        result.generations[0].message.tool_calls = calls  # type: ignore[attr-defined]
        return result


@tool
def look(word: str) -> str:
    """Look up."""
    return "found"


@pytest.mark.parametrize(
    ("most", "last"),
    [
        ({"model_calls": 2}, ["found", "found", "Enough."]),
        ({"tool_calls": 3}, ["hello there", "found", "Enough."]),
        ({"steps": 4}, ["found", "found", "Enough."]),
    ],
)
async def test_an_agent_in_a_loop_is_answered(
    run: Runner, most: dict[str, int], last: list[str]
) -> None:
    told = Run()
    agent = create_agent(Insists(), [look])
    graph = harden(agent, [RunBudget(**most, reply="Enough.")])

    result = await run(graph, HI, control=told)

    assert sorted(said(result)[-2:]) == sorted(last[-2:])
    assert said(result)[-3] == last[0]
    assert told.report.outcome == "rejected"


def test_the_caller_s_own_control_is_not_drained() -> None:
    control = RunControl()
    graph = harden(loop(notes("step")), [RunBudget(steps=2, reply="Enough.")]).compile()

    assert said(graph.invoke(HI, control=control))[-1] == "Enough."
    assert not control.drain_requested


def test_a_caller_s_own_draining_stays_what_it_is() -> None:
    control = RunControl()

    def drains(state: State) -> Any:
        control.request_drain("deploy")
        return {"log": ["step"]}

    graph = harden(loop(drains), [RunBudget(reply="Enough.")]).compile()
    with pytest.raises(GraphDrained, match="deploy"):
        graph.invoke(HI, control=control)


async def test_a_resumed_run_counts_anew(run: Runner) -> None:
    def pauses(state: State) -> Any:
        return {"log": [interrupt("how?")]}

    graph = harden(loop(pauses, 2), [RunBudget(steps=2)]).compile(InMemorySaver())
    for answer in (None, "a", "b"):
        result = await run(graph, Command(resume=answer) if answer else {"log": []}, THREAD)

    assert result["log"] == ["a", "b"]


async def test_a_tighter_budget_of_a_subgraph_counts_by_itself(run: Runner) -> None:
    inner = harden(loop(notes("step"), 3), [RunBudget(steps=2)]).compile()
    graph = harden(one(inner), [RunBudget(steps=50)]).compile()

    with pytest.raises(BudgetExceeded, match="2 steps"):
        await run(graph, {"log": []})


async def test_without_a_bound_nothing_is_counted(run: Runner, model: FakeModel) -> None:
    unbound = RunBudget(model_calls=None, tool_calls=None, steps=None)
    told = Run()
    graph = harden(one(asks(model)), [unbound]).compile()

    await run(graph, HI, control=told)
    assert told.report.budgets == {}


def test_needs_a_hardened_graph(model: FakeModel) -> None:
    agent = create_agent(model, [], middleware=[as_middleware(RunBudget())])
    with pytest.raises(ConfigurationError, match="hardened graph"):
        agent.invoke(HI)
    with pytest.raises(ConfigurationError, match="hardened graph"):
        one(guard(RunBudget())(asks(model))).compile().invoke(HI)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model_calls": 0}, "model_calls is 0"),
        ({"tool_calls": -1}, "tool_calls is -1"),
        ({"steps": 1.5}, r"steps is 1\.5"),
        ({"reply": 3}, "reply is 3"),
    ],
)
def test_settings_that_cannot_work_are_refused_while_building(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RunBudget(**settings)
