"""Bind a run's ids to its log lines, open spans and propagate the trace."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from structlog.contextvars import bind_contextvars, reset_contextvars

from lg_prod_nodes.core import log
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.policy import REQUESTS, Policy, Role, Site
from lg_prod_nodes.core.report import Event, Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.run import current_run

if TYPE_CHECKING:
    from lg_prod_nodes.telemetry.spans import Spans, TracerProvider

TRACE: ContextVar[Mapping[str, str] | None] = ContextVar("lg_prod_trace", default=None)
"""The headers that propagate the trace from here; set inside a traced run."""

_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SERVER_S = "__otel_{}__"
"""The key in `configurable` where LangGraph Server puts a request's trace headers."""

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Tracing(Policy):
    """Binds a run's ids and trace to its log lines, opens spans and propagates the trace.

    The run, thread, request and user ids are bound as structlog context variables. They appear on every line logged
    during the run: by nodes, tools and libraries, in tasks, and in threads that run in a copy of the context. The trace
    continues from a W3C `traceparent` in `config["configurable"]["traceparent"]` or
    `config["metadata"]["traceparent"]`; if there is none, a new trace starts. `trace_headers()` returns the headers
    for outgoing requests.

    Args:
        log_runs: Whether to log the start and end of each run.
        otel: Whether to open OpenTelemetry spans for runs, nodes, model calls and tools: `True` for the global tracer
            provider, or a tracer provider. Needs the extra `otel`. Spans hold names and numbers, never content.

    Raises:
        ConfigurationError: While building, if `otel` is set and the extra is missing.

    Example:
        ```python
        harden(builder, [Tracing()])
        ```

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model", "tool"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    log_runs: bool = field(default=False, kw_only=True)
    otel: bool | TracerProvider = field(default=False, kw_only=True)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The opener of spans, if `otel` is set."""
        return () if self._spans is None else (self._spans,)

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Runs and nodes; models and tools too if `otel` is set. Requests at a client."""
        if site == "client":
            return REQUESTS
        if self.otel or site == "agent":
            return super().kinds_at(site)
        return super().kinds_at(site) - {"model", "tool"}

    @cached_property
    def _spans(self) -> Spans | None:
        if self.otel is False:
            return None
        from lg_prod_nodes.telemetry.spans import Spans

        return Spans(None if self.otel is True else self.otel)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Bind the ids while the call runs."""
        if self._spans is None:
            trace = _of_run(call, None) if call.kind in ("run", "request") else None
            return await self._bound(call, handler, trace)
        with self._spans.around(call, _caller(call)) as headers:
            trace = _of_run(call, headers) if call.kind == "run" else headers
            if call.kind == "request" and headers is not None:
                call.run.headers.update(headers)
            return await self._bound(call, handler, trace)

    def observe(self, event: Event) -> None:
        """Record a model call's usage on its span."""
        if self._spans is not None:
            self._spans.observe(event)

    async def _bound(self, call: Call, handler: Handler, trace: Headers | None) -> Any:
        tokens = bind_contextvars(**_ids(call, trace))
        opened = TRACE.set(trace) if trace is not None else None
        try:
            logged = call.kind == "run" and self.log_runs
            return await (_logged(call, handler) if logged else handler(call))
        finally:
            if opened is not None:
                TRACE.reset(opened)
            reset_contextvars(**tokens)


def trace_headers() -> dict[str, str]:
    """Return the headers that propagate the current run's trace to a service it calls; empty outside of a run."""
    run = current_run()
    return {**run.headers, **(TRACE.get() or {})} if run is not None else {}


async def _logged(call: Call, handler: Handler) -> Any:
    log.info("run started", resumed=call.resumed)
    start, error = call.now(), None
    try:
        return await handler(call)
    except BaseException as raised:
        error = raised
        raise
    finally:
        log.info("run ended", outcome=call.outcome(error), seconds=round(call.now() - start, 4))


def _of_run(call: Call, span: Headers | None) -> Headers:
    """Return the trace of a run: from its own span, the outer run or the caller, else a new one."""
    headers = call.run.headers
    if span is not None and TRACE.get() is None:
        headers.update(span)
    elif "traceparent" not in headers:
        headers["traceparent"] = _child_of(_caller(call).get("traceparent"))
    return span or {"traceparent": headers["traceparent"]}


def _ids(call: Call, trace: Headers | None) -> dict[str, Any]:
    run = call.run
    ids: dict[str, Any]
    if call.kind == "run":
        ids = {
            "graph": call.name,
            "run_id": run.id,
            "thread_id": run.thread_id,
            "request_id": run.request_id,
            "user_id": run.user_id,
            "tenant_id": run.tenant_id,
            "assistant_id": run.assistant_id,
        }
        ids = {name: value for name, value in ids.items() if value is not None}
    elif call.kind == "request":
        ids = {}
    else:
        ids = {"node": call.node or call.name, "attempt": call.attempt}
    if trace is not None:
        _, ids["trace_id"], ids["span_id"], _ = trace["traceparent"].split("-")
    return ids


def _caller(call: Call) -> dict[str, str]:
    """Return the headers of the caller's trace, if they are valid."""
    configurable = call.config.get("configurable", {})
    metadata = call.config.get("metadata") or {}
    for place, key in ((configurable, "{}"), (metadata, "{}"), (configurable, _SERVER_S)):
        given = place.get(key.format("traceparent"))
        if isinstance(given, str) and _TRACEPARENT.fullmatch(given.strip().lower()):
            state = place.get(key.format("tracestate"))
            states = {"tracestate": state} if isinstance(state, str) else {}
            return {"traceparent": given.strip().lower(), **states}
    return {}


def _child_of(traceparent: str | None) -> str:
    """Return a `traceparent` for a new span, in the caller's trace or a new one."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    trace_id, flags = (match[1], match[3]) if match else (secrets.token_hex(16), "01")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
