"""What the checkpointer and the store ask of their pool, with timeouts, and errors that name server and remedy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from psycopg import OperationalError
from psycopg.errors import (
    DuplicatePreparedStatement,
    InsufficientPrivilege,
    InvalidSqlStatementName,
    ReadOnlySqlTransaction,
    UndefinedTable,
)

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import bare
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.pools import AsyncPool, Pool
from lg_prod_nodes.databases.postgres import unwrapped
from lg_prod_nodes.databases.reasons import reason_of
from lg_prod_nodes.databases.sessions import abounded, bounded

UNUSABLE = (
    OperationalError,
    DuplicatePreparedStatement,
    InsufficientPrivilege,
    InvalidSqlStatementName,
    ReadOnlySqlTransaction,
    UndefinedTable,
)
"""Errors for which a server or its tables are to blame, and not what was asked."""


@contextmanager
def translated(pool: Pool | AsyncPool) -> Generator[None]:
    """Raise `StoreUnavailable` where the server cannot be used."""
    try:
        yield
    except UNUSABLE as error:
        cause = unwrapped(error, str(pool.conninfo))
        failure = f"the Postgres at {host_of(str(pool.conninfo))} {reason_of(cause)}"
        raise StoreUnavailable(failure) from bare(cause)


def execute(pool: Pool, statement: str, values: Sequence[Any]) -> None:
    """Execute a statement in a transaction of its own, whose errors are the driver's.

    Args:
        pool: The pool.
        statement: What to execute.
        values: Its parameters.
    """
    with pool.connection() as connection:
        try:
            with bounded(connection):
                connection.execute(cast(Any, statement), values)
        except ReadOnlySqlTransaction:
            pool.renew(connection)
            raise


async def aexecute(pool: AsyncPool, statement: str, values: Sequence[Any]) -> None:
    """Like `execute`."""
    async with pool.connection() as connection:
        try:
            async with abounded(connection):
                await connection.execute(cast(Any, statement), values)
        except ReadOnlySqlTransaction:
            await pool.renew(connection)
            raise


class BoundedCursors:
    """Adds timeouts to `_cursor`, which every operation of LangGraph's saver and store uses."""

    conn: Any

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Any]:
        with translated(self.conn):
            cursor = None
            try:
                with (
                    cast(Any, super())._cursor(pipeline=pipeline) as cursor,
                    bounded(cursor.connection, is_pipeline=pipeline),
                ):
                    yield cursor
            except ReadOnlySqlTransaction:
                if cursor is not None:
                    self.conn.renew(cursor.connection)
                raise


class AsyncBoundedCursors:
    """The asynchronous twin of `BoundedCursors`."""

    conn: Any

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncGenerator[Any]:
        with translated(self.conn):
            cursor = None
            try:
                async with (
                    cast(Any, super())._cursor(pipeline=pipeline) as cursor,
                    abounded(cursor.connection, is_pipeline=pipeline),
                ):
                    yield cursor
            except ReadOnlySqlTransaction:
                if cursor is not None:
                    await self.conn.renew(cursor.connection)
                raise
