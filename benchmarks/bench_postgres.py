"""Many runs at once on Postgres: the bare graph on LangGraph's own saver beside the hardened one under `Production`.

Five nodes, forty runs at once, a pool of ten connections for both. Prints runs a second and their ratio, the median of
pairs that are run in turn.

    python benchmarks/bench_postgres.py [ROUNDS]        (DATABASE_URL, or an embedded PostgreSQL)
"""

from __future__ import annotations

import asyncio
import operator
import sys
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Annotated, Any
from uuid import uuid4

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from prometheus_client import CollectorRegistry
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, Metrics, Production, RateLimit, Redact, TokenUsage, Tracing
from lg_prod_nodes.service.persistence import database

RUNS, NODES, CONNECTIONS = 40, 5, 10


class State(TypedDict):
    words: Annotated[list[str], operator.add]


async def say(state: State) -> dict[str, list[str]]:
    return {"words": ["a word"]}


def chain() -> StateGraph[State]:
    names = [f"n{number}" for number in range(NODES)]
    builder = StateGraph(State).add_sequence([(name, say) for name in names])  # type: ignore[list-item]
    return builder.add_edge(START, names[0])


async def runs_a_second(graph: Any) -> float:
    start = time.perf_counter()
    threads = [{"configurable": {"thread_id": uuid4().hex}} for _ in range(RUNS)]
    await asyncio.gather(*(graph.ainvoke({"words": ["start"]}, thread) for thread in threads))
    return RUNS / (time.perf_counter() - start)


async def bare(dsn: str, stack: AsyncExitStack) -> Any:
    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: Any = AsyncConnectionPool(dsn, max_size=CONNECTIONS, kwargs=settings, open=False)
    return chain().compile(AsyncPostgresSaver(await stack.enter_async_context(pool)))


async def main(rounds: int) -> None:
    policies = [
        Tracing(),
        Metrics(registry=CollectorRegistry()),
        CaptureErrors(),
        TokenUsage(),
        RateLimit("1000000/second"),
        Redact("CREDIT_CARD"),
    ]
    with database() as dsn:
        async with (
            AsyncExitStack() as stack,
            Production(chain(), policies, postgres=dsn, pool_size=CONNECTIONS) as hardened,
        ):
            stock = await bare(dsn.get_secret_value(), stack)
            pairs = [
                (await runs_a_second(stock), await runs_a_second(hardened))
                for _ in range(rounds + 1)
            ][1:]
    print(f"bare graph, LangGraph's saver     {median(theirs for theirs, _ in pairs):>8.1f} runs/s")
    print(f"whole stack, Production           {median(ours for _, ours in pairs):>8.1f} runs/s")
    print(f"ratio                             {median(o / t for t, o in pairs):>8.2f} x")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
