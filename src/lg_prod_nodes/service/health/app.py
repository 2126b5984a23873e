"""Health checks over HTTP: a Starlette app with three routes, to mount or to use as a server's custom routes."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.service.health.health import SHUTDOWN, Health, HealthReport
from lg_prod_nodes.telemetry.prometheus import (
    METRICS_CONTENT_TYPE,
    REGISTRY,
    CollectorRegistry,
    Instruments,
    metrics_text,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette


def health_app(health: Health, *, registry: CollectorRegistry = REGISTRY) -> Starlette:
    """Create an app that serves `GET /health`, `/ready` and `/metrics`.

    `/health` returns `Health.live`, `/ready` returns `Health.ready`: 200 for ok and degraded, 503 with `Retry-After`
    for down, and the result of each check as JSON. `/metrics` returns `metrics_text`, including readiness as
    `lg_prod_health{check="..."}`: 1 for ok, 0.5 for degraded, 0 for down.

    Args:
        health: The health checks to serve.
        registry: The Prometheus registry to show, and to report readiness to.

    Returns:
        The app. Mount it in FastAPI or Starlette after the other routes, `api.mount("", health_app(health))`, or name
        it as `http.app` in `langgraph.json`. It requires no authentication.

    Raises:
        ConfigurationError: The extra `web` is missing.

    Example:
        ```python
        app = health_app(Health(graph))
        ```
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route
    except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
        raise ConfigurationError(
            "health_app needs an extra: pip install 'lg-prod-nodes[web]'"
        ) from error

    def answered(report: HealthReport) -> Response:
        headers = {"Cache-Control": "no-store"}
        if report.status == "down":
            headers["Retry-After"] = str(ceil(health.max_age))
        status = 503 if report.status == "down" else 200
        return JSONResponse(report.as_dict(), status, headers=headers)

    async def live(request: Request) -> Response:
        return answered(await health.alive())

    async def ready(request: Request) -> Response:
        report = await health.aready()
        note_health(report, registry)
        return answered(report)

    async def metrics(request: Request) -> Response:
        note_health(await health.aready(), registry)
        page = await asyncio.to_thread(metrics_text, registry)
        headers = {"Cache-Control": "no-store"}
        return Response(page, media_type=METRICS_CONTENT_TYPE, headers=headers)

    endpoints = {"/health": live, "/ready": ready, "/metrics": metrics}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in endpoints.items()])


_VALUES = {"ok": 1.0, "degraded": 0.5, "down": 0.0}


def note_health(report: HealthReport, registry: CollectorRegistry) -> None:
    """Export results as gauges. Shutdown is left out: it is no reason for an alert."""
    gauges = Instruments.of(registry)
    for name, result in report.checks.items():
        if name != SHUTDOWN:
            gauges.health(name).set(_VALUES[result.status])
