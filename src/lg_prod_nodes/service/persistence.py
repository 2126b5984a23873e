"""Checkpoints and store in Postgres: connected, set up, and closed again.

`open_postgres` and `aopen_postgres` own a pool, a checkpointer and a store for the length of a `with`. For LangGraph
Server, `checkpointer` and `store` are the factories to name in `langgraph.json`.

No operation waits without end, and all raise `StoreUnavailable`. A connection is there within the `connect_timeout` of
the DSN, else of 10 seconds; a statement ends within the `statement_timeout` of the DSN, the role or the database, else
of 30 seconds. Where the server is silent, or somebody on the way, each may last half a `connect_timeout` longer.
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
    """A checkpointer and a store for synchronous callers.

    Args:
        dsn: The database, see `database`. Its `connect_timeout` (10 seconds) bounds the wait for a connection, its
            `statement_timeout` (30 seconds) that for a statement; each is half a `connect_timeout` longer where the
            server is silent.
        pool_size: The most connections to hold.
        serde: How values are written and read, see `Production`.
        allowed_types: Classes that a checkpoint may hold besides messages and plain values, as `Production` derives
            them from its graph; those of `Settings` are allowed too.

    Raises:
        ConfigurationError: The DSN cannot be read, or there is none.
        StoreUnavailable: The database cannot be reached; also from every operation, in time.
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
    """A checkpointer and a store for asynchronous callers, see `open_postgres`.

    Threads that call the graph synchronously get up to `pool_size` connections more, from the first such call on.
    """
    async with _open_pools(dsn, pool_size) as (pool, threads):
        written = serializer(serde, await asyncio.to_thread(_allowed, serde, allowed_types))
        yield AsyncSaver(pool, threads, written), AsyncStore(pool)


@asynccontextmanager
async def checkpointer() -> AsyncGenerator[AsyncSaver]:
    """The checkpointer of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`.

    It knows no graph. Classes of a graph's state are read where `LANGGRAPH_STRICT_MSGPACK=true` has LangGraph derive
    them from each graph, or `LG_PROD_ALLOWED_TYPES` names them.
    """
    settings = await asyncio.to_thread(Settings)
    async with _open_pools(settings.database_url, settings.pool_size) as (pool, threads):
        yield AsyncSaver(pool, threads, StrictSerializer(settings.allowed_types))


@asynccontextmanager
async def store() -> AsyncGenerator[AsyncPostgresStore]:
    """The store of LangGraph Server, on `DATABASE_URL`: see `examples/langgraph.json`."""
    settings = await asyncio.to_thread(Settings)
    async with _open_pools(settings.database_url, settings.pool_size) as (pool, _):
        yield AsyncStore(pool)


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
    """The database to use: the one given, else that of `Settings`; an embedded PostgreSQL for as long as needed.

    Raises:
        ConfigurationError: None was given, or what is no DSN, or the extra `embedded` is missing.
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
