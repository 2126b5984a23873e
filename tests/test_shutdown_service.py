"""Services under real servers, which get a SIGTERM while a run waits in a backoff of a minute."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
PATIENT = 30.0


@contextmanager
def served(command: str, folder: Path, dsn: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"SERVICE_FOLDER": str(folder), "DATABASE_URL": dsn}
    words = command.format(port=port).split()
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url))
        yield process, url
    finally:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENT / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/docs").status_code == 200
    except httpx.HTTPError:
        return False


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
        served(command, tmp_path, dsn) as (process, url),
        ThreadPoolExecutor() as threads,
    ):
        asked = threads.submit(httpx.post, f"{url}/ada", timeout=PATIENT)
        wait_until((tmp_path / "ada").exists)
        process.send_signal(signal.SIGTERM)
        assert (told := asked.result()).status_code == 503
        assert told.headers["retry-after"] == "1"
        assert process.wait(PATIENT) in (0, -signal.SIGTERM)
        assert list(tmp_path.glob("closed by *"))
    with served(SERVERS["uvicorn"], tmp_path, dsn) as (process, url):
        again = httpx.post(f"{url}/ada", timeout=PATIENT)
    assert again.json() == {"name": "ada", "done": True}
