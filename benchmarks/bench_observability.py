"""What watching costs: a bare graph, and the same graph with Tracing, Metrics and CaptureErrors, run in turn.

Five nodes, in memory, no input or output. Prints the median processor time of a run, and the part of the bare
Five nodes, in memory, no input or output. Prints the median processor time of a run, and the part of the bare
graph's time that is added (the median of the pairs): for each policy, for all, and with OpenTelemetry on top.
    python benchmarks/bench_observability.py [ROUNDS]
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Any

import structlog
from bench_overhead import RUNS, Nothing, chain, compare
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
        "Tracing": [Tracing(log_runs=False)],
        "Metrics": [metrics()],
        "CaptureErrors": [CaptureErrors()],
        "all three": [Tracing(log_runs=False), metrics(), CaptureErrors()],
        "... and OpenTelemetry": [
            Tracing(log_runs=False, otel=spans),
            metrics(otel=MeterProvider()),
            CaptureErrors(),
        ],
    }


def seconds_a_run(graph: Any) -> float:
    start = time.process_time()
    for _ in range(RUNS):
        graph.invoke({"words": ["start"]})
    return (time.process_time() - start) / RUNS


def main(rounds: int) -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 31)
