"""What `DoubleTexting` costs a run: the same graph with and without it, and with a policy that does nothing.

Three nodes, each run on a thread of its own, with checkpoints in memory or in Postgres. Prints the median CPU and wall
time of a run, and the median ratios of the pairs.

    python benchmarks/bench_threads.py [ROUNDS] [DSN]
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Call, DoubleTexting, Handler, Policy, Production, harden
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

RUNS = 20


class Nothing(Policy):
    """Wraps what `DoubleTexting` does, and does nothing."""

    kinds = DoubleTexting.kinds
    role = DoubleTexting.role

    async def wrap(self, call: Call, handler: Handler) -> Any:
        return await handler(call)


STACKS: dict[str, list[Policy]] = {
    "without": [],
    "nothing": [Nothing()],
    "enqueue": [DoubleTexting("enqueue")],
    "interrupt": [DoubleTexting("interrupt")],
}
threads = itertools.count()


async def anode(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("assistant", "hi")]}


def node(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("assistant", "hi")]}


def chain(*, is_async: bool) -> StateGraph[Any]:
    names = ("one", "two", "three")
    builder = StateGraph(MessagesState)
    builder.add_sequence([(name, anode if is_async else node) for name in names])
    return builder.add_edge(START, names[0])


def given() -> tuple[Any, Any]:
    return {"messages": [("user", "hi")]}, {"configurable": {"thread_id": str(next(threads))}}


def blocking(app: Any) -> None:
    for _ in range(RUNS):
        app.invoke(*given())


def measured(runs: Callable[[], Any]) -> tuple[float, float]:
    """The seconds of CPU, and on the clock, of a run."""
    cpu, wall = time.process_time(), time.perf_counter()
    runs()
    return (time.process_time() - cpu) / RUNS, (time.perf_counter() - wall) / RUNS


def compare(name: str, runs: dict[str, Callable[[], Any]], rounds: int) -> None:
    for each in runs.values():
        each()  # warms up
    rows = [{stack: measured(each) for stack, each in runs.items()} for _ in range(rounds)]
    for stack in runs:
        cpu, wall = (median(row[stack][i] for row in rows) * 1e6 for i in (0, 1))
        ratios = [median(row[stack][i] / row["without"][i] for row in rows) for i in (0, 1)]
        print(
            f"{name:<22} {stack:<10} {cpu:>7.0f} us of CPU {ratios[0]:>5.2f} x {wall:>7.0f} us {ratios[1]:>5.2f} x"
        )


def in_memory(rounds: int) -> None:
    def runs(policies: list[Policy]) -> Callable[[], Any]:
        app = harden(chain(is_async=False), policies).compile(checkpointer=InMemorySaver())
        return lambda: blocking(app)

    compare("memory, sync", {name: runs(stack) for name, stack in STACKS.items()}, rounds)

    async def arun(app: Any) -> None:
        for _ in range(RUNS):
            await app.ainvoke(*given())

    with asyncio.Runner() as runner:

        def aruns(policies: list[Policy]) -> Callable[[], Any]:
            app = harden(chain(is_async=True), policies).compile(checkpointer=InMemorySaver())
            return lambda: runner.run(arun(app))

        compare("memory, async", {name: aruns(stack) for name, stack in STACKS.items()}, rounds)


def in_postgres(rounds: int, dsn: str) -> None:
    with ExitStack() as stack:

        def runs(policies: list[Policy]) -> Callable[[], Any]:
            production = Production(chain(is_async=False), policies, postgres=dsn, pool_size=4)
            app = stack.enter_context(production)
            return lambda: blocking(app)

        compare("Postgres, sync", {name: runs(each) for name, each in STACKS.items()}, rounds)


def main(rounds: int = 15, dsn: str | None = None) -> None:
    in_memory(rounds)
    with ExitStack() as stack:
        if dsn is None:
            folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
            os.chmod(folder, 0o711)  # for root, the server runs as somebody else
            dsn = stack.enter_context(EmbeddedPostgres(folder))
        in_postgres(rounds, dsn)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15, *sys.argv[2:3])
