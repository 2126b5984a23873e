"""LangGraph Server gets a SIGTERM while a run waits in a backoff of a minute; the next one takes the run over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from tests.test_server import is_ready, offline_environment, wait_until

GRAPH = Path(__file__).parent / "programs/served"


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], SyncLangGraphClient]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = f"-m langgraph_cli dev --no-browser --no-reload --port {port}"
    log = folder / "server.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, *words.split()],
            cwd=folder,
            env=offline_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_ready(url) or process.poll() is not None, seconds=90, log=log)
        with get_sync_client(url=url) as client:
            yield process, client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
@pytest.mark.timeout(240)
def test_the_next_server_goes_on_where_the_run_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    shutil.copytree(GRAPH, folder)
    steps, log = folder / "steps", folder / "server.log"
    with served(folder) as (process, client):
        thread = client.threads.create()["thread_id"]
        run = client.runs.create(thread, "desk", input={"name": "ada"})["run_id"]
        wait_until(
            lambda: steps.exists() and "second" in steps.read_text(encoding="utf-8"),
            seconds=30,
            log=log,
        )
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert "draining" in log.read_text(encoding="utf-8")
    with served(folder) as (process, client):
        client.runs.join(thread, run)
        assert client.runs.get(thread, run)["status"] == "success"
        assert client.threads.get_state(thread)["values"] == {"name": "ada", "done": True}
    assert steps.read_text(encoding="utf-8").split() == ["first", "second", "second"]
