"""What a connection may leave in its session: nothing if a pooler shares the session with other clients.

A transaction pooler (PgBouncer, Supavisor, RDS Proxy) gives each transaction any of its server connections. What is
set or prepared there stays for whoever gets it next, and is missing for whoever set it. Such a pooler makes up the
process id that it sends to its clients, so a connection whose server says another one is behind a pooler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, LiteralString

from psycopg.rows import tuple_row

from lg_prod_nodes.databases.patience import PatientAsyncConnection, PatientConnection

_BEGIN: LiteralString = """
    SELECT pg_backend_pid() = %(pid)s, CASE WHEN pg_backend_pid() = %(pid)s
        THEN set_config('statement_timeout', chosen, false) ELSE chosen END,
        extract(epoch FROM (chosen || 'ms')::interval)::float8
    FROM (SELECT coalesce(%(millis)s, nullif(reset_val, '0'), %(default)s) AS chosen
        FROM pg_settings WHERE name = 'statement_timeout') AS setting"""
_BOUND: LiteralString = "SELECT set_config('statement_timeout', %s, true)"


def begin_session(
    connection: PatientConnection[Any], *, statement: float, silence: float, chosen: bool = False
) -> None:
    """Recognize a pooler, and bound the statements of a new connection by the server and by its own patience.

    Args:
        connection: One that prepares nothing yet.
        statement: Seconds that a statement may take, unless the DSN, the role or the database sets `statement_timeout`.
        silence: Seconds to wait longer where the server is silent.
        chosen: Whether `statement` overrides what they set.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    values = _values(connection, statement, chosen=chosen)
    _adopt(connection, cursor.execute(_BEGIN, values).fetchone(), silence)


async def abegin_session(
    connection: PatientAsyncConnection[Any], *, statement: float, silence: float
) -> None:
    """Like `begin_session`."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_BEGIN, _values(connection, statement, chosen=False))
    _adopt(connection, await cursor.fetchone(), silence)


@contextmanager
def bounded(connection: PatientConnection[Any], *, is_pipeline: bool = False) -> Generator[None]:
    """Behind a pooler, bound the statements of the block in time, by sending all as one transaction.

    A transaction that the block begins by itself is bounded by the connection's patience alone.

    Args:
        connection: In autocommit mode, and in no transaction.
        is_pipeline: Whether it is in pipeline mode already.
    """
    if not connection.is_pooled:
        yield
        return
    with nullcontext() if is_pipeline else connection.pipeline():
        connection.execute(_BOUND, [connection.bound])
        yield


@asynccontextmanager
async def abounded(
    connection: PatientAsyncConnection[Any], *, is_pipeline: bool = False
) -> AsyncGenerator[None]:
    """Like `bounded`."""
    if not connection.is_pooled:
        yield
        return
    async with nullcontext() if is_pipeline else connection.pipeline():
        await connection.execute(_BOUND, [connection.bound])
        yield


@contextmanager
def read_committed(connection: PatientConnection[Any]) -> Generator[None]:
    """Behind a pooler, make the statements of the block one bounded transaction, whatever its default isolation is."""
    if not connection.is_pooled:
        yield
        return
    with connection.pipeline():
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        connection.execute(_BOUND, [connection.bound])
        yield
        connection.execute("COMMIT")


def _values(connection: Any, statement: float, *, chosen: bool) -> dict[str, Any]:
    millis = str(round(statement * 1000))
    return {
        "pid": connection.info.backend_pid,
        "millis": millis if chosen else None,
        "default": millis,
    }


def _adopt(connection: Any, row: tuple[Any, ...] | None, silence: float) -> None:
    assert row is not None
    is_direct, connection.bound, seconds = row
    connection.is_pooled = not is_direct
    connection.patience = seconds + silence
    if is_direct:
        connection.prepare_threshold = 0
