"""Checkpoints and store in Postgres: connected, set up, and closed again.

`open_postgres` and `aopen_postgres` own a pool, a checkpointer and a store for the length of a `with`. For LangGraph
Server, `checkpointer` and `store` are the factories to name in `langgraph.json`.

No operation waits without end, and all raise `StoreUnavailable`. A connection is there within the `connect_timeout` of
the DSN, else of 10 seconds; a statement ends within the `statement_timeout` of the DSN, the role or the database, else
of 30 seconds. Where the server is silent, or somebody on the way, each may last half a `connect_timeout` longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from pydantic import SecretStr

from lg_prod_nodes.core.secret import Secret, hidden
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.databases.pools import AsyncPool, Pool
from lg_prod_nodes.service.savers import BlockingSaver, BlockingStore, Saver, Store
from lg_prod_nodes.service.set_up import set_up
from lg_prod_nodes.service.settings import Settings


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
        set_up(url)
        with Pool(url, pool_size) as pool:
            yield BlockingSaver(pool), BlockingStore(pool)


@asynccontextmanager
async def aopen_postgres(
    dsn: Secret | None = None, *, pool_size: int = 10
) -> AsyncGenerator[tuple[Saver, AsyncPostgresStore]]:
    """A checkpointer and a store for asynchronous callers, see `open_postgres`.

    Threads that call the graph synchronously get up to `pool_size` connections more, from the first such call on.
    """
    async with _open_pools(dsn, pool_size) as (pool, threads):
        yield Saver(pool, threads), Store(pool)


@asynccontextmanager
async def checkpointer() -> AsyncGenerator[Saver]:
    """The checkpointer of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with _open_pools(settings.database_url, settings.pool_size) as (pool, threads):
        yield Saver(pool, threads)


@asynccontextmanager
async def store() -> AsyncGenerator[AsyncPostgresStore]:
    """The store of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with _open_pools(settings.database_url, settings.pool_size) as (pool, _):
        yield Store(pool)


@asynccontextmanager
async def _open_pools(dsn: Secret | None, size: int) -> AsyncGenerator[tuple[AsyncPool, Pool]]:
    """A pool for the running event loop, and one for threads, which connects when it is first used."""
    async with AsyncExitStack() as stack:
        blocking = ExitStack()
        stack.push_async_callback(asyncio.to_thread, blocking.close)  # a server takes time to stop
        url = await asyncio.to_thread(blocking.enter_context, database(dsn))
        await asyncio.to_thread(set_up, url)
        threads = Pool(url, size)
        blocking.callback(threads.close)
        pool = await stack.enter_async_context(AsyncPool(url, size))
        yield pool, threads


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
