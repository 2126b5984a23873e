"""Count and time what a graph does, for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from lg_prod_nodes.call import Call, Fact, Handler, Kind
from lg_prod_nodes.policy import Policy, Role

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_DECISIONS = {
    "call_rejected": "rejected",
    "call_delayed": "delayed",
    "content_found": "found",
    "error_captured": "captured",
}


class _Instruments:
    """The metrics of one registry, made once, however many policies report to it."""

    _made: ClassVar[WeakKeyDictionary[CollectorRegistry, _Instruments]] = WeakKeyDictionary()

    def __init__(self, registry: CollectorRegistry) -> None:
        def make(kind: Any, name: str, text: str, labels: tuple[str, ...], **options: Any) -> Any:
            return kind(f"lg_prod_{name}", text, labels, registry=registry, **options)

        self.runs = make(Counter, "runs", "Runs, by how they ended.", ("graph", "outcome"))
        self.run_seconds = make(
            Histogram, "run_duration_seconds", "Time of a run.", ("graph",), buckets=_SECONDS
        )
        self.in_flight = make(
            Gauge, "runs_in_flight", "Runs going on.", ("graph",), multiprocess_mode="livesum"
        )
        self.calls = make(
            Counter,
            "calls",
            "Attempts of nodes, models and tools, by how they ended.",
            ("graph", "kind", "name", "outcome"),
        )
        self.call_seconds = make(
            Histogram,
            "call_duration_seconds",
            "Time of an attempt.",
            ("graph", "kind", "name"),
            buckets=_SECONDS,
        )
        self.errors = make(
            Counter, "errors", "Failed attempts, by type of error.", ("graph", "name", "type")
        )
        self.decisions = make(
            Counter, "decisions", "Decisions of policies.", ("graph", "policy", "decision")
        )
        self.tokens = make(
            Counter, "tokens", "Tokens of model calls.", ("graph", "node", "model", "direction")
        )

    @classmethod
    def of(cls, registry: CollectorRegistry) -> _Instruments:
        if registry not in cls._made:
            cls._made[registry] = cls(registry)
        return cls._made[registry]


@dataclass(frozen=True)
class Metrics(Policy):
    """Counts and times runs and nodes, and counts errors, tokens and the decisions of the other policies.

    Labels are names of graphs, nodes, policies, models and types; never an id, so their number stays bounded.

    Args:
        registry: The Prometheus registry to report to.

    Example:
        ```python
        harden(builder, [Metrics()])
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    registry: CollectorRegistry = field(default=REGISTRY, kw_only=True, repr=False)

    @cached_property
    def _instruments(self) -> _Instruments:
        return _Instruments.of(self.registry)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Time the call and note how it ends."""
        in_flight = self._instruments.in_flight.labels(_graph(call)) if call.kind == "run" else None
        if in_flight is not None:
            in_flight.inc()
        start, error = call.now(), None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._note(call, call.now() - start, error)
            if in_flight is not None:
                in_flight.dec()

    def _note(self, call: Call, seconds: float, error: BaseException | None) -> None:
        told, graph, outcome = self._instruments, _graph(call), call.outcome(error)
        if call.kind == "run":
            told.runs.labels(graph, outcome).inc()
            told.run_seconds.labels(graph).observe(seconds)
            return
        name = (call.node or call.name) if call.kind == "node" else call.name
        told.calls.labels(graph, call.kind, name, outcome).inc()
        told.call_seconds.labels(graph, call.kind, name).observe(seconds)
        if outcome == "error":
            told.errors.labels(graph, name, type(error).__name__).inc()

    def observe(self, fact: Fact) -> None:
        """Count decisions and tokens."""
        told, graph = self._instruments, fact.call.run.graph
        if fact.name == "model_called":
            usage, node = fact.data["usage"], fact.call.node or ""
            told.tokens.labels(graph, node, fact.call.name, "input").inc(usage.input_tokens)
            told.tokens.labels(graph, node, fact.call.name, "output").inc(usage.output_tokens)
        elif decision := _DECISIONS.get(fact.name):
            told.decisions.labels(graph, fact.data["policy"], decision).inc()


def _graph(call: Call) -> str:
    return call.name if call.kind == "run" else call.run.graph
