"""What is one call and what is another."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from prometheus_client import CollectorRegistry
from tests.policies.conftest import AT_ONCE, THREAD, Runner, State, fails, notes, one

from lg_prod_nodes import (
    LimitStore,
    Metrics,
    RateLimit,
    RateLimitExceeded,
    Run,
    as_node,
    harden,
)

ONCE = RateLimit("1/hour")


def asks_a_person(state: State) -> Any:
    return {"text": interrupt("how?")}


class FailsTwice:
    def __init__(self) -> None:
        self.tries = 0

    def __call__(self, state: State) -> Any:
        self.tries += 1
        return fails(state) if self.tries < 3 else {"log": ["ran"]}


async def test_resuming_an_interrupted_run_is_not_charged(run: Runner) -> None:
    graph = harden(one(asks_a_person), [RateLimit("1/hour")]).compile(InMemorySaver())
    await run(graph, {"text": "1"}, THREAD)

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


async def test_going_on_from_a_breakpoint_is_not_charged(run: Runner) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour")])
    paused = graph.compile(InMemorySaver(), interrupt_before=["node"])
    await run(paused, {"text": "1"}, THREAD)

    assert (await run(paused, None, THREAD))["log"] == ["ran"]


@pytest.mark.parametrize("reply", [None, "Slow down."])
async def test_a_pending_interrupt_survives_a_refusal(run: Runner, reply: str | None) -> None:
    limited = harden(one(asks_a_person), [RateLimit("1/hour", reply=reply)])
    graph = limited.compile(InMemorySaver())
    await run(graph, {"text": "1"}, THREAD)

    with pytest.raises(RateLimitExceeded):
        await run(graph, {"text": "2"}, THREAD)

    assert [paused.value for paused in graph.get_state(THREAD).interrupts] == ["how?"]
    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


def test_going_on_where_no_checkpoint_is_named_is_not_charged() -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour")])
    paused = graph.compile(InMemorySaver(), interrupt_before=["node"])
    config: Any = {"configurable": {"thread_id": "1", "checkpoint_id": None}}
    paused.invoke({"text": "1"}, config)

    assert paused.invoke(None, config)["log"] == ["ran"]


async def test_the_retries_of_a_limited_node_are_not_charged(run: Runner) -> None:
    builder = one(FailsTwice(), retry_policy=AT_ONCE)
    graph = harden(builder, nodes={"node": [RateLimit("1/hour")]}).compile()

    assert (await run(graph, {"text": "1"}))["log"] == ["ran"]


async def test_resuming_into_a_limited_node_is_not_charged(run: Runner) -> None:
    limited = harden(one(asks_a_person), nodes={"node": [RateLimit("1/hour")]})
    graph = limited.compile(InMemorySaver())
    await run(graph, {"text": "1"}, THREAD)

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


def test_resuming_into_a_limited_subgraph_is_not_charged() -> None:
    inner = harden(one(asks_a_person), [RateLimit("1/hour")]).compile()
    graph = one(inner).compile(InMemorySaver())
    graph.invoke({"text": "1"}, THREAD)

    assert graph.invoke(Command(resume="so"), THREAD)["text"] == "so"


def test_retrying_a_limited_subgraph_is_not_charged() -> None:
    inner = harden(one(FailsTwice()), [RateLimit("1/hour")]).compile()

    assert one(inner, retry_policy=AT_ONCE).compile().invoke({"text": "1"})["log"] == ["ran"]


def test_a_graph_and_its_subgraph_do_not_share_a_window() -> None:
    limit = RateLimit("1/hour", store=LimitStore())
    inner = harden(one(notes("ran")), [limit]).compile(name="inner")
    outer = harden(one(inner), [RateLimit("1/hour", store=limit.store)]).compile(name="outer")

    assert outer.invoke({"log": []})["log"] == ["ran"]


@pytest.mark.parametrize("server", ["valkey_url", "dsn"])
async def test_another_worker_resumes_without_a_charge(
    request: pytest.FixtureRequest, run: Runner, server: str
) -> None:
    saver, url = InMemorySaver(), request.getfixturevalue(server)

    def worker(store: LimitStore) -> Any:
        limit = RateLimit("1/hour", store=store)
        return harden(one(asks_a_person), nodes={"node": [limit]}).compile(saver)

    async with LimitStore(url) as one_store, LimitStore(url) as other_store:
        await run(worker(one_store), {"text": "1"}, THREAD)

        resumed = await run(worker(other_store), Command(resume="so"), THREAD)
        assert resumed["text"] == "so"
        with pytest.raises(RateLimitExceeded):
            await run(worker(other_store), {"text": "2"}, {"configurable": {"thread_id": "2"}})


def test_replaying_a_run_is_charged() -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour")]).compile(InMemorySaver())
    graph.invoke({"log": []}, THREAD)
    before = [state.config for state in graph.get_state_history(THREAD) if state.next == ("node",)]

    with pytest.raises(RateLimitExceeded):
        graph.invoke(None, before[0])


def test_two_limits_of_one_store_are_both_counted() -> None:
    store = LimitStore()
    limits = [RateLimit("5/hour", store=store), RateLimit("1/hour", store=store)]
    graph = harden(one(notes("ran")), nodes={"node": limits}).compile()
    graph.invoke({"log": []})

    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []})


async def test_a_limited_node_is_charged_for_each_send(run: Runner) -> None:
    builder = StateGraph(State).add_node("work", notes("ran"))
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])

    enough = harden(builder, nodes={"work": [RateLimit("3/hour")]}).compile()
    assert (await run(enough, {"log": []}))["log"] == ["ran"] * 3
    with pytest.raises(RateLimitExceeded):
        await run(enough, {"log": []})


async def test_a_limited_node_s_reply_stands_in_for_its_result(run: Runner) -> None:
    limit = RateLimit("1/hour", reply=lambda refused: {"log": ["limited"]})
    graph = harden(one(notes("ran")), nodes={"node": [limit]}).compile()
    told = Run()
    await run(graph, {"log": []})

    assert (await run(graph, {"log": []}, control=told))["log"] == ["limited"]
    assert told.report.outcome == "ok"


def test_a_decorated_node_is_limited() -> None:
    graph = one(RateLimit("1/hour")(notes("ran"))).compile()
    graph.invoke({"log": []})

    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []})


def test_a_prebuilt_node_limits_where_it_stands() -> None:
    graph = one(as_node(RateLimit("1/hour", reply="Slow down."))).compile()

    assert graph.invoke({"messages": []})["messages"] == []
    assert graph.invoke({"messages": []})["messages"][0].text == "Slow down."


def test_error_handlers_of_the_user_s_are_not_limited() -> None:
    builder = one(fails, error_handler=notes("handled"))
    graph = harden(builder, nodes={"node": [ONCE]}).compile()

    assert graph.invoke({"text": "1"})["log"] == ["handled"]


async def test_parallel_subgraphs_each_give_their_own_reply() -> None:
    builder = StateGraph(State)
    for name in ("left", "right"):
        limit = RateLimit("1/hour", reply=lambda refused, name=name: {"log": [name]})
        builder.add_node(name, harden(one(notes("ran")), [limit]).compile()).add_edge(START, name)
    graph = harden(builder, [Metrics(registry=CollectorRegistry())]).compile()
    await graph.ainvoke({"log": []})

    assert (await graph.ainvoke({"log": []}))["log"] == ["left", "right"]


def test_a_refused_subgraph_does_not_make_the_run_a_refused_one() -> None:
    limit = RateLimit("1/hour", reply=lambda refused: {"log": ["limited"]})
    inner = harden(one(notes("ran")), [limit]).compile()
    graph = harden(one(inner), [Metrics(registry=CollectorRegistry())]).compile()
    graph.invoke({"log": []})
    told = Run()

    assert graph.invoke({"log": []}, control=told)["log"] == ["limited"]
    assert told.report.outcome == "ok"
