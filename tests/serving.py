"""Servers in processes of their own, on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Served:
    """A server that has answered."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def log_end(self) -> str:
        """What it said last."""
        return self.log.read_text()[-5000:]


def wait_until(
    reached: Callable[[], bool], seconds: float = 90, told: Callable[[], str] = str
) -> None:
    """Wait for another process; a refused connection is no answer.

    Args:
        reached: Whether it came true.
        seconds: How long to wait.
        told: What to say if it does not.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError):
            if reached():
                return
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


@contextmanager
def serving(
    command: str, path: str, *, folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[Served]:
    """`python -m` a command with `{port}`, in a folder, from when it answers at a path until all of it is killed."""
    port = free_port()
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.format(port=port).split()],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(process, f"http://127.0.0.1:{port}", log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        return httpx.get(f"{served.url}{path}").is_success

    try:
        wait_until(answers, told=served.log_end)
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def langgraph_server(
    folder: Path, environment: Mapping[str, str] | None = None, options: str = ""
) -> Iterator[Served]:
    """`langgraph dev` in a folder, where it writes files, without a word to a hosted service."""
    hosted = ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hosted)}
    offline = {
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
    }
    command = f"langgraph_cli dev --no-browser --no-reload --port {{port}} {options}"
    with serving(
        command,
        "/ok",
        folder=folder,
        environment=kept | offline | dict(environment or {}),
        log=folder / "server.log",
    ) as served:
        yield served
