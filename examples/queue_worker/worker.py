"""Run a graph from a Postgres queue, with any number of workers that may stop or crash at any moment.

A job is a row. A worker holds the row's lock during the run, and deletes the row when the run has ended. If the worker
stops before that, by SIGTERM or SIGKILL, Postgres releases the lock and another worker takes the job. The `run_id` in
the metadata tells LangGraph that this is the same run, so it resumes from the last checkpoint.

    python worker.py DSN MODULE:BUILDER
"""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib import import_module
from typing import Any

from langgraph.errors import GraphDrained
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from lg_prod_nodes import CaptureErrors, FailureLog, Production, ShuttingDown, StoreUnavailable

TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    id text PRIMARY KEY, input jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())"""
ACCEPT = "INSERT INTO jobs (id, input) VALUES (%s, %s) ON CONFLICT DO NOTHING"
TAKE = "SELECT id, input FROM jobs ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED"
DONE = "DELETE FROM jobs WHERE id = %s"
PAUSE = 0.05


async def accept(dsn: str, jobs: dict[str, Any]) -> None:
    """Enqueue jobs: one input per name."""
    async with await AsyncConnection.connect(dsn) as connection:
        await connection.execute(TABLE)
        async with connection.cursor() as cursor:
            await cursor.executemany(ACCEPT, [(id, Jsonb(input)) for id, input in jobs.items()])


async def serve(app: Any, dsn: str) -> None:
    """Run one job after another until the worker is asked to stop."""
    async with await AsyncConnection.connect(dsn) as connection:
        while True:
            async with connection.transaction():
                taken = await (await connection.execute(TAKE)).fetchone()
                if taken is not None:
                    id, input = taken
                    await run(app, id, input)
                    await connection.execute(DONE, [id])
            if taken is None:
                await asyncio.sleep(PAUSE)


async def run(app: Any, id: str, input: Any) -> None:
    """Run a job. A job whose run fails is done, too: see `lg-prod-nodes failures list` and `retry`."""
    config = {"configurable": {"thread_id": id}, "metadata": {"run_id": id}}
    try:
        await app.ainvoke(input, config)
    except (GraphDrained, ShuttingDown, StoreUnavailable):
        raise
    except Exception:
        logging.getLogger(__name__).warning("job %s failed", id)


async def main(dsn: str, builder: Any, concurrency: int = 4, grace: float = 30.0) -> None:
    """Run several jobs concurrently until SIGTERM."""
    policies = [CaptureErrors(failures=FailureLog(dsn))]
    async with Production(builder, policies, postgres=dsn, grace=grace) as app:
        servers = (serve(app, dsn) for _ in range(concurrency))
        for ended in await asyncio.gather(*servers, return_exceptions=True):
            if ended is not None and not isinstance(ended, (GraphDrained, ShuttingDown)):
                raise ended


if __name__ == "__main__":
    module, _, name = sys.argv[2].partition(":")
    asyncio.run(main(sys.argv[1], getattr(import_module(module), name)))
