"""LangGraph's Postgres checkpointer and store, with timeouts, strict types, and support for threads and event loops."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from functools import wraps
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.databases.batches import AsyncBatches, Batches
from lg_prod_nodes.databases.cursors import (
    AsyncBoundedCursors,
    BoundedCursors,
    aexecute,
    execute,
    translated,
)
from lg_prod_nodes.databases.pools import AsyncPool, Pool
from lg_prod_nodes.databases.timings import timed
from lg_prod_nodes.service.checkpoint_rows import (
    CheckpointRows,
    channels_over,
    checkpoint_rows,
    statement_of,
    write_rows,
)
from lg_prod_nodes.service.fencing import AsyncFencedCursors, FencedCursors, fenced, leases_in

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

_TAKES_WRITES = "SELECT current_setting('transaction_read_only') = 'off' AS takes_writes"


_LARGE = 64_000
"""Bytes of a value from which its channel is serialized in a thread, beside the event loop."""


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


@timed("checkpointer", "get_tuple", "put", "put_writes")
class BlockingSaver(FencedCursors, PostgresSaver):
    """A checkpointer for synchronous callers that also serves asynchronous ones, through threads."""

    def __init__(
        self,
        pool: Pool,
        serde: SerializerProtocol | None = None,
        batches: Batches[CheckpointRows] | None = None,
    ) -> None:
        super().__init__(cast(Any, pool), serde=serde)
        self.lock = cast(Any, _NoLock())
        self._batches = batches or _batches(pool)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, together with what other threads save meanwhile."""
        dump = self.serde.dumps_typed
        self._save(checkpoint_rows(dump, config, checkpoint, metadata, new_versions))
        return _after(config, checkpoint)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save the writes of a task, together with what other threads save meanwhile."""
        self._save(write_rows(self.serde.dumps_typed, config, writes, task_id, task_path))

    def _save(self, rows: CheckpointRows) -> None:
        if not rows.is_empty:
            leases = leases_in(self.conn.conninfo)
            with fenced(leases), translated(self.conn):
                self._batches.put(rows._replace(leases=leases))

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
    aput = cast(Any, _in_thread(put))
    aput_writes = cast(Any, _in_thread(put_writes))
    adelete_thread = cast(Any, _in_thread(PostgresSaver.delete_thread))
    adelete_for_runs = cast(Any, _in_thread(delete_for_runs))
    acopy_thread = cast(Any, _in_thread(copy_thread))
    aprune = cast(Any, _in_thread(PostgresSaver.prune))
    aget_delta_channel_history = cast(Any, _in_thread(PostgresSaver.get_delta_channel_history))


@timed("checkpointer", "aget_tuple", "aput", "aput_writes")
class AsyncSaver(AsyncFencedCursors, AsyncPostgresSaver):
    """A checkpointer for asynchronous callers that serves synchronous ones through separate connections.

    LangGraph's own saver makes such a thread wait for the event loop, which in turn waits for a thread to serialize in.
    Once all threads of the loop wait like this, the process is deadlocked.
    """

    def __init__(
        self, pool: AsyncPool, threads: Pool, serde: SerializerProtocol | None = None
    ) -> None:
        super().__init__(cast(Any, pool), serde=serde)
        self.lock = cast(Any, _NoLock())
        self._threads, self._of_threads = threads, _batches(threads)
        self._batches = _abatches(pool)
        self._large: set[str] = set()  # channels

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, together with what other runs save meanwhile."""
        given = (config, checkpoint, metadata, new_versions)
        await self._save(await self._rows(new_versions, checkpoint_rows, *given))
        return _after(config, checkpoint)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save the writes of a task, together with what other runs save meanwhile."""
        channels = [channel for channel, _ in writes]
        await self._save(await self._rows(channels, write_rows, config, writes, task_id, task_path))

    async def _rows(
        self, channels: Collection[str], make: Callable[..., CheckpointRows], *given: Any
    ) -> CheckpointRows:
        """Serialize, in a thread if that may take long: then a hop to another thread is the lesser evil."""
        if self._is_quick(channels):
            rows = make(self.serde.dumps_typed, *given)
        else:
            rows = await asyncio.to_thread(make, self.serde.dumps_typed, *given)
        if rows.size > _LARGE:
            self._large |= channels_over(_LARGE, rows)
        return rows

    def _is_quick(self, channels: Collection[str]) -> bool:
        return isinstance(self.serde, JsonPlusSerializer) and self._large.isdisjoint(channels)

    async def _save(self, rows: CheckpointRows) -> None:
        if not rows.is_empty:
            leases = leases_in(self.conn.conninfo)
            with fenced(leases), translated(self.conn):
                await self._batches.put(rows._replace(leases=leases))

    async def _load_checkpoint_tuple(self, value: dict[str, Any]) -> CheckpointTuple:
        """Deserialize, in a thread if that may take long."""
        found = (*(value["channel_values"] or ()), *(value["pending_writes"] or ()))
        load: Callable[..., CheckpointTuple] = cast(Any, PostgresSaver)._load_checkpoint_tuple
        if isinstance(self.serde, JsonPlusSerializer) and _bytes_of(found) <= _LARGE:
            return load(self, value)
        return await asyncio.to_thread(load, self, value)

    def for_threads(self) -> BlockingSaver:
        """Return this checkpointer for synchronous callers; it connects on first use.

        Raises:
            ConfigurationError: The call would block the event loop.
        """
        _check_thread(self.loop, "ainvoke, astream, aget_state")
        return BlockingSaver(self._threads, self.serde, self._of_threads)

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
    put = cast(Any, _for_threads(BlockingSaver.put))
    put_writes = cast(Any, _for_threads(BlockingSaver.put_writes))
    delete_thread = cast(Any, _for_threads(PostgresSaver.delete_thread))
    delete_for_runs = cast(Any, _for_threads(BlockingSaver.delete_for_runs))
    copy_thread = cast(Any, _for_threads(BlockingSaver.copy_thread))
    prune = cast(Any, _for_threads(PostgresSaver.prune))
    get_delta_channel_history = cast(Any, _for_threads(PostgresSaver.get_delta_channel_history))


@timed("store", "batch")
class BlockingStore(BoundedCursors, PostgresStore):
    """A store for synchronous callers."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(cast(Any, pool))
        self.lock = cast(Any, _NoLock())


@timed("store", "abatch")
class AsyncStore(AsyncBoundedCursors, AsyncPostgresStore):
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

    async def __aexit__(self, *error: Any) -> None:
        """End the task that batches operations, which the event loop would find pending and log."""
        await super().__aexit__(*error)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _check_thread(loop: asyncio.AbstractEventLoop, instead: str) -> None:
    if _running_loop() is loop:
        raise ConfigurationError(
            "a synchronous call in the event loop's own thread, which nothing else could then use; await the "
            f"asynchronous one ({instead}), or call it in a thread: asyncio.to_thread(...)"
        )


def _batches(pool: Pool) -> Batches[CheckpointRows]:
    return Batches(lambda batch: execute(pool, *statement_of(batch)))


def _abatches(pool: AsyncPool) -> AsyncBatches[CheckpointRows]:
    return AsyncBatches(lambda batch: aexecute(pool, *statement_of(batch)))


def _after(config: RunnableConfig, checkpoint: Checkpoint) -> RunnableConfig:
    """The config of the checkpoint that was just saved."""
    place = config.get("configurable", {})
    return {
        "configurable": {
            "thread_id": place["thread_id"],
            "checkpoint_ns": place["checkpoint_ns"],
            "checkpoint_id": checkpoint["id"],
        }
    }


def _bytes_of(found: Sequence[Sequence[bytes | None]]) -> int:
    return sum(len(part or b"") for row in found for part in row)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
