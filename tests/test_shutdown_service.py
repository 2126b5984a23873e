"""Services under real servers, which get a SIGTERM while a run waits in a backoff of a minute."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from tests.serving import Served, serving, wait_until

ROOT = Path(__file__).parents[1]
PATIENT = 30.0


def served(command: str, folder: Path, dsn: str) -> AbstractContextManager[Served]:
    environment = os.environ | {"SERVICE_FOLDER": str(folder), "DATABASE_URL": dsn}
    log = folder / "server.log"
    return serving(command, "/docs", folder=ROOT, environment=environment, log=log)


SERVERS = {
    "uvicorn": "uvicorn tests.programs.service:api --port {port}",
    "uvicorn with workers": "uvicorn tests.programs.service:api --port {port} --workers 2",
    "gunicorn": "gunicorn tests.programs.service:api -b 127.0.0.1:{port} -w 2 "
    "-k uvicorn_worker.UvicornWorker",
}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_a_run_stops_and_goes_on_in_the_next_server(command: str, dsn: str, tmp_path: Path) -> None:
    with (
        served(command, tmp_path, dsn) as server,
        ThreadPoolExecutor() as threads,
    ):
        asked = threads.submit(httpx.post, f"{server.url}/ada", timeout=PATIENT)
        wait_until((tmp_path / "ada").exists, PATIENT, server.log_end)
        server.process.send_signal(signal.SIGTERM)
        assert (told := asked.result()).status_code == 503
        assert told.headers["retry-after"] == "1"
        assert server.process.wait(PATIENT) in (0, -signal.SIGTERM)
        assert list(tmp_path.glob("closed by *"))
    with served(SERVERS["uvicorn"], tmp_path, dsn) as server:
        again = httpx.post(f"{server.url}/ada", timeout=PATIENT)
    assert again.json() == {"name": "ada", "done": True}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_stream_says_that_it_is_drained_and_the_next_server_continues_it(
    dsn: str, tmp_path: Path
) -> None:
    key = {"Idempotency-Key": "a"}
    with served(SERVERS["uvicorn"], tmp_path, dsn) as server, ThreadPoolExecutor() as threads:

        def read() -> str:
            return httpx.post(f"{server.url}/ada/stream", headers=key, timeout=PATIENT).text

        asked = threads.submit(read)
        wait_until((tmp_path / "ada").exists, PATIENT, server.log_end)
        server.process.send_signal(signal.SIGTERM)
        assert "event: drained" in asked.result()
        assert server.process.wait(PATIENT) in (0, -signal.SIGTERM)
    with served(SERVERS["uvicorn"], tmp_path, dsn) as server:
        again = httpx.post(f"{server.url}/ada/stream", headers=key, timeout=PATIENT).text
    assert '"done":true' in again
    assert "event: end" in again
