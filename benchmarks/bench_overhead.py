"""What hardening costs: a bare graph and the same graph hardened, run in turn in one process.

Five nodes, in memory, no input or output. Prints the median time of a run for each stack of policies, its ratio to the
bare graph (the median of the pairs), and what is added a node.

    python benchmarks/bench_overhead.py [ROUNDS]
"""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from prometheus_client import CollectorRegistry
from typing_extensions import TypedDict

from lg_prod_nodes import (
    CaptureErrors,
    ContentFilter,
    Metrics,
    Policy,
    RateLimit,
    Redact,
    TokenUsage,
    Tracing,
    harden,
)

NODES = 5
RUNS = 20


class State(TypedDict):
    words: Annotated[list[str], operator.add]


class Nothing(Policy):
    """Wraps runs and nodes, and does nothing."""

    kinds = frozenset({"run", "node"})

    async def wrap(self, call: Any, handler: Any) -> Any:
        return await handler(call)


def chain() -> StateGraph[State]:
    names = [f"n{number}" for number in range(NODES)]
    builder = StateGraph(State)
    builder.add_sequence([(name, lambda _, name=name: {"words": [name]}) for name in names])  # type: ignore[list-item]
    return builder.add_edge(START, names[0])


def stacks() -> dict[str, list[Policy]]:
    observers: list[Policy] = [
        Tracing(),
        Metrics(registry=CollectorRegistry()),
        CaptureErrors(),
    ]
    limits: list[Policy] = [TokenUsage(), RateLimit("1000000/second")]
    content: list[Policy] = [ContentFilter(["never said"]), Redact("CREDIT_CARD")]
    return {
        "one policy that does nothing": [Nothing()],
        "Tracing, Metrics, CaptureErrors": observers,
        "... and TokenUsage, RateLimit": observers + limits,
        "... and ContentFilter, Redact": observers + limits + content,
    }


def seconds_a_run(graph: Any) -> float:
    start = time.perf_counter()
    for _ in range(RUNS):
        graph.invoke({"words": ["start"]})
    return (time.perf_counter() - start) / RUNS


def compare(
    bare: Any, hardened: Any, rounds: int, measure: Callable[[Any], float] = seconds_a_run
) -> tuple[float, float]:
    """The hardened graph's median time of a run, and the median ratio of the pairs."""
    pairs = [(measure(bare), measure(hardened)) for _ in range(rounds)]
    return median(ours for _, ours in pairs), median(ours / theirs for theirs, ours in pairs)


def show(name: str, run: float, ratio: float, bare: float) -> None:
    added = (run - bare) / NODES * 1e6
    print(f"{name:<34} {run * 1e6:>9.0f} us a run {ratio:>7.2f} x {added:>8.1f} us a node")


def main(rounds: int, make: Callable[[], Any] = chain) -> None:
    bare = make().compile()
    graphs = {name: harden(make(), stack).compile() for name, stack in stacks().items()}
    for graph in (bare, *graphs.values()):
        seconds_a_run(graph)  # warms up
    alone = median(seconds_a_run(bare) for _ in range(rounds))
    show("bare", alone, 1.0, alone)
    for name, graph in graphs.items():
        run, ratio = compare(bare, graph, rounds)
        show(name, run, ratio, run / ratio)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
