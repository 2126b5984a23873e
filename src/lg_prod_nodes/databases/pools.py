"""Pools of connections for the checkpointer and the store of a graph."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncPipeline, OperationalError, Pipeline
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from pydantic import SecretStr

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import revealed
from lg_prod_nodes.databases.patience import (
    PatientAsyncConnection,
    PatientConnection,
    answered_recently,
    hurried,
)
from lg_prod_nodes.databases.postgres import RECONNECT_SECONDS
from lg_prod_nodes.databases.sessions import abegin_session, begin_session
from lg_prod_nodes.databases.timings import POOLS

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30

Row = dict[str, Any]


class Pool(ConnectionPool[PatientConnection[Row]]):
    """Connections for synchronous callers, from the first call on; a forked process gets its own.

    Args:
        dsn: The database. Its `connect_timeout` and `statement_timeout` bound every wait.
        size: The most connections to hold.
    """

    def __init__(self, dsn: SecretStr, size: int) -> None:
        self._dsn, self._process = dsn, os.getpid()
        self._forked: dict[int, Pool] = {}
        self._drained, self._was_closed = 0.0, False
        self._silence = connect_seconds(dsn) / 2
        super().__init__(
            **_settings(dsn, size, PatientConnection),
            configure=self._begin,
            check=self._test,
            reconnect_failed=ConnectionPool.check,
        )

    @contextmanager
    def connection(self, timeout: float | None = None) -> Generator[PatientConnection[Row]]:
        """Lend a connection.

        Raises:
            OperationalError: There is none in time, or the pool was closed.
        """
        if os.getpid() != self._process:  # what is open belongs to the parent
            with self._own().connection(timeout) as connection:
                yield connection
            return
        if self.closed and not self._was_closed:
            self.open()
        with super().connection(timeout) as connection:
            yield connection

    @contextmanager
    def pipeline(self) -> Generator[Pipeline]:
        """Put a connection into pipeline mode, as code for a single one does; nobody else waits for it."""
        with self.connection() as connection, connection.pipeline() as pipeline:
            yield pipeline

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Begin to connect."""
        super().open(*args, **kwargs)
        POOLS[self] = "postgres"

    def close(self, timeout: float = 5.0) -> None:
        """Close the connections of this process."""
        if os.getpid() == self._process:
            self._was_closed = True
            super().close(timeout)
        elif own := self._forked.pop(os.getpid(), None):
            own.close(timeout)

    def renew(self, connection: PatientConnection[Any]) -> None:
        """Replace all connections, since one that was opened lately turned out to be of no use."""
        if connection.opened > self._drained and os.getpid() == self._process:
            self._drained = time.monotonic()
            self.drain()

    def _own(self) -> Pool:
        own = self._forked.setdefault(os.getpid(), Pool(self._dsn, self.max_size))
        own.open()
        return own

    def _begin(self, connection: PatientConnection[Any]) -> None:
        connection.patience = 2 * self._silence
        begin_session(connection, statement=STATEMENT_SECONDS, silence=self._silence)
        connection.opened = time.monotonic()

    def _test(self, connection: PatientConnection[Any]) -> None:
        """Test a connection before a run gets it, and replace all when it is dead: a restart cuts every one.

        Left alone, a pool tries one after the other and waits longer each time: the sixth dead one fails the run.
        """
        if answered_recently(connection):
            return
        try:
            with hurried(connection, self._silence):
                connection.execute("")
        except OperationalError:
            self.drain()
            raise


class AsyncPool(AsyncConnectionPool[PatientAsyncConnection[Row]]):
    """Connections for asynchronous callers of the event loop that it is made in, see `Pool`."""

    def __init__(self, dsn: SecretStr, size: int) -> None:
        self._process, self._loop = os.getpid(), asyncio.get_running_loop()
        self._drained = 0.0
        self._silence = connect_seconds(dsn) / 2
        super().__init__(
            **_settings(dsn, size, PatientAsyncConnection),
            configure=self._begin,
            check=self._test,
            reconnect_failed=AsyncConnectionPool.check,
        )

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's signature
    ) -> AsyncGenerator[PatientAsyncConnection[Row]]:
        """Lend a connection.

        Raises:
            OperationalError: There is none in time, or the pool was closed.
            ConfigurationError: The event loop is another one than the pool's.
        """
        if asyncio.get_running_loop() is not self._loop or os.getpid() != self._process:
            raise ConfigurationError(
                "this graph's Postgres was opened in another event loop or process; open a Production in each, after "
                "forking, or use `with Production(...)`, which serves every thread, loop and forked process"
            )
        async with super().connection(timeout) as connection:
            yield connection

    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline]:
        """Like `Pool.pipeline`."""
        async with self.connection() as connection, connection.pipeline() as pipeline:
            yield pipeline

    async def open(self, *args: Any, **kwargs: Any) -> None:
        """Begin to connect."""
        await super().open(*args, **kwargs)
        POOLS[self] = "postgres"

    async def renew(self, connection: PatientAsyncConnection[Any]) -> None:
        """Replace all connections, see `Pool.renew`."""
        if connection.opened > self._drained:
            self._drained = time.monotonic()
            await self.drain()

    async def _begin(self, connection: PatientAsyncConnection[Any]) -> None:
        connection.patience = 2 * self._silence
        await abegin_session(connection, statement=STATEMENT_SECONDS, silence=self._silence)
        connection.opened = time.monotonic()

    async def _test(self, connection: PatientAsyncConnection[Any]) -> None:
        """Like `Pool._test`."""
        if answered_recently(connection):
            return
        try:
            with hurried(connection, self._silence):
                await connection.execute("")
        except OperationalError:
            await self.drain()
            raise


def connect_seconds(dsn: SecretStr) -> float:
    """Seconds to wait for a connection; libpq takes 0 for ever, and waits 2 at least."""
    chosen = float(conninfo_to_dict(revealed(dsn)).get("connect_timeout") or 0)
    return max(chosen, 2.0) if chosen > 0 else float(CONNECT_SECONDS)


def connection_settings(dsn: SecretStr) -> dict[str, Any]:
    """How LangGraph's checkpointer and store want a connection, with bounds that the DSN does not set."""
    seconds = connect_seconds(dsn)
    timeouts = {
        "connect_timeout": round(seconds),
        "tcp_user_timeout": round(seconds * 1000),  # a dead link must not hold a run for ever
    }
    chosen = conninfo_to_dict(revealed(dsn))
    return {
        "autocommit": True,  # the savers' set-up and pipelines need it
        "prepare_threshold": None,  # until it is known that no pooler stands between
        "row_factory": dict_row,
        **{name: value for name, value in timeouts.items() if name not in chosen},
    }


def _settings(dsn: SecretStr, size: int, connection: type[Any]) -> dict[str, Any]:
    return {
        "conninfo": revealed(dsn),
        "connection_class": connection,
        "min_size": 1,
        "max_size": size,
        "open": False,
        "kwargs": connection_settings(dsn),
        "timeout": connect_seconds(dsn),
        "reconnect_timeout": RECONNECT_SECONDS,
    }
