"""What is measured is right: against independent measures, within bounds, of stores and pools too."""

from __future__ import annotations

import random
from bisect import bisect_left
from contextlib import suppress
from itertools import pairwise
from statistics import quantiles
from threading import Event
from typing import Any, cast

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.base import BaseStore
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import FakeClock
from tests.policies.conftest import (
    FakeModel,
    Runner,
    State,
    TravellingClock,
    asks,
    fails,
    notes,
    one,
)

from lg_prod_nodes import (
    CircuitBreaker,
    Fallback,
    Ledger,
    Metrics,
    Production,
    RateLimit,
    StoreUnavailable,
    Timeout,
    TokenUsage,
    harden,
    list_price,
    metrics_text,
)
from lg_prod_nodes.databases.timings import timed
from lg_prod_nodes.telemetry.prometheus import Instruments


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def told(registry: CollectorRegistry, sample: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(f"lg_prod_{sample}", labels)


def buckets(registry: CollectorRegistry, name: str, /, **labels: str) -> dict[float, float]:
    """The cumulated buckets of a histogram, by their upper bound."""
    return {
        float(sample.labels["le"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"lg_prod_{name}_bucket" and sample.labels.items() >= labels.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_times_are_those_of_an_independent_measure(seed: int, registry: CollectorRegistry) -> None:
    rng, clock, measured = random.Random(seed), FakeClock(), list[float]()

    def node(state: State) -> None:
        seconds = rng.lognormvariate(0.7, 0.8)  # as models answer: about 2 s, at times 15
        clock.advance(seconds)
        measured.append(seconds)

    graph = harden(one(node), [Metrics(registry=registry)], clock=clock).compile(name="desk")
    graph.batch([{"text": "x"}] * 300, {"max_concurrency": 1})

    place = {"graph": "desk", "kind": "node", "name": "node"}
    assert told(registry, "call_duration_seconds_count", **place) == len(measured) == 300
    assert told(registry, "call_duration_seconds_sum", **place) == pytest.approx(sum(measured))
    known = buckets(registry, "call_duration_seconds", **place)
    for bound, count in known.items():
        assert count == sum(seconds <= bound for seconds in measured)
    cuts = quantiles(measured, n=100)
    for cut in (cuts[49], cuts[98]):
        at = bisect_left(bounds := sorted(known), cut)
        assert bounds[at - 1] < cut <= bounds[at]
        assert abs(quantile(known, sum(s <= cut for s in measured) / 300) - cut) < cut / 3


def quantile(known: dict[float, float], part: float) -> float:
    """What Prometheus' `histogram_quantile` gives."""
    rank, below, under = part * known[float("inf")], 0.0, 0.0
    for bound, count in sorted(known.items()):
        if count >= rank:
            return under + (bound - under) * (rank - below) / (count - below)
        below, under = count, bound
    raise AssertionError


def test_buckets_lie_close_where_models_answer(registry: CollectorRegistry) -> None:
    harden(one(notes(1)), [Metrics(registry=registry)]).compile(name="desk").invoke({"log": []})

    bounds = [b for b in buckets(registry, "run_duration_seconds", graph="desk") if 0.5 <= b <= 60]
    assert all(after / before <= 1.5 for before, after in pairwise(bounds))


def test_a_label_has_a_bounded_number_of_values(registry: CollectorRegistry) -> None:
    for number in range(250):
        graph = harden(one(notes(1)), [Metrics(registry=registry)]).compile(name=f"g{number}")
        graph.invoke({"log": []})

    families = list(text_string_to_metric_families(metrics_text(registry)))
    values = {
        sample.labels["graph"] for f in families for sample in f.samples if "graph" in sample.labels
    }
    assert len(values) == 201
    assert told(registry, "runs_total", graph="g199", outcome="ok") == 1
    assert told(registry, "runs_total", graph="other", outcome="ok") == 50
    assert told(registry, "run_duration_seconds_count", graph="other") == 50
    assert told(registry, "runs_in_flight", graph="other") == 0


async def test_tools_are_counted_and_timed(run: Runner, registry: CollectorRegistry) -> None:
    @tool
    def look_up(who: str) -> str:
        """Look somebody up."""
        return who

    call = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}
    agent = create_agent(FakeModel(calls=(call,)), [look_up], name="desk")

    await run(harden(agent, [Metrics(registry=registry)]), {"messages": [("user", "hi")]})

    place = {"graph": "desk", "kind": "tool", "name": "look_up"}
    assert told(registry, "calls_total", **place, outcome="ok") == 1
    assert told(registry, "call_duration_seconds_count", **place) == 1


def test_the_price_of_model_calls_is_counted(registry: CollectorRegistry, model: FakeModel) -> None:
    usage = TokenUsage(ledger=Ledger(price=list_price))
    policies = [Metrics(registry=registry), usage]
    graph = harden(one(asks(model)), policies).compile(name="desk")

    for _ in range(3):
        graph.invoke({"messages": [("user", "hi")]})

    price = told(registry, "cost_usd_total", graph="desk", node="node", model="gpt-4o-mini")
    assert price == pytest.approx(3 * (3 * 0.15 + 4 * 0.60) / 1e6)


class Thinks(FakeModel):
    """A model that reports what was cached and what it spent on reasoning, and fails when told to."""

    fails: bool = False

    def _generate(self, *args: Any, **options: Any) -> ChatResult:
        if self.fails:
            raise RuntimeError
        result = super()._generate(*args, **options)
        cast(AIMessage, result.generations[0].message).usage_metadata = {
            "input_tokens": 100,
            "output_tokens": 30,
            "total_tokens": 130,
            "input_token_details": {"cache_read": 60, "cache_creation": 10},
            "output_token_details": {"reasoning": 20},
        }
        return result


MODEL = {"graph": "desk", "node": "node", "model": "gpt-4o-mini"}
ASKED: Any = {"messages": [("user", "hi")]}


async def test_cached_and_reasoning_tokens_are_counted(
    run: Runner, registry: CollectorRegistry
) -> None:
    thinks = one(lambda state: {"messages": [Thinks().invoke("hi")]})
    graph = harden(thinks, [Metrics(registry=registry)]).compile(name="desk")

    for _ in range(2):
        await run(graph, ASKED)

    assert told(registry, "cached_tokens_total", **MODEL, access="read") == 120
    assert told(registry, "cached_tokens_total", **MODEL, access="write") == 20
    assert told(registry, "reasoning_tokens_total", **MODEL) == 40
    assert told(registry, "tokens_total", **MODEL, direction="input") == 200


async def test_model_calls_are_counted_by_how_they_end(
    run: Runner, registry: CollectorRegistry
) -> None:
    cached = FakeModel(cache=InMemoryCache())

    def node(state: State) -> None:
        cached.invoke("hi")
        cached.invoke("hi")
        with suppress(RuntimeError):
            Thinks(fails=True).invoke("hi")

    await run(harden(one(node), [Metrics(registry=registry)]).compile(name="desk"), ASKED)

    for outcome in ("answered", "cached", "failed"):
        assert told(registry, "model_calls_total", **MODEL, outcome=outcome) == 1


async def test_estimated_and_unpriced_calls_are_counted(
    run: Runner, registry: CollectorRegistry
) -> None:
    def node(state: State) -> None:
        FakeModel(model_name="silent", spends=False).invoke("hi")
        FakeModel(model_name="of nobody").invoke("hi")
        FakeModel().invoke("hi")

    policies = [Metrics(registry=registry), TokenUsage(ledger=Ledger(price=list_price))]
    await run(harden(one(node), policies).compile(name="desk"), ASKED)

    silent, own = {**MODEL, "model": "silent"}, {**MODEL, "model": "of nobody"}
    assert told(registry, "estimated_model_calls_total", **silent) == 1
    assert told(registry, "estimated_model_calls_total", **own) == 0
    assert told(registry, "unpriced_model_calls_total", **own) == 1
    assert told(registry, "unpriced_model_calls_total", **MODEL) is None


def test_circuits_fallbacks_and_timeouts_are_decisions(registry: CollectorRegistry) -> None:
    def limits(state: State) -> None:
        error = Exception("slow down")
        vars(error).update(status_code=429)
        raise error

    waits = Event()
    seen = Metrics(registry=registry)
    breaker = CircuitBreaker(minimum=1, counts=("bad_input",))
    for name, function, policies in (
        ("opens", fails, [breaker]),
        ("limits", limits, [CircuitBreaker()]),
        ("late", lambda state: waits.wait(), [Timeout(0.01)]),
        ("falls", fails, [Fallback(answer="Sorry.", on=("bad_input",))]),
    ):
        graph = harden(one(function, name), [seen], nodes={name: policies}).compile(name="desk")
        with suppress(Exception):
            graph.invoke(ASKED)
    waits.set()

    for policy, decision in (
        ("CircuitBreaker", "circuit_opened"),
        ("CircuitBreaker", "provider_limited"),
        ("Timeout", "node_timed_out"),
        ("Fallback", "fell_back"),
    ):
        labels = {"graph": "desk", "policy": policy, "decision": decision}
        assert told(registry, "decisions_total", **labels) == 1


def test_the_time_of_delays_is_counted(registry: CollectorRegistry, clock: TravellingClock) -> None:
    policies = [Metrics(registry=registry), RateLimit("1/minute", max_wait=120, name="slow")]
    graph = harden(one(notes(1)), policies, clock=clock).compile(name="desk")

    for _ in range(2):
        graph.invoke({"log": []})

    waited = sum(clock.slept)
    assert waited > 0
    assert told(registry, "decisions_total", graph="desk", policy="slow", decision="delayed") == 1
    assert told(registry, "delay_seconds_total", graph="desk", policy="slow") == pytest.approx(
        waited
    )


def test_postgres_tells_of_its_pool_and_its_operations(
    dsn: str, registry: CollectorRegistry
) -> None:
    def node(state: MessagesState, *, store: BaseStore) -> None:
        store.put(("notes",), "key", {"text": "x"})

    builder = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    config: Any = {"configurable": {"thread_id": "1"}}
    with Production(builder, [Metrics(registry=registry)], postgres=dsn, pool_size=3) as app:
        app.invoke({"messages": []}, config)
        page = metrics_text(registry)

        for operation in ("get_tuple", "put", "put_writes"):
            labels = {"store": "checkpointer", "operation": operation, "outcome": "ok"}
            assert told(registry, "store_operation_duration_seconds_count", **labels)
        labels = {"store": "store", "operation": "batch", "outcome": "ok"}
        assert told(registry, "store_operation_duration_seconds_count", **labels) == 1
        open_now = [
            told(registry, "pool_connections", pool="postgres", state=s) for s in ("idle", "used")
        ]
        assert 1 <= sum(filter(None, open_now)) <= 3
        assert told(registry, "pool_requests_waiting", pool="postgres") == 0
        asked = told(registry, "pool_requests_total", pool="postgres")
        assert asked
        assert 'lg_prod_pool_requests_total{pool="postgres"}' in page
        metrics_text(registry)
        assert told(registry, "pool_requests_total", pool="postgres") == asked


def test_operations_that_fail_are_told_apart(registry: CollectorRegistry) -> None:
    @timed("shelf", "get", "aget")
    class Shelf:
        def get(self, key: str) -> str:
            raise StoreUnavailable(key)

        async def aget(self, key: str) -> str:
            return key

    Instruments.of(registry)
    with pytest.raises(StoreUnavailable):
        Shelf().get("x")

    labels = {"store": "shelf", "operation": "get", "outcome": "error"}
    assert told(registry, "store_operation_duration_seconds_count", **labels) == 1
