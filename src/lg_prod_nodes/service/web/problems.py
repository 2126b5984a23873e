"""Errors as problem details (RFC 9457): a status, headers, and a body without content."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphDrained

from lg_prod_nodes.core.errors import (
    AlreadyRun,
    Busy,
    CallRejected,
    CircuitOpen,
    DeadlineExceeded,
    DetectionFailed,
    EventsExpired,
    LeaseLost,
    ProductionError,
    RunInterrupted,
    ShuttingDown,
    StoreUnavailable,
    ThreadBusy,
)
from lg_prod_nodes.service.web.headers import rate_limit_headers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_STATUSES: Mapping[type[Exception], int] = {
    ThreadBusy: 409,
    Busy: 429,
    CircuitOpen: 503,
    DeadlineExceeded: 504,
    ShuttingDown: 503,
    RunInterrupted: 409,
    LeaseLost: 409,  # not 503, which clients repeat by themselves: what was written has to be read first
    AlreadyRun: 409,
    EventsExpired: 410,
    DetectionFailed: 503,
    StoreUnavailable: 503,
}
_INTERNAL = (DetectionFailed, StoreUnavailable)
_TITLES = {
    409: "Conflict",
    410: "Gone",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_UNAVAILABLE = (
    "a service that the run depends on does not answer; try again"  # its message names hosts
)
_DRAINED = "the worker is shutting down and the run stopped at a checkpoint; repeat the request to continue it"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it.

    Attributes:
        status: The HTTP status.
        code: The error's stable code.
        detail: What happened and what to do: names and numbers, never content.
        retry_after: Seconds until a retry can succeed, `None` if unknown or if waiting does not help.
        headers: Headers of the response: `Retry-After` and the rate limit headers.
    """

    status: int
    code: str
    detail: str
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_dict(self) -> dict[str, Any]:
        """Return the members of the problem details object."""
        members = {
            "type": f"urn:problem-type:lg-prod-nodes:{self.code}",
            "title": _TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        return members if self.retry_after is None else members | {"retry_after": self.retry_after}


def problem_of(error: BaseException) -> Problem:
    """Describe an error for a client.

    Args:
        error: Any error. One that is neither of this library nor a drain, or that a client can do nothing about, is an
            `internal-error` with status 500 whose message is not shown.

    Returns:
        The problem.
    """
    if isinstance(error, GraphDrained):
        return Problem(503, "run-drained", _DRAINED, 1.0, {"Retry-After": "1"})
    status = _status(error)
    if status is None or not isinstance(error, ProductionError):
        return Problem(500, "internal-error", "the run failed")
    if not isinstance(error, CallRejected):
        detail = _UNAVAILABLE if isinstance(error, _INTERNAL) else str(error)
        return Problem(status, error.code, detail)
    retry_after = None if error.retry_after is None else float(ceil(error.retry_after))
    return Problem(status, error.code, str(error), retry_after, rate_limit_headers(error))


def _status(error: BaseException) -> int | None:
    for cls in type(error).__mro__:
        if cls in _STATUSES:
            return _STATUSES[cls]
    if isinstance(error, CallRejected):
        return 422 if error.retry_after is None else 429
    return None


Handler = Callable[["Request", Any], Coroutine[Any, Any, "Response"]]


def problem_handlers() -> dict[Any, Handler]:
    """Return exception handlers that answer with `application/problem+json`.

    | error | status |
    |---|---|
    | `RateLimitExceeded`, `BudgetExceeded`, other refusals | 429, or 422 if waiting does not help |
    | `Busy` | 429 |
    | `ThreadBusy`, `RunInterrupted`, `LeaseLost`, `AlreadyRun` | 409 |
    | `ContentBlocked` | 422 |
    | `EventsExpired` | 410 |
    | `ShuttingDown`, a drained run, `CircuitOpen`, `StoreUnavailable`, `DetectionFailed` | 503 |
    | `DeadlineExceeded` | 504 |

    `RateLimit`, `RateLimit-Policy` and `Retry-After` are set where the error knows them. Other errors, such as a
    `ConfigurationError`, stay errors of the server, which logs them.

    Returns:
        The handlers, by class of error.

    Example:
        ```python
        api = FastAPI(lifespan=lifespan, exception_handlers=problem_handlers())
        ```
    """
    return dict.fromkeys((CallRejected, GraphDrained, *_STATUSES), _answer)


async def _answer(request: Request, error: Any) -> Response:
    from starlette.responses import JSONResponse

    problem = problem_of(error)
    return JSONResponse(
        problem.as_dict(),
        problem.status,
        headers=dict(problem.headers),
        media_type="application/problem+json",
    )
