"""Checkpoints and store in Postgres: connected, set up, and closed again.

`open_postgres` and `aopen_postgres` own a pool, a checkpointer and a store for the length of a `with`. For LangGraph
Server, `checkpointer` and `store` are the factories to name in `langgraph.json`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from psycopg import Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from lg_prod_nodes.embedded import EmbeddedPostgres
from lg_prod_nodes.errors import ConfigurationError, StoreUnavailable

_CONNECT_SECONDS = 10
_SETUP_SECONDS = 60.0
_SETUP_LOCK = 0x1C_9809  # any number that nobody else uses for an advisory lock

_DELETE_RUNS = (
    """DELETE FROM checkpoint_writes w USING checkpoints c
       WHERE c.metadata->>'run_id' = ANY(%(runs)s) AND w.thread_id = c.thread_id
       AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id""",
    "DELETE FROM checkpoints WHERE metadata->>'run_id' = ANY(%(runs)s)",
)
_COPY_THREAD = (
    """INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
       FROM checkpoints WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
    """INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
       SELECT %(target)s, checkpoint_ns, channel, version, type, blob
       FROM checkpoint_blobs WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
    """INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
       FROM checkpoint_writes WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
)


class _NoLock:
    """Takes the place of the savers' instance lock: a pool gives each cursor a connection of its own."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


class BlockingSaver(PostgresSaver):
    """A checkpointer for synchronous callers that serves asynchronous ones through threads."""

    def __init__(self, pool: ConnectionPool[Connection[dict[str, Any]]]) -> None:
        super().__init__(pool)
        self.lock = cast(Any, _NoLock())

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, and what was written on top of them."""
        self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history."""
        self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        with self._cursor() as cursor, cursor.connection.transaction():
            for statement in statements:
                cursor.execute(cast(Any, statement), values)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Like `get_tuple`, in a thread."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self, config: RunnableConfig | None, **kwargs: Any
    ) -> AsyncIterator[CheckpointTuple]:  # type: ignore[override]
        """Like `list`, in a thread."""
        for checkpoint in await asyncio.to_thread(lambda: list(self.list(config, **kwargs))):
            yield checkpoint

    async def aput(self, *args: Any) -> RunnableConfig:
        """Like `put`, in a thread."""
        return await asyncio.to_thread(self.put, *args)

    async def aput_writes(self, *args: Any) -> None:
        """Like `put_writes`, in a thread."""
        await asyncio.to_thread(self.put_writes, *args)

    async def adelete_thread(self, thread_id: str) -> None:
        """Like `delete_thread`, in a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)


class Saver(AsyncPostgresSaver):
    """A checkpointer for asynchronous callers."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__(pool)
        self.lock = cast(Any, _NoLock())

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, and what was written on top of them."""
        await self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history."""
        await self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    async def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        async with self._cursor() as cursor, cursor.connection.transaction():
            for statement in statements:
                await cursor.execute(cast(Any, statement), values)


@contextmanager
def open_postgres(
    dsn: str | None = None, *, pool_size: int = 10
) -> Iterator[tuple[BlockingSaver, PostgresStore]]:
    """A checkpointer and a store for synchronous callers.

    Args:
        dsn: The database, see `database`.
        pool_size: The most connections to hold.

    Raises:
        ConfigurationError: The DSN cannot be read, or there is none and the extra `embedded` is missing.
        StoreUnavailable: The database cannot be reached.
    """
    with database(dsn) as url:
        _set_up(url)
        with ConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            kwargs=_connection_settings(),
            check=ConnectionPool.check_connection,
            connection_class=Connection[dict[str, Any]],
        ) as pool:
            yield BlockingSaver(pool), PostgresStore(pool)


@asynccontextmanager
async def aopen_postgres(
    dsn: str | None = None, *, pool_size: int = 10
) -> AsyncIterator[tuple[Saver, AsyncPostgresStore]]:
    """A checkpointer and a store for asynchronous callers, see `open_postgres`."""
    with ExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, database(dsn))
        await asyncio.to_thread(_set_up, url)
        async with AsyncConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            kwargs=_connection_settings(),
            check=AsyncConnectionPool.check_connection,
        ) as pool:
            store = AsyncPostgresStore(cast(Any, pool))
            yield Saver(pool), store


@asynccontextmanager
async def checkpointer() -> AsyncIterator[Saver]:
    """The checkpointer of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    async with aopen_postgres() as (saver, _):
        yield saver


@asynccontextmanager
async def store() -> AsyncIterator[AsyncPostgresStore]:
    """The store of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    async with aopen_postgres() as (_, store):
        yield store


@contextmanager
def database(dsn: str | None = None) -> Iterator[str]:
    """The database to use: the one given, else `DATABASE_URL`, else an embedded PostgreSQL for as long as needed.

    Raises:
        ConfigurationError: What was given is no DSN, or the extra `embedded` is missing.
    """
    dsn = dsn or os.environ.get("DATABASE_URL")
    if dsn is None:
        with EmbeddedPostgres() as embedded:
            yield embedded
        return
    try:
        conninfo_to_dict(dsn)
    except Exception as error:
        raise ConfigurationError(
            "the Postgres DSN cannot be read; write postgresql://user:password@host:5432/database"
        ) from error
    yield dsn


def _connection_settings() -> dict[str, Any]:
    return {
        "autocommit": True,  # the savers' set-up and pipelines need it
        "prepare_threshold": 0,
        "row_factory": dict_row,
        "connect_timeout": _CONNECT_SECONDS,
        "tcp_user_timeout": _CONNECT_SECONDS * 1000,  # a silent link must not hold a run for ever
    }


def _set_up(url: str) -> None:
    """Make or migrate the tables, one process at a time."""
    try:
        with Connection.connect(url, **_connection_settings()) as connection:
            _lock(connection)
            PostgresSaver(connection).setup()
            PostgresStore(connection).setup()
    except (OperationalError, PoolTimeout) as error:
        host = conninfo_to_dict(url).get("host", "the local socket")
        raise StoreUnavailable(f"the Postgres at {host} cannot be reached or set up") from error


def _lock(connection: Connection[dict[str, Any]]) -> None:
    # Polled, not waited for: a session that waits for the lock holds a snapshot, and the migrations'
    # CREATE INDEX CONCURRENTLY waits for every snapshot. The lock goes with the connection.
    deadline = time.monotonic() + _SETUP_SECONDS
    while not connection.execute(
        "SELECT pg_try_advisory_lock(%s) AS got", (_SETUP_LOCK,)
    ).fetchone()["got"]:  # type: ignore[index]
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"another process has been setting up the database for {_SETUP_SECONDS:.0f} s"
            )
        time.sleep(0.05)
