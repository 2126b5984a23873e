"""What watching costs: a bare graph, and the same graph with Tracing, Metrics and CaptureErrors, run in turn.

Five nodes, in memory, no input or output. Prints the median processor time of a run, and the part of the bare
graph's time that is added (the median of the pairs): for each policy, for all, and with OpenTelemetry on top.
Then the time of a node, as it measures itself and as Metrics tells it: sum, p50 and p99.

    python benchmarks/bench_observability.py [ROUNDS]
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from statistics import median, quantiles
from typing import Any

from bench_overhead import RUNS, Nothing, State, chain, compare
from langgraph.graph import START, StateGraph
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from lg_prod_nodes import CaptureErrors, Metrics, Policy, Tracing, harden


class Nowhere(SpanExporter):
    """Takes spans as a collector near by does, and drops them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def stacks() -> dict[str, list[Policy]]:
    def metrics(**options: Any) -> Metrics:
        return Metrics(registry=CollectorRegistry(), **options)

    spans = TracerProvider()
    spans.add_span_processor(BatchSpanProcessor(Nowhere()))
    return {
        "a policy that does nothing": [Nothing()],
        "Tracing": [Tracing()],
        "Metrics": [metrics()],
        "CaptureErrors": [CaptureErrors()],
        "all three": [Tracing(), metrics(), CaptureErrors()],
        "... and OpenTelemetry": [
            Tracing(otel=spans),
            metrics(otel=MeterProvider()),
            CaptureErrors(),
        ],
    }


def seconds_a_run(graph: Any) -> float:
    start = time.process_time()
    for _ in range(RUNS):
        graph.invoke({"words": ["start"]})
    return (time.process_time() - start) / RUNS


def answer_times(answers: int = 400) -> tuple[list[float], dict[float, float], float]:
    """How long a node took to answer by its own watch; what Metrics told of that, as buckets and as a sum."""
    rng, own, registry = random.Random(1), list[float](), CollectorRegistry()

    async def answer(state: State) -> None:
        start = time.perf_counter()
        await asyncio.sleep(rng.lognormvariate(0.0, 0.5))  # seconds, as models take them
        own.append(time.perf_counter() - start)

    builder = StateGraph(State).add_node(answer).add_edge(START, "answer")
    graph = harden(builder, [Metrics(registry=registry)]).compile()
    asyncio.run(graph.abatch([{"words": []}] * answers, {"max_concurrency": 50}))
    told = [s for m in registry.collect() for s in m.samples if s.labels.get("kind") == "node"]
    name = "lg_prod_call_duration_seconds"
    buckets = {float(s.labels["le"]): s.value for s in told if s.name == f"{name}_bucket"}
    return own, buckets, next(s.value for s in told if s.name == f"{name}_sum")


def quantile(buckets: dict[float, float], part: float) -> tuple[float, float, float]:
    """What Prometheus' `histogram_quantile` gives, and the bounds of the bucket that it lies in."""
    rank, low, under = part * buckets[float("inf")], 0.0, 0.0
    for high, count in sorted(buckets.items()):
        if count >= rank:
            return low + (high - low) * (rank - under) / (count - under), low, high
        low, under = high, count
    raise AssertionError


def show_answer_times() -> None:
    own, buckets, total = answer_times()
    print(f"\n{len(own)} answers of a node, by its own watch and by Metrics (its bucket)")
    print(f"sum  {sum(own):>8.3f} s {total:>8.3f} s  {(total / sum(own) - 1) * 100:+.2f} %")
    cuts = quantiles(own, n=100, method="inclusive")
    for percent in (50, 99):
        told, low, high = quantile(buckets, percent / 100)
        print(f"p{percent}  {cuts[percent - 1]:>8.3f} s {told:>8.3f} s  ({low:g} to {high:g} s)")


def main(rounds: int) -> None:
    bare = chain().compile()
    graphs = {name: harden(chain(), stack).compile() for name, stack in stacks().items()}
    for graph in (bare, *graphs.values()):
        seconds_a_run(graph)  # warms up
    alone = median(seconds_a_run(bare) for _ in range(rounds))
    print(f"{'bare':<28} {alone * 1e6:>7.0f} us a run")
    for name, graph in graphs.items():
        run, ratio = compare(bare, graph, rounds, seconds_a_run)
        print(
            f"{name:<28} {run * 1e6:>7.0f} us a run  {(ratio - 1) * 100:>+6.1f} % of the bare graph"
        )
    show_answer_times()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 31)
