"""Postgres persistence for checkpoints and store: connect, set up, close.

`open_postgres` and `aopen_postgres` own a pool, a checkpointer and a store for the duration of a `with` block. For
LangGraph Server, name the factories `checkpointer` and `store` in `langgraph.json`.

Every operation has a timeout and raises `StoreUnavailable`. Connecting takes at most the `connect_timeout` of the DSN
(10 seconds by default). A statement takes at most the `statement_timeout` of the DSN, the role or the database
(30 seconds by default). If the server or the network does not respond, each may take half a `connect_timeout` longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from pydantic import SecretStr

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret, hidden, revealed
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.databases.pools import AsyncPool, Pool
from lg_prod_nodes.service.savers import AsyncSaver, AsyncStore, BlockingSaver, BlockingStore
from lg_prod_nodes.service.serde import AllowedType, StrictSerializer, serializer
from lg_prod_nodes.service.set_up import set_up
from lg_prod_nodes.service.settings import EMBEDDED, Settings


@contextmanager
def open_postgres(
    dsn: Secret | None = None,
    *,
    pool_size: int = 10,
    serde: SerializerProtocol | None = None,
    allowed_types: Sequence[AllowedType] = (),
) -> Generator[tuple[BlockingSaver, PostgresStore]]:
    """Open a checkpointer and a store for synchronous callers.

    Args:
        dsn: The database, see `database`. Its `connect_timeout` (10 seconds) limits the wait for a connection, its
            `statement_timeout` (30 seconds) each statement. If the server does not respond, each may take half a
            `connect_timeout` longer.
        pool_size: The maximum number of connections.
        serde: The serializer for checkpoints, see `Production`.
        allowed_types: Classes that a checkpoint may contain besides messages and plain values. `Production` derives
            them from its graph. Those of `Settings` are always allowed.

    Raises:
        ConfigurationError: The DSN is missing or invalid.
        StoreUnavailable: The database cannot be reached. Every operation raises it too, within its timeout.
    """
    with database(dsn) as url:
        written = serializer(serde, _allowed(serde, allowed_types))
        set_up(url)
        with Pool(url, pool_size) as pool:
            yield BlockingSaver(pool, written), BlockingStore(pool)


@asynccontextmanager
async def aopen_postgres(
    dsn: Secret | None = None,
    *,
    pool_size: int = 10,
    serde: SerializerProtocol | None = None,
    allowed_types: Sequence[AllowedType] = (),
) -> AsyncGenerator[tuple[AsyncSaver, AsyncPostgresStore]]:
    """Open a checkpointer and a store for asynchronous callers, see `open_postgres`.

    Threads that call the graph synchronously use up to `pool_size` additional connections, opened on the first such
    call.
    """
    async with _open_pools(dsn, pool_size) as (pool, threads):
        written = serializer(serde, await asyncio.to_thread(_allowed, serde, allowed_types))
        async with AsyncStore(pool, threads) as store:
            yield AsyncSaver(pool, threads, written), store


@asynccontextmanager
async def checkpointer() -> AsyncGenerator[AsyncSaver]:
    """Open the checkpointer for LangGraph Server on `DATABASE_URL`, see `examples/langgraph.json`.

    It does not know the graphs. To load classes of a graph's state, set `LANGGRAPH_STRICT_MSGPACK=true`, so that
    LangGraph derives them from each graph, or name them in `LG_PROD_ALLOWED_TYPES`.
    """
    settings = await asyncio.to_thread(Settings)
    async with _open_pools(settings.database_url, settings.pool_size) as (pool, threads):
        yield AsyncSaver(pool, threads, StrictSerializer(settings.allowed_types))


@asynccontextmanager
async def store() -> AsyncGenerator[AsyncPostgresStore]:
    """Open the store for LangGraph Server on `DATABASE_URL`, see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with (
        _open_pools(settings.database_url, settings.pool_size) as (pool, threads),
        AsyncStore(pool, threads) as opened,
    ):
        yield opened


@asynccontextmanager
async def _open_pools(dsn: Secret | None, size: int) -> AsyncGenerator[tuple[AsyncPool, Pool]]:
    """Open a pool for the running event loop, and one for threads that connects on first use."""
    async with AsyncExitStack() as stack:
        blocking = ExitStack()
        stack.push_async_callback(asyncio.to_thread, blocking.close)  # stopping a server takes time
        url = await asyncio.to_thread(blocking.enter_context, database(dsn))
        await asyncio.to_thread(set_up, url)
        threads = Pool(url, size)
        blocking.callback(threads.close)
        pool = await stack.enter_async_context(AsyncPool(url, size))
        yield pool, threads


@contextmanager
def database(dsn: Secret | None = None) -> Generator[SecretStr]:
    """Yield the database to use: `dsn`, else that of `Settings`. Starts and stops an embedded PostgreSQL if needed.

    Raises:
        ConfigurationError: There is no DSN, it is invalid, or the extra `embedded` is missing.
    """
    dsn = dsn or Settings().database_url
    if dsn is None:
        raise ConfigurationError(
            "no database is named; set DATABASE_URL, or give a DSN such as postgresql://user:password@host:5432/"
            f"database. For development, {EMBEDDED!r} in its place brings a PostgreSQL up with the program"
        )
    if revealed(dsn) == EMBEDDED:
        with EmbeddedPostgres(Settings().data_dir) as embedded:
            yield hidden(embedded)
    else:
        host_of(dsn)
        yield hidden(dsn)


def _allowed(
    serde: SerializerProtocol | None, allowed: Sequence[AllowedType]
) -> Sequence[AllowedType]:
    return (*allowed, *(Settings().allowed_types if serde is None else ()))
