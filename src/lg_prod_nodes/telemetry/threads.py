"""The ids and the trace of a run in threads that a node starts by itself: Python gives them no context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as pool
from contextvars import Context, ContextVar, copy_context
from functools import cache, partial, wraps
from typing import Any, cast

TRACE: ContextVar[Mapping[str, str] | None] = ContextVar("lg_prod_trace", default=None)
"""The headers that hand the trace on from here; set inside of a traced run."""

_CARRIED = ("structlog_", "lg_prod_trace", "current_context")  # the last one is OpenTelemetry's

Values = list[tuple[ContextVar[Any], Any]]


@cache
def carry_into_threads() -> None:
    """Let threads that are started in a traced run log with its ids, and go on with its trace.

    What else is in the context stays behind, as always: a node's config, the user's own variables.
    """
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @wraps(start)
    def start_carrying(self: threading.Thread) -> None:
        # A pool's thread serves whoever comes later, so it gets nothing of the run that is here by chance.
        if TRACE.get() is not None and getattr(self, "_target", None) is not vars(pool)["_worker"]:
            vars(self)["run"] = _carrying(self.run, _values())
        start(self)

    @wraps(cast(Any, submit))
    def submit_carrying(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        if TRACE.get() is not None and not _has_context(fn):
            fn = _carrying(fn, _values())
        return submit(self, fn, *args, **kwargs)

    cast(Any, threading.Thread).start = start_carrying
    cast(Any, ThreadPoolExecutor).submit = submit_carrying


def _has_context(function: Any) -> bool:
    """Whether a function runs in a context that somebody copied, as LangGraph and asyncio do."""
    if isinstance(function, partial):
        function = function.func
    return isinstance(getattr(function, "__self__", None), Context)


def _values() -> Values:
    return [(var, value) for var, value in copy_context().items() if var.name.startswith(_CARRIED)]


def _carrying(function: Callable[..., Any], values: Values) -> Callable[..., Any]:
    @wraps(function)
    def carrying(*args: Any, **kwargs: Any) -> Any:
        tokens = [(var, var.set(value)) for var, value in values]
        try:
            return function(*args, **kwargs)
        finally:
            for var, token in reversed(tokens):
                var.reset(token)

    return carrying
