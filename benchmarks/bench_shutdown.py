"""How long a drain takes while a run on Postgres waits in a retry's backoff of a minute, synchronous and asynchronous.

Each round sends this process a SIGTERM. Printed is the time until the run has stopped at its checkpoint, and until the
block of `Production` is left: policies closed, pools closed.

    python benchmarks/bench_shutdown.py [ROUNDS]        (embedded PostgreSQL)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, Production, TokenUsage
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

BACKOFF = RetryPolicy(initial_interval=60.0, jitter=False)


class State(TypedDict):
    said: str


class Round:
    """One run that fails and waits, and when what happened after the signal."""

    def __init__(self, dsn: str) -> None:
        self.failed = threading.Event()
        built = StateGraph(State).add_node("fail", self._fail, retry_policy=BACKOFF)
        policies = [CaptureErrors(), TokenUsage()]
        self.production = Production(built.add_edge(START, "fail"), policies, postgres=dsn)
        self.call: Any = ({"said": "hi"}, {"configurable": {"thread_id": str(uuid4())}})
        self.asked = self.stopped = 0.0

    def _fail(self, state: State) -> None:
        self.failed.set()
        raise ConnectionError

    def ask(self) -> None:
        self.failed.wait()
        time.sleep(0.05)  # it sleeps by then
        self.asked = time.perf_counter()
        os.kill(os.getpid(), signal.SIGTERM)

    def run(self) -> None:
        with self.production as app:
            try:
                app.invoke(*self.call)
            except GraphDrained:
                self.stopped = time.perf_counter()

    async def arun(self) -> None:
        async with self.production as app:
            try:
                await app.ainvoke(*self.call)
            except GraphDrained:
                self.stopped = time.perf_counter()


def timed(dsn: str, go: Callable[[Round], None]) -> tuple[float, float]:
    round_ = Round(dsn)
    asking = threading.Thread(target=round_.ask)
    asking.start()
    go(round_)
    left = time.perf_counter()
    asking.join()
    return round_.stopped - round_.asked, left - round_.asked


def main(rounds: int = 20) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)  # this process itself goes on
    ways: dict[str, Callable[[Round], None]] = {
        "synchronous": Round.run,
        "asynchronous": lambda round_: asyncio.run(round_.arun()),
    }
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        with EmbeddedPostgres(folder) as dsn:
            print(f"{'SIGTERM in a backoff of 60 s':<30} {'run stopped':>24} {'block left':>24}")
            for name, go in ways.items():
                times = [timed(dsn, go) for _ in range(rounds)]
                cells = (
                    f"{median(column) * 1e3:>8.0f} ms, {max(column) * 1e3:>4.0f} at most"
                    for column in zip(*times, strict=True)
                )
                print(f"{name:<30}", *cells)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
