"""Spans of runs, nodes, models and tools: names and numbers, never content.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.report import Event
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.telemetry.names import error_type, operation, provider_of

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
    from opentelemetry.trace import TracerProvider as TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "OpenTelemetry needs an extra: pip install 'lg-prod-nodes[otel]'"
    ) from error

_W3C = TraceContextTextMapPropagator()
_MODEL: ContextVar[trace.Span | None] = ContextVar("model_span", default=None)

Attributes = dict[str, str | int | bool]


class Spans(Resource):
    """Opens a span around each call, as a child of the current span.

    Args:
        provider: The tracer provider, the global one by default.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("lg_prod_nodes", tracer_provider=provider)

    @contextmanager
    def around(
        self, call: Call, caller: Mapping[str, str]
    ) -> Generator[Mapping[str, str] | None, None, None]:
        """Open a span for the duration of the block.

        Args:
            call: The call that the span describes.
            caller: The headers of the caller's trace, which a run continues. A run inside a span of another trace is
                a child of that span, with a link to the caller's.

        Yields:
            The headers that propagate the span, `None` if no OpenTelemetry SDK is configured.
        """
        parent, links = _above(caller) if call.kind == "run" else (None, ())
        name, kind, attributes = _described(call)
        span = self._tracer.start_span(name, parent, kind, attributes, links)
        inside = context.attach(trace.set_span_in_context(span))
        model = _MODEL.set(span if call.kind == "model" else None)
        try:
            headers: dict[str, str] = {}
            _W3C.inject(headers)
            yield headers or None
        except BaseException as raised:
            _end(span, call, raised)
            raise
        else:
            _end(span, call, None)
        finally:
            _MODEL.reset(model)
            context.detach(inside)

    def observe(self, event: Event) -> None:
        """Record a model call's usage on its span."""
        span = _MODEL.get()
        if event.name == "model_called" and span is not None:
            span.set_attribute("gen_ai.response.model", event.target)
            span.set_attributes({**provider_of(event), **_spent(event.data["usage"])})


def _above(caller: Mapping[str, str]) -> tuple[context.Context | None, tuple[Link, ...]]:
    """Return the parent context of a run's span, and its links."""
    theirs = _W3C.extract(caller, context=context.Context())
    remote = trace.get_current_span(theirs).get_span_context()
    here = trace.get_current_span().get_span_context()
    if not remote.is_valid:
        return None, ()
    if not here.is_valid:
        return theirs, ()
    return None, () if here.trace_id == remote.trace_id else (Link(remote),)


def _described(call: Call) -> tuple[str, SpanKind, Attributes]:
    match call.kind:
        case "model":
            name = operation(call)
            attributes: Attributes = {"gen_ai.operation.name": name}
            attributes["gen_ai.request.model"] = call.name
            if call.request is not None and call.request.max_output_tokens is not None:
                attributes["gen_ai.request.max_tokens"] = call.request.max_output_tokens
            return f"{name} {call.name}", SpanKind.CLIENT, attributes
        case "tool":
            attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.name}
            return f"execute_tool {call.name}", SpanKind.INTERNAL, attributes
        case "node":
            node = call.node or call.name
            attributes = {"lg_prod.node": node, "lg_prod.attempt": call.attempt}
            return f"node {node}", SpanKind.INTERNAL, attributes
        case "request":
            attributes = {"http.request.method": str(call.input), "server.address": call.name}
            return str(call.input), SpanKind.CLIENT, attributes
        case _:
            attributes = {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": call.name,
                "lg_prod.run.id": call.run.id,
                "lg_prod.run.resumed": call.resumed,
            }
            return f"invoke_workflow {call.name}", SpanKind.INTERNAL, attributes


def _end(span: trace.Span, call: Call, error: BaseException | None) -> None:
    outcome = call.outcome(error)
    span.set_attribute("lg_prod.outcome", outcome)
    if outcome == "error" and error is not None:
        span.set_attribute("error.type", error_type(error))
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _spent(usage: Usage) -> dict[str, Any]:
    spent = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: tokens for name, tokens in spent.items() if tokens}
