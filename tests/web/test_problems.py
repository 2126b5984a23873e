"""Errors as problem details, over a real server."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.errors import GraphDrained
from starlette.requests import Request
from starlette.responses import Response
from tests.web.conftest import served

from lg_prod_nodes import (
    AlreadyRun,
    BudgetExceeded,
    Busy,
    CallRejected,
    CircuitOpen,
    ConfigurationError,
    ContentBlocked,
    DeadlineExceeded,
    LeaseLost,
    RateLimitExceeded,
    RunInterrupted,
    ShuttingDown,
    StoreUnavailable,
    ThreadBusy,
    problem_of,
)
from lg_prod_nodes.core.report import LimitState

BURST = LimitState("RateLimit", "2 per minute", 2, 60, 0, 59.2)
BUDGET: Any = {"available": 0, "policy": "TokenBudget"}


async def answer(error: Exception) -> Any:
    async def fails(request: Request) -> Response:
        raise error

    async with served(fails) as client:
        return await client.post("/1")


async def test_a_refusal_is_a_problem_with_its_headers() -> None:
    error = RateLimitExceeded("2 per minute", retry_after=59.2, limits=[BURST])
    response = await answer(error)

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "60"
    assert response.headers["ratelimit"] == '"RateLimit";r=0;t=60'
    assert response.json() == {
        "type": "urn:problem-type:lg-prod-nodes:rate-limit-exceeded",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "rate limit exceeded (2 per minute); retry in 60 s",
        "code": "rate-limit-exceeded",
        "retry_after": 60.0,
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RateLimitExceeded("2 per minute", retry_after=None), 422),
        (BudgetExceeded("daily budget", retry_after=9.0, **BUDGET), 429),
        (BudgetExceeded("daily budget", **BUDGET), 422),
        (ContentBlocked(["insult"]), 422),
        (CallRejected("no", policy="Mine", retry_after=1.0), 429),
        (Busy(3), 429),
        (ThreadBusy(1), 409),
        (RunInterrupted("rollback", started=True), 409),
        (LeaseLost(), 409),
        (AlreadyRun("1f1"), 409),
        (CircuitOpen("model", retry_after=3.0), 503),
        (ShuttingDown(), 503),
        (GraphDrained("SIGTERM"), 503),
        (StoreUnavailable("db.internal:5432 refused"), 503),
        (DeadlineExceeded(3.0), 504),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_each_error_has_a_status(error: Exception, status: int) -> None:
    response = await answer(error)
    assert response.status_code == response.json()["status"] == status
    assert ("retry-after" in response.headers) == ("retry_after" in response.json())


async def test_a_drained_run_asks_to_repeat_the_request() -> None:
    response = await answer(GraphDrained("SIGTERM"))
    assert response.headers["retry-after"] == "1"
    assert response.json()["code"] == "run-drained"


def test_no_client_reads_where_a_store_is() -> None:
    assert "internal" not in problem_of(StoreUnavailable("db.internal:5432 refused")).detail


@pytest.mark.parametrize("error", [ConfigurationError("secret"), ValueError("secret")])
async def test_other_errors_stay_errors_of_the_server(error: Exception) -> None:
    response = await answer(error)
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert problem_of(error).as_dict()["code"] == "internal-error"
    assert "secret" not in str(problem_of(error))
