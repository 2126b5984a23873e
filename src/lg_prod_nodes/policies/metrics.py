"""Prometheus metrics of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.report import Event, Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.telemetry.prometheus import REGISTRY, CollectorRegistry, Instruments

if TYPE_CHECKING:
    from lg_prod_nodes.telemetry.genai import MeterProvider, ModelMetrics

_DECISIONS = {
    "call_rejected": "rejected",
    "call_would_be_rejected": "would_reject",
    "call_delayed": "delayed",
    "content_found": "found",
    "error_captured": "captured",
}
_ROUTINE = frozenset({"limit_checked", "budget_checked"})
"""Events that policies emit for calls they do not act on."""


@dataclass(frozen=True)
class Metrics(Policy):
    """Counts and times runs, nodes, models and tools; counts errors, tokens and the decisions of other policies.

    Labels are names of graphs, nodes, policies, models and types, never ids, so their cardinality is bounded. Once a
    label has 200 values, further ones become `"other"`.

    Args:
        registry: The Prometheus registry to report to, see `metrics_text`.
        otel: Whether to record model calls in OpenTelemetry too, under its GenAI names: `True` for the global meter
            provider, or a meter provider. Needs the extra `otel`.

    Raises:
        ConfigurationError: While building, if `otel` is set and the extra is missing.

    Example:
        ```python
        harden(builder, [Metrics()])
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model", "tool"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    registry: CollectorRegistry = field(default=REGISTRY, kw_only=True, repr=False)
    otel: bool | MeterProvider = field(default=False, kw_only=True)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The Prometheus metrics, and those of OpenTelemetry if `otel` is set."""
        return (self._instruments,) if self._models is None else (self._instruments, self._models)

    @cached_property
    def _instruments(self) -> Instruments:
        return Instruments.of(self.registry)

    @cached_property
    def _models(self) -> ModelMetrics | None:
        if self.otel is False:
            return None
        from lg_prod_nodes.telemetry.genai import ModelMetrics

        return ModelMetrics(None if self.otel is True else self.otel)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Time the call and count its outcome."""
        if call.kind == "run":
            return await self._run(call, handler)
        if call.kind == "model" and self._models is not None:
            with self._models.around(call):
                return await self._attempt(call, handler)
        return await self._attempt(call, handler)

    async def _run(self, call: Call, handler: Handler) -> Any:
        instruments, graph, error = self._instruments, call.name, None
        in_flight, start = instruments.in_flight(graph), call.now()
        in_flight.inc()
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            in_flight.dec()
            instruments.runs(graph, call.outcome(error)).inc()
            instruments.run_seconds(graph).observe(call.now() - start)
            instruments.note_pools_at_times()

    async def _attempt(self, call: Call, handler: Handler) -> Any:
        start, error = call.now(), None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._note(call, call.now() - start, error)

    def _note(self, call: Call, seconds: float, error: BaseException | None) -> None:
        instruments, outcome = self._instruments, call.outcome(error)
        name = (call.node or call.name) if call.kind == "node" else call.name
        place = (call.run.graph, call.kind, name)
        instruments.calls(*place, outcome).inc()
        instruments.call_seconds(*place).observe(seconds)
        if outcome == "error":
            instruments.errors(call.run.graph, name, type(error).__name__).inc()

    def observe(self, event: Event) -> None:
        """Count decisions, tokens and costs."""
        instruments, graph, data = self._instruments, event.graph, event.data
        match event.name:
            case "model_called":
                self._spent(event, data["usage"])
            case "model_failed" | "model_cached":
                instruments.model_calls(*_model(event), event.name.removeprefix("model_")).inc()
            case "model_priced":
                instruments.cost(*_model(event)).inc(float(data["cost"]))
            case "model_unpriced":
                instruments.unpriced_calls(*_model(event)).inc()
            case "store_unavailable":
                instruments.store_failures(graph, data["policy"]).inc()
            case name if "policy" in data and name not in _ROUTINE:
                instruments.decisions(graph, data["policy"], _DECISIONS.get(name, name)).inc()
                if name == "call_delayed":
                    instruments.delays(graph, data["policy"]).inc(data["seconds"])
            case _:
                pass

    def _spent(self, event: Event, usage: Usage) -> None:
        instruments, model = self._instruments, _model(event)
        instruments.model_calls(*model, "answered").inc(usage.calls)
        instruments.tokens(*model, "input").inc(usage.input_tokens)
        instruments.tokens(*model, "output").inc(usage.output_tokens)
        instruments.cached_tokens(*model, "read").inc(usage.cache_read_tokens)
        instruments.cached_tokens(*model, "write").inc(usage.cache_write_tokens)
        instruments.reasoning_tokens(*model).inc(usage.reasoning_tokens)
        instruments.estimated_calls(*model).inc(usage.estimated_calls)
        if self._models is not None:
            self._models.observe(event)


def _model(event: Event) -> tuple[str, str, str]:
    """Return the labels of a model call."""
    return event.graph, event.node or "", event.target
