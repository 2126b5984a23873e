"""Several worker processes, one scrape: real servers with two workers each, one of which is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.serving import serving, wait_until

from lg_prod_nodes import metrics_text

PROGRAMS = Path(__file__).parents[1] / "programs"
SERVERS = {
    "uvicorn": "uvicorn metered:app --workers=2 --port={port}",
    "gunicorn": "gunicorn metered:app --workers=2 --bind=127.0.0.1:{port} "
    "--worker-class=uvicorn_worker.UvicornWorker",
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    log = tmp_path.with_suffix(".log")
    command = SERVERS[request.param]
    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        serving(command, "/pid", folder=PROGRAMS, environment=environment, log=log) as server,
        httpx.Client(base_url=server.url, limits=limits, timeout=30) as client,
    ):
        wait_until(lambda: len(pids(client)) == 2)
        yield client


def pids(client: httpx.Client) -> set[int]:
    return {int(client.get("/pid").text) for _ in range(12)}


def told(client: httpx.Client, sample: str) -> float | None:
    found = re.search(
        rf"^lg_prod_{re.escape(sample)} (.+)$", client.get("/metrics").text, re.MULTILINE
    )
    return float(found[1]) if found else None


def test_any_worker_answers_for_all_and_the_dead_no_longer_count(server: httpx.Client) -> None:
    answered = [int(server.get("/ask", params={"text": "hi"}).text) for _ in range(20)]
    assert len(set(answered)) == 2
    assert {told(server, 'runs_total{graph="desk",outcome="ok"}') for _ in range(6)} == {20}
    assert told(server, 'run_duration_seconds_count{graph="desk"}') == 20
    assert told(server, 'runs_in_flight{graph="desk"}') == 0

    with pytest.raises(httpx.ReadTimeout):
        server.get("/ask", params={"text": "hang"}, timeout=0.5)
    wait_until(lambda: told(server, 'runs_in_flight{graph="desk"}') == 1)
    before = pids(server)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(pids(server) - before) == 2)

    assert not told(server, 'runs_in_flight{graph="desk"}')
    assert told(server, 'runs_total{graph="desk",outcome="ok"}') == 20


def test_a_gauge_of_a_process_that_is_no_more_goes_and_its_counts_stay(tmp_path: Path) -> None:
    code = """
import os
from langgraph.graph import START, MessagesState, StateGraph
from lg_prod_nodes import Metrics, harden
def node(state): os._exit(0)
builder = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
graph = harden(builder, [Metrics()]).compile(name="desk")
harden(StateGraph(MessagesState).add_node("n", lambda s: None).add_edge(START, "n"), [Metrics()]).compile(
    name="well").invoke({"messages": []})
graph.invoke({"messages": []})
"""
    environment: dict[str, Any] = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.glob("gauge_livesum_*.db"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        page = metrics_text(CollectorRegistry())

    assert "runs_in_flight" not in page
    assert 'lg_prod_runs_total{graph="well",outcome="ok"} 1.0' in page
    assert not list(tmp_path.glob("gauge_*.db"))
