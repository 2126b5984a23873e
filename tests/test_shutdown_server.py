"""LangGraph Server gets a SIGTERM while a run waits in a backoff of a minute; the next one takes the run over."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from tests.serving import Served, langgraph_server, wait_until

GRAPH = Path(__file__).parent / "programs/served"


@contextmanager
def served(folder: Path) -> Iterator[tuple[Served, SyncLangGraphClient]]:
    with langgraph_server(folder) as server, get_sync_client(url=server.url) as client:
        yield server, client


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
@pytest.mark.timeout(240)
def test_the_next_server_goes_on_where_the_run_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    shutil.copytree(GRAPH, folder)
    steps = folder / "steps"
    with served(folder) as (server, client):
        thread = client.threads.create()["thread_id"]
        run = client.runs.create(thread, "desk", input={"name": "ada"})["run_id"]
        wait_until(
            lambda: steps.exists() and "second" in steps.read_text(encoding="utf-8"),
            30,
            server.log_end,
        )
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
    assert "draining" in server.log.read_text(encoding="utf-8")
    with served(folder) as (_, client):
        client.runs.join(thread, run)
        assert client.runs.get(thread, run)["status"] == "success"
        assert client.threads.get_state(thread)["values"] == {"name": "ada", "done": True}
    assert steps.read_text(encoding="utf-8").split() == ["first", "second", "second"]
