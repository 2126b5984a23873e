"""Checkpoints and store in Postgres: connected, set up, and closed again.

`open_postgres` and `aopen_postgres` own a pool, a checkpointer and a store for the length of a `with`. For LangGraph
Server, `checkpointer` and `store` are the factories to name in `langgraph.json`.

No operation waits without end, and all raise `StoreUnavailable`. A connection is there within the `connect_timeout` of
the DSN, else of 10 seconds; a statement ends within the `statement_timeout` of the DSN, the role or the database, else
of 30 seconds. Where the server is silent, or somebody on the way, each may last half a `connect_timeout` longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from pydantic import SecretStr

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import Secret, bare, hidden, revealed
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.databases.patience import PatientAsyncConnection, PatientConnection, hurried
from lg_prod_nodes.databases.postgres import RECONNECT_SECONDS, host_of
from lg_prod_nodes.databases.timings import POOLS, timed
from lg_prod_nodes.service.settings import Settings

_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 30
_SETUP_SECONDS = 60.0
_MIGRATION_SECONDS = 3600.0  # an index of a large table takes its time
_SETUP_LOCK = 0x1C_9809  # any number that nobody else uses for an advisory lock

_RUN_INDEX = """CREATE INDEX CONCURRENTLY IF NOT EXISTS lg_prod_nodes_checkpoints_run ON checkpoints
    ((metadata->>'run_id')) WHERE metadata->>'run_id' IS NOT NULL"""
_DELETE_RUNS = (
    """DELETE FROM checkpoint_blobs b USING checkpoints c
       WHERE c.metadata->>'run_id' = ANY(%(runs)s) AND b.thread_id = c.thread_id
       AND b.checkpoint_ns = c.checkpoint_ns AND b.version = c.checkpoint->'channel_versions'->>b.channel
       AND NOT EXISTS (
           SELECT FROM checkpoints kept WHERE kept.thread_id = b.thread_id AND kept.checkpoint_ns = b.checkpoint_ns
           AND b.version = kept.checkpoint->'channel_versions'->>b.channel
           AND (kept.metadata->>'run_id' = ANY(%(runs)s)) IS NOT TRUE)""",
    """DELETE FROM checkpoint_writes w USING checkpoints c
       WHERE c.metadata->>'run_id' = ANY(%(runs)s) AND w.thread_id = c.thread_id
       AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id""",
    "DELETE FROM checkpoints WHERE metadata->>'run_id' = ANY(%(runs)s)",
)
_COPY_THREAD = (
    """INSERT INTO checkpoints
       (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
           jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::text), false)
       FROM checkpoints WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
    """INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
       SELECT %(target)s, checkpoint_ns, channel, version, type, blob
       FROM checkpoint_blobs WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
    """INSERT INTO checkpoint_writes
       (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
       FROM checkpoint_writes WHERE thread_id = %(source)s ON CONFLICT DO NOTHING""",
)

# Gives the seconds of `statement_timeout`: what the DSN, the role or the database says, else ours.
_BOUND = """SELECT extract(epoch FROM set_config('statement_timeout',
        CASE current_setting('statement_timeout') WHEN '0' THEN %s ELSE current_setting('statement_timeout') END,
        false)::interval)::float8 AS seconds"""

_Row = dict[str, Any]


class _NoLock:
    """Takes the place of the savers' instance lock: a pool gives each cursor a connection of its own."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def _in_thread(name: str) -> Any:
    """An asynchronous method that calls the blocking one of that name in a thread."""

    async def method(self: object, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self, name), *args, **kwargs)

    return method


@contextmanager
def _told(pool: ConnectionPool[Any] | AsyncConnectionPool[Any]) -> Generator[None]:
    """Tell of a database that cannot be reached as the library does."""
    try:
        yield
    except OperationalError as error:
        host = host_of(str(pool.conninfo))
        raise StoreUnavailable(f"the Postgres at {host} cannot be reached or used") from bare(error)


class _Telling:
    """Every operation of LangGraph's saver and store goes through `_cursor`."""

    conn: Any

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Any]:
        with _told(self.conn), cast(Any, super())._cursor(pipeline=pipeline) as cursor:
            yield cursor


class _TellingAsync:
    """Like `_Telling`."""

    conn: Any

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncGenerator[Any]:
        with _told(self.conn):
            async with cast(Any, super())._cursor(pipeline=pipeline) as cursor:
                yield cursor


@timed("checkpointer", "get_tuple", "put", "put_writes")
class BlockingSaver(_Telling, PostgresSaver):
    """A checkpointer for synchronous callers that serves asynchronous ones through threads."""

    def __init__(self, pool: ConnectionPool[Connection[_Row]]) -> None:
        super().__init__(pool)
        self.lock = cast(Any, _NoLock())

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, with what only these hold."""
        self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history."""
        self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        with self._cursor() as cursor, cursor.connection.transaction():
            for statement in statements:
                cursor.execute(cast(Any, statement), values)

    async def alist(
        self, config: RunnableConfig | None, **kwargs: Any
    ) -> AsyncIterator[CheckpointTuple]:
        """Like `list`, in a thread."""
        for checkpoint in await asyncio.to_thread(lambda: list(self.list(config, **kwargs))):
            yield checkpoint

    aget_tuple = _in_thread("get_tuple")
    aput = _in_thread("put")
    aput_writes = _in_thread("put_writes")
    adelete_thread = _in_thread("delete_thread")
    adelete_for_runs = _in_thread("delete_for_runs")
    acopy_thread = _in_thread("copy_thread")
    aprune = _in_thread("prune")
    aget_delta_channel_history = _in_thread("get_delta_channel_history")


@timed("checkpointer", "aget_tuple", "aput", "aput_writes")
class Saver(_TellingAsync, AsyncPostgresSaver):
    """A checkpointer for asynchronous callers."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__(pool)
        self.lock = cast(Any, _NoLock())

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, with what only these hold."""
        await self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its whole history."""
        await self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    async def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        async with self._cursor() as cursor, cursor.connection.transaction():
            for statement in statements:
                await cursor.execute(cast(Any, statement), values)


@timed("store", "batch")
class BlockingStore(_Telling, PostgresStore):
    """A store for synchronous callers."""


@timed("store", "abatch")
class Store(_TellingAsync, AsyncPostgresStore):
    """A store for asynchronous callers."""


@contextmanager
def open_postgres(
    dsn: Secret | None = None, *, pool_size: int = 10
) -> Generator[tuple[BlockingSaver, PostgresStore]]:
    """A checkpointer and a store for synchronous callers.

    Args:
        dsn: The database, see `database`. Its `connect_timeout` (10 seconds) bounds the wait for a connection, its
            `statement_timeout` (30 seconds) that for a statement; each is half a `connect_timeout` longer where the
            server is silent.
        pool_size: The most connections to hold.

    Raises:
        ConfigurationError: The DSN cannot be read, or there is none and the extra `embedded` is missing.
        StoreUnavailable: The database cannot be reached; also from every operation, in time.
    """
    with database(dsn) as url:
        _set_up(url)
        seconds = _connect_seconds(url)
        with ConnectionPool[Connection[_Row]](
            **_pool_settings(url, pool_size, PatientConnection),
            configure=lambda connection: _configure(connection, seconds),
            check=lambda connection: _check(pool, connection, seconds / 2),
            reconnect_failed=ConnectionPool.check,
        ) as pool:
            POOLS[pool] = "postgres"
            store = BlockingStore(pool)
            store.lock = cast(Any, _NoLock())
            yield BlockingSaver(pool), store


@asynccontextmanager
async def aopen_postgres(
    dsn: Secret | None = None, *, pool_size: int = 10
) -> AsyncGenerator[tuple[Saver, AsyncPostgresStore]]:
    """A checkpointer and a store for asynchronous callers, see `open_postgres`."""
    async with _open_pool(dsn, pool_size) as pool:
        yield Saver(pool), Store(pool)


@asynccontextmanager
async def checkpointer() -> AsyncGenerator[Saver]:
    """The checkpointer of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with _open_pool(settings.database_url, settings.pool_size) as pool:
        yield Saver(pool)


@asynccontextmanager
async def store() -> AsyncGenerator[AsyncPostgresStore]:
    """The store of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with _open_pool(settings.database_url, settings.pool_size) as pool:
        yield Store(pool)


@asynccontextmanager
async def _open_pool(
    dsn: Secret | None = None, pool_size: int = 10
) -> AsyncGenerator[AsyncConnectionPool[AsyncConnection[_Row]]]:
    async with AsyncExitStack() as stack:
        blocking = ExitStack()
        stack.push_async_callback(asyncio.to_thread, blocking.close)  # a server takes time to stop
        url = await asyncio.to_thread(blocking.enter_context, database(dsn))
        await asyncio.to_thread(_set_up, url)
        seconds = _connect_seconds(url)
        pool = AsyncConnectionPool[AsyncConnection[_Row]](
            **_pool_settings(url, pool_size, PatientAsyncConnection),
            configure=lambda connection: _aconfigure(connection, seconds),
            check=lambda connection: _acheck(pool, connection, seconds / 2),
            reconnect_failed=AsyncConnectionPool.check,
        )
        POOLS[pool] = "postgres"
        yield await stack.enter_async_context(pool)


@contextmanager
def database(dsn: Secret | None = None) -> Generator[SecretStr]:
    """The database to use: the one given, else that of `Settings`, else an embedded PostgreSQL for as long as needed.

    Raises:
        ConfigurationError: What was given is no DSN, or the extra `embedded` is missing.
    """
    if dsn is None:
        settings = Settings()
        if settings.database_url is None:
            with EmbeddedPostgres(settings.data_dir) as embedded:
                yield hidden(embedded)
            return
        dsn = settings.database_url
    host_of(dsn)
    yield hidden(dsn)


def _configure(connection: Any, seconds: float) -> None:
    """Bound what a new connection waits for, also where nobody answers."""
    connection.patience = seconds
    row = connection.execute(_BOUND, [f"{_STATEMENT_SECONDS}s"]).fetchone()
    connection.patience = row["seconds"] + seconds / 2


async def _aconfigure(connection: Any, seconds: float) -> None:
    """Like `_configure`."""
    connection.patience = seconds
    row = await (await connection.execute(_BOUND, [f"{_STATEMENT_SECONDS}s"])).fetchone()
    connection.patience = row["seconds"] + seconds / 2


def _check(pool: ConnectionPool[Any], connection: Any, seconds: float) -> None:
    """Test a connection before a run gets it, and replace all when it is dead: a restart cuts every one.

    Left alone, a pool tries one after the other and waits longer each time: the sixth dead one fails the run.
    """
    try:
        with hurried(connection, seconds):
            connection.execute("")
    except OperationalError:
        pool.drain()
        raise


async def _acheck(pool: AsyncConnectionPool[Any], connection: Any, seconds: float) -> None:
    """Like `_check`."""
    try:
        with hurried(connection, seconds):
            await connection.execute("")
    except OperationalError:
        await pool.drain()
        raise


def _pool_settings(url: SecretStr, pool_size: int, connection: type[Any]) -> dict[str, Any]:
    return {
        "conninfo": revealed(url),
        "connection_class": connection,
        "min_size": 1,
        "max_size": pool_size,
        "open": False,
        "kwargs": _connection_settings(url),
        "timeout": _connect_seconds(url),
        "reconnect_timeout": RECONNECT_SECONDS,
    }


def _connect_seconds(url: SecretStr) -> float:
    """Seconds to wait for a connection; libpq takes 0 for ever, and waits 2 at least."""
    chosen = float(conninfo_to_dict(revealed(url)).get("connect_timeout") or 0)
    return max(chosen, 2.0) if chosen > 0 else float(_CONNECT_SECONDS)


def _connection_settings(url: SecretStr) -> dict[str, Any]:
    seconds = _connect_seconds(url)
    timeouts = {
        "connect_timeout": round(seconds),
        "tcp_user_timeout": round(seconds * 1000),  # a dead link must not hold a run for ever
    }
    chosen = conninfo_to_dict(revealed(url))
    return {
        "autocommit": True,  # the savers' set-up and pipelines need it
        "prepare_threshold": 0,
        "row_factory": dict_row,
        **{name: seconds for name, seconds in timeouts.items() if name not in chosen},
    }


def _set_up(url: SecretStr) -> None:
    """Make or migrate the tables, one process at a time."""
    try:
        with PatientConnection[_Row].connect(
            revealed(url), **_connection_settings(url)
        ) as connection:
            connection.patience = _connect_seconds(url)
            _lock(connection)
            connection.patience = _MIGRATION_SECONDS
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false)", [f"{_SETUP_SECONDS}s"]
            )
            PostgresSaver(connection).setup()
            PostgresStore(connection).setup()
            connection.execute(_RUN_INDEX)
    except OperationalError as error:
        raise StoreUnavailable(
            f"the Postgres at {host_of(url)} cannot be reached or set up"
        ) from bare(error)


def _lock(connection: Connection[_Row]) -> None:
    # Polled, not waited for: a session that waits for the lock holds a snapshot, and the migrations'
    # CREATE INDEX CONCURRENTLY waits for every snapshot. The lock goes with the connection.
    deadline = time.monotonic() + _SETUP_SECONDS
    query = "SELECT pg_try_advisory_lock(%s) AS got"
    while not cast(Any, connection.execute(query, (_SETUP_LOCK,)).fetchone())["got"]:
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"another process has been setting up the database for {_SETUP_SECONDS:.0f} s"
            )
        time.sleep(0.05)
