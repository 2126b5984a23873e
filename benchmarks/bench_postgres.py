"""Runs on Postgres: LangGraph's own saver, the same without its lock, this library's, and the whole stack on it.

Five nodes, a pool of ten connections for each. Every situation is measured for all four in turn, round after round:
runs a second, and CPU milliseconds a run, of this process and of the server's, with their ratios to LangGraph's saver
(medians of the rounds).

    python benchmarks/bench_postgres.py [ROUNDS] [SITUATION...]     (needs DATABASE_URL; `embedded` starts one)
"""

from __future__ import annotations

import asyncio
import operator
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple, cast
from uuid import uuid4

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from prometheus_client import CollectorRegistry
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, Metrics, Production, RateLimit, Redact, TokenUsage, Tracing
from lg_prod_nodes.service.persistence import aopen_postgres, database, open_postgres

RUNS, NODES, CONNECTIONS = 40, 5, 10
SETTINGS = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
TICK = sysconf("SC_CLK_TCK")


class State(TypedDict):
    words: Annotated[list[str], operator.add]


async def asay(state: State) -> dict[str, list[str]]:
    return {"words": ["a word"]}


def say(state: State) -> dict[str, list[str]]:
    return {"words": ["a word"]}


def chain(node: Any) -> StateGraph[State]:
    names = [f"n{number}" for number in range(NODES)]
    builder = StateGraph(State).add_sequence([(name, node) for name in names])
    return builder.add_edge(START, names[0])


def policies() -> list[Any]:
    return [
        Tracing(),
        Metrics(registry=CollectorRegistry()),
        CaptureErrors(),
        TokenUsage(),
        RateLimit("1000000/second"),
        Redact("CREDIT_CARD"),
    ]


class Unlocked:
    """Replaces the instance lock of LangGraph's savers."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def unlocked(saver: Any) -> Any:
    saver.lock = Unlocked()
    return saver


@asynccontextmanager
async def asynchronous(dsn: str) -> AsyncGenerator[dict[str, Any]]:
    async with AsyncExitStack() as stack:

        async def pool() -> Any:
            made: Any = AsyncConnectionPool(dsn, max_size=CONNECTIONS, kwargs=SETTINGS, open=False)
            return await stack.enter_async_context(made)

        saver, _ = await stack.enter_async_context(aopen_postgres(dsn, pool_size=CONNECTIONS))
        whole = Production(chain(asay), policies(), postgres=dsn, pool_size=CONNECTIONS)
        yield {
            "LangGraph's saver": chain(asay).compile(AsyncPostgresSaver(await pool())),
            "  without its lock": chain(asay).compile(unlocked(AsyncPostgresSaver(await pool()))),
            "this library's saver": chain(asay).compile(saver),
            "whole stack": await stack.enter_async_context(whole),
        }


@contextmanager
def synchronous(dsn: str) -> Generator[dict[str, Any]]:
    with ExitStack() as stack:

        def pool() -> Any:
            made: Any = ConnectionPool(dsn, max_size=CONNECTIONS, kwargs=SETTINGS, open=False)
            return stack.enter_context(made)

        saver, _ = stack.enter_context(open_postgres(dsn, pool_size=CONNECTIONS))
        whole = Production(chain(say), policies(), postgres=dsn, pool_size=CONNECTIONS)
        yield {
            "LangGraph's saver": chain(say).compile(PostgresSaver(pool())),
            "  without its lock": chain(say).compile(unlocked(PostgresSaver(pool()))),
            "this library's saver": chain(say).compile(saver),
            "whole stack": stack.enter_context(whole),
        }


def given() -> tuple[dict[str, Any], Any]:
    return {"words": ["start"]}, {"configurable": {"thread_id": uuid4().hex}}


async def at_once(graph: Any, **how: Any) -> None:
    await asyncio.gather(*(graph.ainvoke(*given(), **how) for _ in range(RUNS)))


async def in_turn(graph: Any, **how: Any) -> None:
    for _ in range(RUNS):
        await graph.ainvoke(*given(), **how)


async def in_threads(graph: Any, **how: Any) -> None:
    def runs() -> None:
        with ThreadPoolExecutor(RUNS) as threads:
            list(threads.map(lambda _: graph.invoke(*given(), **how), range(RUNS)))

    await asyncio.to_thread(runs)


async def in_turn_blocking(graph: Any, **how: Any) -> None:
    await asyncio.to_thread(lambda: [graph.invoke(*given(), **how) for _ in range(RUNS)])


@contextmanager
def load() -> Generator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Situation:
    """How graphs are run."""

    run: Callable[..., Awaitable[None]]
    durability: str = "async"
    is_loaded: bool = False

    @property
    def is_blocking(self) -> bool:
        return self.run in (in_threads, in_turn_blocking)


SITUATIONS = {
    "at-once": Situation(at_once),
    "at-once-sync": Situation(at_once, "sync"),
    "at-once-exit": Situation(at_once, "exit"),
    "loaded": Situation(at_once, is_loaded=True),
    "in-turn": Situation(in_turn),
    "in-turn-sync": Situation(in_turn, "sync"),
    "in-turn-exit": Situation(in_turn, "exit"),
    "threads": Situation(in_threads),
    "threads-loaded": Situation(in_threads, is_loaded=True),
    "threads-in-turn": Situation(in_turn_blocking),
}


class Took(NamedTuple):
    """Seconds that some runs took, and the CPU seconds of this process and of the server's."""

    wall: float
    here: float
    server: float


def server_seconds(postmaster: int) -> float:
    """CPU seconds of a Postgres server: of its processes, and of those that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, after = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid == postmaster:
            ticks += sum(map(int, after[11:15]))
        elif int(after[1]) == postmaster:
            ticks += sum(map(int, after[11:13]))
    return ticks / TICK


async def measured(postmaster: int, graph: Any, situation: Situation) -> Took:
    busy = server_seconds(postmaster)
    here, start = time.process_time(), time.perf_counter()
    await situation.run(graph, durability=situation.durability)
    wall, here = time.perf_counter() - start, time.process_time() - here
    return Took(wall, here, server_seconds(postmaster) - busy)


def postmaster_of(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = cast(Any, connection.execute("SELECT pg_backend_pid()").fetchone())
        return int(Path(f"/proc/{row[0]}/stat").read_text().rpartition(")")[2].split()[1])


async def compare(rounds: int, situation: Situation, postmaster: int, graphs: Any) -> None:
    took: dict[str, list[Took]] = {name: [] for name in graphs}
    with load() if situation.is_loaded else nullcontext():
        for number in range(rounds + 1):
            for name, graph in graphs.items():
                found = await measured(postmaster, graph, situation)
                if number:
                    took[name].append(found)
    stock = took["LangGraph's saver"]
    for name, own in took.items():
        faster = median(s.wall / o.wall for s, o in zip(stock, own, strict=True))
        here, server = (sum(t[part] for t in own) / rounds / RUNS * 1000 for part in (1, 2))
        cpu = sum(t.here + t.server for t in own) / sum(t.here + t.server for t in stock)
        rate = RUNS / median(t.wall for t in own)
        print(
            f"  {name:<22}{rate:>7.1f} runs/s {faster:>6.2f} x {here:>7.1f} + {server:>4.1f} ms CPU {cpu:>6.2f} x"
        )


async def main(rounds: int, names: list[str]) -> None:
    with database() as hidden:
        dsn = hidden.get_secret_value()
        for name in names or SITUATIONS:
            situation = SITUATIONS[name]
            print(name, flush=True)
            if situation.is_blocking:
                with synchronous(dsn) as graphs:
                    await compare(rounds, situation, postmaster_of(dsn), graphs)
            else:
                async with asynchronous(dsn) as graphs:
                    await compare(rounds, situation, postmaster_of(dsn), graphs)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7, sys.argv[2:]))
