"""Bind who and what a run is to every log line, and hand its trace on."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any, ClassVar

import structlog
from structlog.contextvars import bound_contextvars

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.policy import Policy, Role
from lg_prod_nodes.run import current_run

_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@dataclass(frozen=True)
class Tracing(Policy):
    """Binds run, thread, request and user ids and the trace to every log line of a run.

    The ids are bound in structlog's context variables, so they are on each line that is logged in the run: by nodes,
    tools and libraries, in tasks and threads that LangGraph starts. A W3C `traceparent` is taken from
    `config["configurable"]["traceparent"]` and handed on by `trace_headers()`; without one, a trace begins.

    Args:
        log_runs: Whether a line is logged at the start and end of each run.

    Example:
        ```python
        harden(builder, [Tracing()])
        ```

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    log_runs: bool = field(default=True, kw_only=True)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Bind the ids while the call goes on."""
        if call.kind != "run":
            with bound_contextvars(node=call.node or call.name, attempt=call.attempt):
                return await handler(call)
        with bound_contextvars(**_ids(call)):
            return await (self._logged(call, handler) if self.log_runs else handler(call))

    async def _logged(self, call: Call, handler: Handler) -> Any:
        log = structlog.get_logger("lg_prod_nodes")
        log.info("run started", resumed=call.resumed)
        start, error = call.now(), None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            log.info("run ended", outcome=call.outcome(error), seconds=round(call.now() - start, 4))


def trace_headers() -> dict[str, str]:
    """The headers that hand the trace of the running run on to a service that it calls."""
    run = current_run()
    return dict(run.headers) if run is not None else {}


def _ids(call: Call) -> dict[str, str]:
    run = call.run
    if "traceparent" not in run.headers:
        run.headers["traceparent"] = _child_of(
            call.config.get("configurable", {}).get("traceparent")
        )
    _, trace_id, span_id, _ = run.headers["traceparent"].split("-")
    ids = {
        "graph": call.name,
        "run_id": run.id,
        "thread_id": run.thread_id,
        "request_id": run.request_id,
        "user_id": run.user_id,
        "trace_id": trace_id,
        "span_id": span_id,
    }
    return {name: value for name, value in ids.items() if value is not None}


def _child_of(traceparent: object) -> str:
    """A new span in the caller's trace, or in a new one when the caller sent none or a malformed one."""
    match = (
        _TRACEPARENT.fullmatch(traceparent.strip().lower())
        if isinstance(traceparent, str)
        else None
    )
    trace_id, flags = (match[1], match[3]) if match else (secrets.token_hex(16), "01")
    return f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
