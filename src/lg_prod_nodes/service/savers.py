"""LangGraph's Postgres checkpointer and store, with timeouts, strict types, and support for threads and event loops."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from psycopg import OperationalError
from psycopg.errors import (
    DuplicatePreparedStatement,
    InsufficientPrivilege,
    InvalidSqlStatementName,
    ReadOnlySqlTransaction,
    UndefinedTable,
)

from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.secret import bare
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.pools import AsyncPool, Pool
from lg_prod_nodes.databases.postgres import unwrapped
from lg_prod_nodes.databases.reasons import reason_of
from lg_prod_nodes.databases.sessions import abounded, bounded
from lg_prod_nodes.databases.timings import timed

M = TypeVar("M", bound=Callable[..., Any])

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

_UNUSABLE = (
    OperationalError,
    DuplicatePreparedStatement,
    InsufficientPrivilege,
    InvalidSqlStatementName,
    ReadOnlySqlTransaction,
    UndefinedTable,
)
_TAKES_WRITES = "SELECT current_setting('transaction_read_only') = 'off' AS takes_writes"


class _NoLock:
    """Replaces the savers' instance lock, which a pool makes unnecessary: each cursor has its own connection."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def _in_thread(method: M) -> M:
    """Return the asynchronous twin of a blocking method, with its signature: LangGraph looks for `task_path` in it."""

    @wraps(method)
    async def twin(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self, method.__name__), *args, **kwargs)

    return cast(M, twin)


def _for_threads(method: M) -> M:
    """Return the blocking twin of an asynchronous saver's method, for threads other than the event loop's."""

    @wraps(method)
    def twin(self: AsyncSaver, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.for_threads(), method.__name__)(*args, **kwargs)

    return cast(M, twin)


def _unavailable(pool: Pool | AsyncPool, error: Any) -> StoreUnavailable:
    cause = unwrapped(error, str(pool.conninfo))
    return StoreUnavailable(f"the Postgres at {host_of(str(pool.conninfo))} {reason_of(cause)}")


class _BoundedCursors:
    """Adds timeouts to `_cursor`, which every operation of LangGraph's saver and store uses."""

    conn: Any

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Any]:
        cursor = None
        try:
            with (
                cast(Any, super())._cursor(pipeline=pipeline) as cursor,
                bounded(cursor.connection, is_pipeline=pipeline),
            ):
                yield cursor
        except _UNUSABLE as error:
            if cursor is not None and isinstance(error, ReadOnlySqlTransaction):
                self.conn.renew(cursor.connection)
            raise _unavailable(self.conn, error) from bare(unwrapped(error, self.conn.conninfo))


class _AsyncBoundedCursors:
    """The asynchronous twin of `_BoundedCursors`."""

    conn: Any

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncGenerator[Any]:
        cursor = None
        try:
            async with (
                cast(Any, super())._cursor(pipeline=pipeline) as cursor,
                abounded(cursor.connection, is_pipeline=pipeline),
            ):
                yield cursor
        except _UNUSABLE as error:
            if cursor is not None and isinstance(error, ReadOnlySqlTransaction):
                await self.conn.renew(cursor.connection)
            raise _unavailable(self.conn, error) from bare(unwrapped(error, self.conn.conninfo))


@timed("checkpointer", "get_tuple", "put", "put_writes")
class BlockingSaver(_BoundedCursors, PostgresSaver):
    """A checkpointer for synchronous callers that also serves asynchronous ones, through threads."""

    def __init__(self, pool: Pool, serde: SerializerProtocol | None = None) -> None:
        super().__init__(cast(Any, pool), serde=serde)
        self.lock = cast(Any, _NoLock())

    def takes_writes(self) -> bool:
        """Return whether the server is a primary; if not, the next call opens new connections."""
        with self._cursor() as cursor:
            if not (takes := bool(cursor.execute(_TAKES_WRITES).fetchone()["takes_writes"])):
                self.conn.renew(cursor.connection)
        return takes

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs, and the blobs and writes that only these use."""
        self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its entire history."""
        self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        with self._cursor(pipeline=True) as cursor:  # one transaction
            for statement in statements:
                cursor.execute(cast(Any, statement), values)

    async def alist(
        self, config: RunnableConfig | None, **kwargs: Any
    ) -> AsyncIterator[CheckpointTuple]:
        """The asynchronous twin of `list`; runs in a thread."""
        for checkpoint in await asyncio.to_thread(lambda: list(self.list(config, **kwargs))):
            yield checkpoint

    aget_tuple = cast(Any, _in_thread(PostgresSaver.get_tuple))
    aput = cast(Any, _in_thread(PostgresSaver.put))
    aput_writes = cast(Any, _in_thread(PostgresSaver.put_writes))
    adelete_thread = cast(Any, _in_thread(PostgresSaver.delete_thread))
    adelete_for_runs = cast(Any, _in_thread(delete_for_runs))
    acopy_thread = cast(Any, _in_thread(copy_thread))
    aprune = cast(Any, _in_thread(PostgresSaver.prune))
    aget_delta_channel_history = cast(Any, _in_thread(PostgresSaver.get_delta_channel_history))


@timed("checkpointer", "aget_tuple", "aput", "aput_writes")
class AsyncSaver(_AsyncBoundedCursors, AsyncPostgresSaver):
    """A checkpointer for asynchronous callers that serves synchronous ones through separate connections.

    LangGraph's own saver makes such a thread wait for the event loop, which in turn waits for a thread to serialize in.
    Once all threads of the loop wait like this, the process is deadlocked.
    """

    def __init__(
        self, pool: AsyncPool, threads: Pool, serde: SerializerProtocol | None = None
    ) -> None:
        super().__init__(cast(Any, pool), serde=serde)
        self.lock = cast(Any, _NoLock())
        self._threads = threads

    def for_threads(self) -> BlockingSaver:
        """Return this checkpointer for synchronous callers; it connects on first use.

        Raises:
            ConfigurationError: The call would block the event loop.
        """
        _check_thread(self.loop, "ainvoke, astream, aget_state")
        return BlockingSaver(self._threads, self.serde)

    async def atakes_writes(self) -> bool:
        """Return whether the server is a primary; if not, the next call opens new connections."""
        async with self._cursor() as cursor:
            await cursor.execute(_TAKES_WRITES)
            if not (takes := bool((await cursor.fetchone())["takes_writes"])):
                await self.conn.renew(cursor.connection)
        return takes

    def takes_writes(self) -> bool:
        """The same from another thread, over the connections that runs use."""
        return asyncio.run_coroutine_threadsafe(self.atakes_writes(), self.loop).result()

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs, and the blobs and writes that only these use."""
        await self._execute(_DELETE_RUNS, {"runs": list(run_ids)})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with its entire history."""
        await self._execute(_COPY_THREAD, {"source": source_thread_id, "target": target_thread_id})

    async def _execute(self, statements: Sequence[str], values: dict[str, Any]) -> None:
        async with self._cursor(pipeline=True) as cursor:  # one transaction
            for statement in statements:
                await cursor.execute(cast(Any, statement), values)

    def list(self, config: RunnableConfig | None, **kwargs: Any) -> Iterator[CheckpointTuple]:
        """The blocking twin of `alist`, for threads other than the event loop's."""
        yield from self.for_threads().list(config, **kwargs)

    get_tuple = cast(Any, _for_threads(PostgresSaver.get_tuple))
    put = cast(Any, _for_threads(PostgresSaver.put))
    put_writes = cast(Any, _for_threads(PostgresSaver.put_writes))
    delete_thread = cast(Any, _for_threads(PostgresSaver.delete_thread))
    delete_for_runs = cast(Any, _for_threads(BlockingSaver.delete_for_runs))
    copy_thread = cast(Any, _for_threads(BlockingSaver.copy_thread))
    prune = cast(Any, _for_threads(PostgresSaver.prune))
    get_delta_channel_history = cast(Any, _for_threads(PostgresSaver.get_delta_channel_history))


@timed("store", "batch")
class BlockingStore(_BoundedCursors, PostgresStore):
    """A store for synchronous callers."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(cast(Any, pool))
        self.lock = cast(Any, _NoLock())


@timed("store", "abatch")
class AsyncStore(_AsyncBoundedCursors, AsyncPostgresStore):
    """A store for asynchronous callers that serves synchronous ones through separate connections.

    LangGraph's own store makes such a thread wait for the event loop, which deadlocks the process like its saver does,
    see `AsyncSaver`.
    """

    def __init__(self, pool: AsyncPool, threads: Pool) -> None:
        super().__init__(cast(Any, pool))
        self._threads = threads

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run several operations, in a thread other than the event loop's.

        Raises:
            ConfigurationError: The call would block the event loop.
        """
        _check_thread(self._loop, "aget, aput, asearch")
        return BlockingStore(self._threads).batch(ops)

    get = cast(Any, BaseStore.get)
    search = cast(Any, BaseStore.search)
    put = cast(Any, BaseStore.put)
    delete = cast(Any, BaseStore.delete)
    list_namespaces = cast(Any, BaseStore.list_namespaces)


def _check_thread(loop: asyncio.AbstractEventLoop, instead: str) -> None:
    if _running_loop() is loop:
        raise ConfigurationError(
            "a synchronous call in the event loop's own thread, which nothing else could then use; await the "
            f"asynchronous one ({instead}), or call it in a thread: asyncio.to_thread(...)"
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
