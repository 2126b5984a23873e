"""What was spent beside what the kept results cost."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import AT_ONCE, THREAD, FakeModel, Runner, State, asks, one

from lg_prod_nodes import Run, TokenUsage, as_middleware, guard, harden

HI: Any = {"messages": [("user", "hi")]}


@pytest.fixture
def usage() -> TokenUsage:
    return TokenUsage()


def calls(usage: TokenUsage) -> tuple[int, int]:
    """How many calls were spent, and how many of them for what was kept."""
    (row,) = usage.ledger.usage()
    assert row.in_doubt.calls == 0
    return row.spent.calls, row.effective.calls


def fails_twice(model: FakeModel) -> Any:
    def node(state: State) -> Any:
        model.invoke("hi")
        if len(model.asked) % 3:
            raise ConnectionError
        return {"text": "done"}

    return node


def fails_until_the(last: int, model: FakeModel) -> Any:
    def node(state: State) -> Any:
        model.invoke("flaky")
        if model.asked.count("flaky") < last:
            raise ConnectionError

    return node


saved = pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["unsaved", "saved"])


def compiled(builder: Any, usage: TokenUsage, saver: Any = InMemorySaver, **options: Any) -> Any:
    return harden(builder, [usage]).compile(checkpointer=saver and saver(), **options)


@saved
async def test_retries_are_spent_and_the_last_is_kept(
    run: Runner, model: FakeModel, usage: TokenUsage, saver: Any
) -> None:
    graph = compiled(one(fails_twice(model), retry_policy=AT_ONCE), usage, saver)

    await run(graph, HI, THREAD)

    assert calls(usage) == (3, 1)


@saved
async def test_a_node_that_fails_is_not_kept(
    run: Runner, model: FakeModel, usage: TokenUsage, saver: Any
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await run(compiled(one(node), usage, saver), HI, THREAD)

    assert calls(usage) == (1, 0)


async def test_a_node_that_is_resumed_counts_once(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        return {"text": interrupt("sure?")}

    graph = compiled(one(node), usage)

    await run(graph, HI, THREAD)
    assert calls(usage) == (1, 0)
    await run(graph, Command(resume="yes"), THREAD)

    assert calls(usage) == (2, 1)


async def test_a_fork_is_charged_anew(run: Runner, model: FakeModel, usage: TokenUsage) -> None:
    builder = one(asks(model), "a").add_node("b", asks(model)).add_edge("a", "b")
    graph = compiled(builder, usage)
    await run(graph, HI, THREAD)
    before_b = next(s for s in graph.get_state_history(THREAD) if s.next == ("b",))

    await run(graph, None, before_b.config)

    assert calls(usage) == (3, 3)


async def test_a_run_that_goes_on_after_a_failure_counts_each_task_once(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    builder = StateGraph(State).add_node("sound", asks(model))
    builder.add_node("flaky", fails_until_the(2, model))
    graph = compiled(builder.add_edge(START, "sound").add_edge(START, "flaky"), usage)

    with pytest.raises(ConnectionError):
        await run(graph, HI, THREAD)
    await run(graph, None, THREAD)

    assert calls(usage)[1] == 2


async def test_each_send_is_a_task(run: Runner, model: FakeModel, usage: TokenUsage) -> None:
    builder = StateGraph(State).add_node("work", asks(model))
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])

    await run(compiled(builder, usage), HI, THREAD)

    assert calls(usage) == (3, 3)


async def test_a_node_that_leaves_its_subgraph_is_kept(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    def leave(state: State) -> Any:
        model.invoke("hi")
        return Command(graph=Command.PARENT, goto="after")

    builder = one(one(leave, "deep").compile(), "inner").add_node("after", asks(model))

    await run(compiled(builder, usage), HI, THREAD)

    assert calls(usage) == (2, 2)


@saved
async def test_a_subgraph_that_is_tried_again_counts_what_is_kept(
    run: Runner, model: FakeModel, usage: TokenUsage, saver: Any
) -> None:
    inner = one(asks(model), "deep").add_node("flaky", fails_until_the(3, model))
    builder = one(inner.add_edge("deep", "flaky").compile(), "inner", retry_policy=AT_ONCE)

    await run(compiled(builder, usage, saver), HI, THREAD)

    assert calls(usage) == (6, 2)


async def test_a_subgraph_that_goes_on_after_its_retries_failed_counts_what_is_kept(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    inner = one(asks(model), "deep").add_node("flaky", fails_until_the(4, model))
    builder = one(inner.add_edge("deep", "flaky").compile(), "inner", retry_policy=AT_ONCE)
    graph = compiled(builder, usage)

    with pytest.raises(ConnectionError):
        await run(graph, HI, THREAD)
    assert calls(usage) == (6, 1)
    await run(graph, None, THREAD)

    assert calls(usage) == (7, 2)


async def test_retries_inside_of_retries_count_what_is_kept(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    innermost = one(asks(model), "deep").add_node("flaky", fails_until_the(5, model))
    innermost = innermost.add_edge("deep", "flaky")
    inner = one(innermost.compile(), "innermost", retry_policy=AT_ONCE)
    builder = one(inner.compile(), "inner", retry_policy=AT_ONCE)

    await run(compiled(builder, usage), HI, THREAD)

    assert calls(usage) == (10, 2)


async def test_a_subgraph_s_rows_belong_to_the_innermost_task(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    def ask(state: State) -> Any:
        return {"text": interrupt("sure?")}

    inner = one(asks(model), "deep").add_node("ask", ask).add_edge("deep", "ask")
    graph = compiled(one(inner.compile(), "inner"), usage)

    await run(graph, HI, THREAD)
    assert calls(usage) == (1, 1)
    await run(graph, Command(resume="yes"), THREAD)

    assert calls(usage) == (1, 1)


async def test_an_agent_s_calls_and_those_of_its_tools_count(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    @tool
    def look_up(who: str) -> str:
        """Ask another model."""
        return model.invoke(who).text

    call = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}
    agent = create_agent(FakeModel(calls=(call,)), [look_up], checkpointer=InMemorySaver())

    await run(harden(agent, [usage]), HI, THREAD)

    assert calls(usage) == (3, 3)
    tasks = {entry.task for entry in usage.ledger.entries()}
    assert len(tasks) == 3
    assert all(task and task.startswith("thread-1:") for task in tasks)


async def test_as_middleware_every_call_counts(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    await run(create_agent(model, middleware=[as_middleware(usage)]), HI)

    assert calls(usage) == (1, 1)


@saved
async def test_a_decorated_node_s_attempts_are_heard(
    run: Runner, model: FakeModel, usage: TokenUsage, saver: Any
) -> None:
    builder = one(guard(usage)(fails_twice(model)), retry_policy=AT_ONCE)

    await run(builder.compile(checkpointer=saver and saver()), HI, THREAD)

    assert calls(usage) == (3, 1)


async def test_policies_of_the_graph_and_of_a_node_hear_the_same(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    of_node = TokenUsage()
    builder = one(fails_twice(model), retry_policy=AT_ONCE)

    await run(harden(builder, [usage], nodes={"node": [of_node]}).compile(), HI)

    assert calls(usage) == calls(of_node) == (3, 1)


def test_a_stream_is_not_held_back(model: FakeModel, usage: TokenUsage) -> None:
    def parts(graph: Any) -> list[Any]:
        return [part for part, _ in graph.stream(HI, stream_mode="messages")]

    bare, counted = one(asks(model)).compile(), compiled(one(asks(model)), usage, None)

    assert [p.text for p in parts(counted)] == [p.text for p in parts(bare)]


def test_entries_name_the_thread_and_hold_nothing_of_a_message(usage: TokenUsage) -> None:
    secret = "4111-1111"
    config: RunnableConfig = {"configurable": {"thread_id": "t", "user_id": "ada"}}
    graph = compiled(one(asks(FakeModel(says=secret))), usage)

    graph.invoke({"messages": [("user", secret)]}, config, control=Run())

    assert secret not in repr(usage.ledger.entries())
