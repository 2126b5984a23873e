"""Runs that outlive their workers: `python -m tests.programs.shutdown_chaos --runs 300 --seed 7`.

Two workers take runs from a queue in Postgres (`examples/queue_worker`). At random moments one of them gets a SIGTERM
or a SIGKILL, and another one takes its place. Each step of each run writes itself down when it begins and when it has
ended. In the end each run has to have ended, with each step's result once in its thread. After a SIGTERM no step that
began may be left without its end, nor begin again. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import operator
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/queue_worker"
STEPS = ("read", "think", "write")
BOOKS = "SHUTDOWN_CHAOS_BOOKS"
SLOW, BACKOFF = 0.1, 60.0


class State(TypedDict):
    name: str
    steps: Annotated[list[str], operator.add]


def note(word: str, state: State, step: str) -> None:
    line = json.dumps([os.getpid(), word, state["name"], step]) + "\n"
    with Path(os.environ[BOOKS]).open("a", encoding="utf-8") as books:
        books.write(line)


def written() -> str:
    return Path(os.environ[BOOKS]).read_text(encoding="utf-8")


def made(step: str) -> Any:
    async def run(state: State) -> dict[str, list[str]]:
        note("begun", state, step)
        await asyncio.sleep(random.uniform(0, 2 * SLOW))
        note("ended", state, step)
        return {"steps": [step]}

    return run


async def stumble(state: State) -> dict[str, list[str]]:
    """Fail in one worker and wait for a minute; in the next one it works."""
    if state["name"].endswith("7") and f'"{state["name"]}", "stumble"]' not in written():
        note("failed", state, "stumble")
        raise ConnectionError
    return {"steps": ["stumble"]}


patient = RetryPolicy(initial_interval=BACKOFF, jitter=False)
builder = StateGraph(State).add_node("stumble", stumble, retry_policy=patient)
for _name in STEPS:
    builder.add_node(_name, made(_name))
for _edge in itertools.pairwise((START, "read", "think", "stumble", "write")):
    builder.add_edge(*_edge)


class Workers:
    """Two workers, of which each that ends is replaced."""

    def __init__(self, dsn: str, seed: int) -> None:
        self._dsn, self._random = dsn, random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.took: list[float] = []
        self.killed: set[int] = set()
        self.drained: set[int] = set()
        self._workers = [self._new() for _ in range(2)]

    def _new(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "worker.py", self._dsn, f"{__spec__.name}:builder"]
        paths = {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=EXAMPLE, env={**os.environ, **paths})

    def end_one(self) -> None:
        """Ask a worker to end, or end it, at a random moment of its work."""
        begun = [worker for worker in self._workers if f"[{worker.pid}," in written()]
        if not begun:  # a worker ended while it starts would do no work, nor would the next one
            time.sleep(0.02)
            return
        worker, is_asked = self._random.choice(begun), self._random.random() < 0.5
        time.sleep(self._random.uniform(0, 1))
        start = time.monotonic()
        worker.send_signal(signal.SIGTERM if is_asked else signal.SIGKILL)
        code = worker.wait(timeout=60)
        if is_asked:
            self.took.append(time.monotonic() - start)
        (self.drained if is_asked else self.killed).add(worker.pid)
        self.ends[f"{'SIGTERM' if is_asked else 'SIGKILL'}: exit code {code}"] += 1
        self._workers[self._workers.index(worker)] = self._new()

    def end(self) -> None:
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self._workers:
            worker.wait(timeout=60)


def waiting(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(row[0]) if row else 0


def checked(dsn: str, names: list[str], lines: list[list[Any]], workers: Workers) -> list[str]:
    problems = []
    with PostgresSaver.from_conn_string(dsn) as saver:
        for name in names:
            found = saver.get_tuple({"configurable": {"thread_id": name}})
            steps = found.checkpoint["channel_values"].get("steps") if found else None
            if steps != ["read", "think", "stumble", "write"]:
                problems.append(f"{name} ended with {steps}")
    ended = {(pid, name, step) for pid, word, name, step in lines if word == "ended"}
    for pid, word, name, step in lines:
        if word == "begun" and (pid, name, step) not in ended and pid not in workers.killed:
            problems.append(f"{name}: {step} was cut off in a worker that was asked to end")
    times = Counter((name, step) for _, word, name, step in lines if word == "begun")
    by_kill = {(name, step) for pid, word, name, step in lines if pid in workers.killed}
    problems += [
        f"{name}: {step} ran {count} times, though no worker was killed in it"
        for (name, step), count in times.items()
        if count > 1 and (name, step) not in by_kill
    ]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--dsn", help="an empty database; an embedded one without it")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="lg-prod-nodes-") as folder:
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        if given.dsn:
            return chaos(given.dsn, given.runs, given.seed, Path(folder))
        with EmbeddedPostgres(Path(folder) / "postgres") as dsn:
            return chaos(dsn, given.runs, given.seed, Path(folder))


def chaos(dsn: str, runs: int, seed: int, folder: Path) -> int:
    os.environ[BOOKS] = str(folder / "books.jsonl")
    Path(os.environ[BOOKS]).touch()
    sys.path.insert(0, str(EXAMPLE))
    from worker import accept

    names = [f"run {number}" for number in range(runs)]
    asyncio.run(accept(dsn, {name: {"name": name} for name in names}))
    workers = Workers(dsn, seed)
    while waiting(dsn):
        workers.end_one()
    workers.end()
    lines = [json.loads(line) for line in written().splitlines()]
    problems = checked(dsn, names, lines, workers)
    steps = Counter(word for _, word, _, _ in lines)
    print(f"{runs} runs, seed {seed}: steps {dict(steps)}; ends {dict(workers.ends)}")
    if workers.took:
        print(
            f"SIGTERM to exit: {max(workers.took):.2f} s at most, of a backoff of {BACKOFF:.0f} s"
        )
    print("\n".join(problems) or "each run ended, each step's result is there once")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
