from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from prometheus_client import CollectorRegistry, generate_latest
from tests.conftest import FakeClock
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
)

from lg_prod_nodes import CaptureErrors, ContentFilter, Metrics, RateLimit, Redact, harden

NODE = {"graph": "LangGraph", "kind": "node", "name": "node"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def told(registry: CollectorRegistry, sample: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(f"lg_prod_{sample}", labels)


def runs(registry: CollectorRegistry) -> dict[str, float]:
    """The number of runs by how they ended."""
    return {
        sample.labels["outcome"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "lg_prod_runs_total"
    }


async def tries(run: Runner, graph: Any, *args: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - how it ends is what the test asks for
        await run(graph, *args)


async def test_a_run_and_its_nodes_are_counted(run: Runner, registry: CollectorRegistry) -> None:
    builder = one(notes(1), "a").add_node("b", notes(2)).add_edge("a", "b")
    graph = harden(builder, [Metrics(registry=registry)]).compile(name="desk")

    await run(graph, {"log": []})

    assert told(registry, "runs_total", graph="desk", outcome="ok") == 1
    for name in "ab":
        node = {"graph": "desk", "kind": "node", "name": name}
        assert told(registry, "calls_total", **node, outcome="ok") == 1
        assert told(registry, "call_duration_seconds_count", **node) == 1


async def test_a_failed_run_is_an_error(run: Runner, registry: CollectorRegistry) -> None:
    graph = harden(one(fails, retry_policy=AT_ONCE), [Metrics(registry=registry)]).compile()

    await tries(run, graph, {"log": []})

    assert runs(registry) == {"error": 1}
    assert told(registry, "calls_total", **NODE, outcome="error") == 3
    assert told(registry, "errors_total", graph="LangGraph", name="node", type="ValueError") == 3


async def test_an_interrupted_run_is_no_error(run: Runner, registry: CollectorRegistry) -> None:
    builder = one(lambda state: {"text": interrupt("how?")})
    graph = harden(builder, [Metrics(registry=registry)]).compile(InMemorySaver())

    await run(graph, {"log": []}, THREAD)
    await run(graph, Command(resume="so"), THREAD)

    assert runs(registry) == {"interrupt": 1, "ok": 1}
    assert told(registry, "calls_total", **NODE, outcome="interrupt") == 1
    assert told(registry, "calls_total", **NODE, outcome="ok") == 1
    assert b"lg_prod_errors_total{" not in generate_latest(registry)


async def test_a_cancelled_run_is_no_error(registry: CollectorRegistry) -> None:
    started = asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    graph = harden(one(endless), [Metrics(registry=registry)]).compile()
    task = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    assert told(registry, "runs_in_flight", graph="LangGraph") == 1
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert runs(registry) == {"cancelled": 1}
    assert told(registry, "calls_total", **NODE, outcome="cancelled") == 1
    assert told(registry, "runs_in_flight", graph="LangGraph") == 0


@pytest.mark.parametrize("reply", [None, "Slow down."])
async def test_a_refused_run_is_no_error(
    run: Runner, registry: CollectorRegistry, reply: str | None
) -> None:
    policies = [Metrics(registry=registry), RateLimit("1/hour", reply=reply)]
    graph = harden(one(notes(1)), policies).compile()
    await run(graph, {"log": []})

    await (tries(run, graph, {"log": []}) if reply is None else run(graph, {"log": []}))

    assert runs(registry) == {"ok": 1, "rejected": 1}


async def test_an_abandoned_stream_is_a_cancelled_run(registry: CollectorRegistry) -> None:
    builder = one(notes(1), "a").add_node("b", notes(2)).add_edge("a", "b")
    graph = harden(builder, [Metrics(registry=registry)]).compile()
    parts = graph.stream({"log": []}, stream_mode="updates")
    next(parts)
    parts.close()
    aparts = graph.astream({"log": []}, stream_mode="updates")
    await anext(aparts)
    await aparts.aclose()

    assert runs(registry) == {"cancelled": 2}
    assert told(registry, "runs_in_flight", graph="LangGraph") == 0


async def test_durations_are_the_clock_s(run: Runner, registry: CollectorRegistry) -> None:
    clock = FakeClock()

    def node(state: State) -> Any:
        clock.advance(2)
        return {"text": "x"}

    builder = one(node, "a").add_node("b", node).add_edge("a", "b")
    graph = harden(builder, [Metrics(registry=registry)], clock=clock).compile(name="desk")

    await run(graph, {"log": []})

    node_a = {"graph": "desk", "kind": "node", "name": "a"}
    assert told(registry, "call_duration_seconds_sum", **node_a) == 2
    assert told(registry, "run_duration_seconds_sum", graph="desk") == 4
    assert told(registry, "run_duration_seconds_bucket", graph="desk", le="3.0") == 0
    assert told(registry, "run_duration_seconds_bucket", graph="desk", le="4.0") == 1


def test_runs_in_flight_are_those_going_on(registry: CollectorRegistry) -> None:
    seen: list[float | None] = []

    def node(state: State) -> None:
        seen.append(told(registry, "runs_in_flight", graph="LangGraph"))

    graph = harden(one(node), [Metrics(registry=registry)]).compile()
    graph.batch([{"log": []}] * 2, {"max_concurrency": 1})

    assert seen == [1, 1]
    assert told(registry, "runs_in_flight", graph="LangGraph") == 0


def test_decisions_of_the_other_policies_are_counted(registry: CollectorRegistry) -> None:
    policies = [
        Metrics(registry=registry),
        CaptureErrors(then="continue"),
        RateLimit("2/hour", reply="Slow down.", name="per hour"),
        ContentFilter({"weapons": ["bomb"]}, reply="No."),
        Redact("EMAIL_ADDRESS"),
    ]
    graph = harden(one(fails), policies).compile()

    for text in ("ann@example.com", "bomb", "x"):
        graph.invoke({"messages": [("user", text)]})

    content = [("ContentFilter", "found"), ("ContentFilter", "rejected"), ("Redact", "found")]
    for policy, decision in (*content, ("per hour", "rejected"), ("CaptureErrors", "captured")):
        labels = {"graph": "LangGraph", "policy": policy, "decision": decision}
        assert told(registry, "decisions_total", **labels) == 1


async def test_tokens_are_counted_by_node_and_model(
    run: Runner, registry: CollectorRegistry, model: FakeModel
) -> None:
    graph = harden(one(asks(model)), [Metrics(registry=registry)]).compile()

    await run(graph, {"messages": [("user", "hi")]})

    labels = {"graph": "LangGraph", "node": "node", "model": "gpt-4o-mini"}
    assert told(registry, "tokens_total", **labels, direction="input") == 3
    assert told(registry, "tokens_total", **labels, direction="output") == 4


def test_no_label_holds_an_id_or_content(registry: CollectorRegistry, model: FakeModel) -> None:
    config: Any = {
        "run_id": "0e9e5154-fa59-4c41-bd86-7f1abee47549",
        "configurable": {"thread_id": "thread-7", "user_id": "ada", "request_id": "request-7"},
        "metadata": {"session": "session-7"},
    }
    inner = one(asks(model), "inner").compile()
    builder = StateGraph(State).add_node("work", inner).add_node("bad", fails)
    builder.add_conditional_edges(START, lambda state: [Send("work", state)] * 3, ["work"])
    graph = harden(builder.add_edge("work", "bad"), [Metrics(registry=registry)]).compile()

    with pytest.raises(ValueError, match="secret"):
        graph.invoke({"messages": [("user", "private")]}, config)

    page = generate_latest(registry).decode()
    labels = {value for line in page.splitlines() for value in line.split('"')[1::2]}
    assert {"work", "work/inner", "bad", "ValueError"} <= labels
    assert not [text for text in ("0e9e5154", "-7", "ada", "private", "secret") if text in page]


def test_two_policies_report_to_one_registry(registry: CollectorRegistry) -> None:
    for name in ("one", "two"):
        harden(one(notes(1)), [Metrics(registry=registry)]).compile(name=name).invoke({"log": []})

    assert told(registry, "runs_total", graph="one", outcome="ok") == 1
    assert told(registry, "runs_total", graph="two", outcome="ok") == 1


@pytest.mark.parametrize(
    "expected",
    [
        'runs_total{graph="outer",outcome="ok"} 1.0',
        'runs_total{graph="inner",outcome="ok"} 1.0',
        'node="inner/model"} 3.0',
    ],
)
def test_a_hardened_graph_in_a_hardened_graph(
    expected: str, registry: CollectorRegistry, model: FakeModel
) -> None:
    inner = harden(one(asks(model), "model"), [Metrics(registry=registry)]).compile(name="inner")
    outer = harden(one(inner, "inner"), [Metrics(registry=registry)]).compile(name="outer")

    outer.invoke({"messages": [("user", "hi")]})

    assert expected in generate_latest(registry).decode()
