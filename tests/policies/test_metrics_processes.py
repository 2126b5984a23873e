"""Several worker processes, one scrape: real servers with two workers each, one of which is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from lg_prod_nodes import metrics_text

PROGRAMS = Path(__file__).parents[1] / "programs"
SERVERS = {
    "uvicorn": ["uvicorn", "metered:app", "--workers=2", "--port={port}"],
    "gunicorn": [
        *("gunicorn", "metered:app", "--workers=2", "--bind=127.0.0.1:{port}"),
        "--worker-class=uvicorn_worker.UvicornWorker",
    ],
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[request.param])]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        cwd=PROGRAMS,
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
            until(lambda: len(pids(client)) == 2)
            yield client
        os.killpg(process.pid, signal.SIGKILL)


def until(holds: Callable[[], bool]) -> None:
    """Wait for another process, as long as the test may take."""
    while True:
        try:
            if holds():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


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
    until(lambda: told(server, 'runs_in_flight{graph="desk"}') == 1)
    before = pids(server)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(pids(server) - before) == 2)

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
