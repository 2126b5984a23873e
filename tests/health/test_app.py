from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient
from tests.serving import serving, wait_until

from lg_prod_nodes import Check, CheckResult, Health, health_app
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def client(health: Health, registry: CollectorRegistry) -> TestClient:
    return TestClient(health_app(health, registry=registry))


def test_ready_tells_each_check_as_json(registry: CollectorRegistry) -> None:
    health = Health(checks={"own": lambda: CheckResult("degraded", "3 of 5")})
    response = client(health, registry).get("/ready")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert "retry-after" not in response.headers
    told = response.json()
    assert told["status"] == "degraded"
    assert set(told["checks"]) == {"event_loop", "memory", "own"}
    assert told["checks"]["own"].items() >= {"status": "degraded", "detail": "3 of 5"}.items()
    assert 0 <= told["checks"]["own"]["seconds"] < 1


def test_ready_is_503_when_something_is_down_and_health_is_not(registry: CollectorRegistry) -> None:
    asked = client(Health(checks={"own": lambda: False}, max_age=4.2), registry)
    response = asked.get("/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["status"] == "down"
    assert asked.get("/health").status_code == 200
    assert asked.get("/health").json()["status"] == "ok"
    assert asked.head("/ready").status_code == 503
    assert asked.post("/ready").status_code == 405


def test_ready_is_503_while_the_process_drains(registry: CollectorRegistry) -> None:
    asked = client(Health(), registry)
    assert asked.get("/ready").status_code == 200
    IN_FLIGHT.drain("SIGTERM")
    try:
        assert asked.get("/ready").json()["checks"]["shutdown"]["status"] == "down"
        assert asked.get("/ready").status_code == 503
        assert asked.get("/health").status_code == 200
        assert "shutdown" not in asked.get("/metrics").text, "a rollout alarms nobody"
    finally:
        IN_FLIGHT.reopen()


def test_metrics_show_health_as_gauges(registry: CollectorRegistry) -> None:
    checks = {
        "well": lambda: True,
        "ill": lambda: False,
        "spare": Check(lambda: False, critical=False),
    }
    response = client(Health(checks=checks), registry).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    shown = dict(
        re.findall(r'^lg_prod_health\{check="(\w+)"\} (\S+)$', response.text, re.MULTILINE)
    )
    assert shown.items() >= {"well": "1.0", "ill": "0.0", "spare": "0.5"}.items()


def test_it_is_mounted_in_fastapi_beside_other_routes(registry: CollectorRegistry) -> None:
    api = FastAPI()
    api.get("/own")(lambda: "own")
    api.mount("", health_app(Health(), registry=registry))
    asked = TestClient(api)
    assert asked.get("/own").json() == "own"
    assert asked.get("/ready").json()["status"] == "ok"
    assert asked.get("/health").json()["status"] == "ok"
    assert asked.get("/metrics").status_code == 200
    assert asked.get("/other").status_code == 404


@pytest.fixture
def asked(dsn: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service under uvicorn."""
    command = "uvicorn healthy:api --port={port} --log-level=warning"
    environment, log = os.environ | {"DSN": dsn}, tmp_path / "server.log"
    with (
        serving(command, "/ready", folder=PROGRAMS, environment=environment, log=log) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def test_many_probes_of_a_silent_dependency_are_answered_in_time_by_one_thread(
    asked: httpx.Client,
) -> None:
    wait_until(lambda: asked.get("/ready").json()["checks"]["postgres"]["status"] == "ok")
    before = asked.get("/hang").json()
    wait_until(lambda: asked.get("/ready").status_code == 503)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: asked.get("/ready"), range(64)))
    assert {answer.status_code for answer in answers} == {503}
    assert "ok" in {answer.json()["checks"]["postgres"]["status"] for answer in answers}
    seconds = sorted(answer.elapsed.total_seconds() for answer in answers)
    assert seconds[len(seconds) // 2] < 0.9, "those that come later do not wait"
    assert asked.get("/health").status_code == 200
    assert asked.get("/mend").json() - before < 12
    wait_until(lambda: asked.get("/ready").is_success)


def test_a_blocked_event_loop_is_seen_afterwards(
    asked: httpx.Client,
) -> None:
    asked.get("/block/1.6")
    response = asked.get("/health")
    event_loop = response.json()["checks"]["event_loop"]
    assert event_loop["status"] == "degraded"
    assert float(event_loop["detail"].split()[0]) > 1
    assert response.status_code == 200
