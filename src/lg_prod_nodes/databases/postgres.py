"""A Postgres for single statements of a store, with a bound on every wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, cast

from psycopg import Error, IsolationLevel, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ConnectionTimeout, QueryCanceled, ReadOnlySqlTransaction
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import Secret, bare, hidden, revealed
from lg_prod_nodes.databases.dsn import database_of, host_of
from lg_prod_nodes.databases.patience import PatientConnection, Unanswered, latest_failure
from lg_prod_nodes.databases.reasons import reason_of
from lg_prod_nodes.databases.sessions import begin_session, read_committed
from lg_prod_nodes.databases.silence import Silence

RECONNECT_SECONDS = 2.0
"""How long a pool tries to connect with longer and longer breaks, before it begins anew with short ones."""

_Connection = PatientConnection[TupleRow]
_MOST_CONNECTIONS = 4
_SETUP_LOCK = 0x1C_980A  # any number that is unlikely to be another advisory lock
_ARE_THERE: LiteralString = (
    "SELECT bool_and(coalesce(to_regclass(name)::oid, to_regproc(name)::oid) IS NOT NULL) "
    "FROM unnest(%s::text[]) AS name"
)


_SILENT: dict[str, float] = {}
"""When a connection to a database fell silent: whoever in this process has older ones makes new ones.

After a failover or behind a proxy the old ones stay silent for ever, and each would be waited for.
"""


class Postgres:
    """Connects at first use, and creates its tables then.

    Args:
        dsn: The database.
        tables: Statements that create tables and functions, by their names, in this order.
        timeout: Seconds to wait at most for a connection (libpq waits 2 at least), and for a statement; twice as long
            for a silent server, where one call at a time waits and the others fail at once.

    Raises:
        ConfigurationError: The DSN cannot be read.
    """

    def __init__(self, dsn: Secret, *, tables: Mapping[str, LiteralString], timeout: float) -> None:
        self.host, self.database = host_of(dsn), database_of(dsn)
        self._dsn = hidden(dsn)
        self._tables = tables
        self._timeout = timeout
        self._pool: ConnectionPool[_Connection] | None = None
        self._parents: ConnectionPool[_Connection] | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._silence = Silence(Unanswered, PoolTimeout, ConnectionTimeout)
        self._renewed = time.monotonic()

    def rows(self, query: LiteralString, **values: Any) -> list[TupleRow]:
        """The rows that a statement returns. It is asked again where a connection broke: that must do no harm.

        Raises:
            StoreUnavailable: There is no answer in time, or the statement fails.
        """
        with self._errors_translated(), self._silence.asking():
            return self._answer(query, values)

    def run(self, statement: str) -> None:
        """Run a statement without values that may not stand in a transaction, such as `VACUUM`.

        Raises:
            StoreUnavailable: It does not end in time, or fails.
        """
        with (
            self._errors_translated(),
            self._silence.asking(),
            self._opened().connection() as connection,
        ):
            connection.execute(cast(Any, statement))

    def set_up(self) -> None:
        """Make the tables that are missing.

        Raises:
            StoreUnavailable: The database cannot be reached in time, or this user may not make tables.
        """
        with self._errors_translated():
            self._set_up()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._leave_to_parent()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _answer(self, query: LiteralString, values: Any) -> list[TupleRow]:
        pool = self._opened()
        if _SILENT.get(self.database, 0.0) > self._renewed:
            self._renewed = time.monotonic()
            pool.drain()
        try:
            return _ask(pool, query, values)
        except (PoolTimeout, QueryCanceled):
            raise
        except Unanswered:
            _SILENT[self.database] = time.monotonic()
            raise
        except (OperationalError, ReadOnlySqlTransaction):
            # A restart cuts every connection; a demoted primary keeps them, and refuses writes.
            pool.drain()
            return _ask(pool, query, values)

    @contextmanager
    def _errors_translated(self) -> Generator[None]:
        try:
            yield
        except Error as error:
            cause = unwrapped(error, revealed(self._dsn))
            raise StoreUnavailable(f"the Postgres at {self.host} {reason_of(cause)}") from bare(
                cause
            )

    def _opened(self) -> ConnectionPool[_Connection]:
        self._leave_to_parent()
        if (pool := self._pool) is not None:
            return pool
        if not self._lock.acquire(timeout=self._timeout):
            raise Unanswered("another thread is still connecting")
        try:
            if self._pool is None:
                self._set_up()
                self._pool = self._new_pool()
            return self._pool
        finally:
            self._lock.release()

    def _leave_to_parent(self) -> None:
        """After a fork the connections are the parent's: they are neither used nor closed here."""
        if self._process != os.getpid():
            self._parents, self._pool, self._lock = self._pool, None, threading.Lock()
            self._process = os.getpid()

    def _new_pool(self) -> ConnectionPool[_Connection]:
        return ConnectionPool(
            revealed(self._dsn),
            connection_class=_Connection,
            kwargs=self._settings(),
            configure=self._bound,
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=self._timeout,
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=ConnectionPool.check,
            open=True,
        )

    def _set_up(self) -> None:
        """Make the tables, one process at a time; where they are, no right to make any is needed."""
        with _Connection.connect(revealed(self._dsn), **self._settings()) as connection:
            self._bound(connection)
            if self._are_there(connection):
                return
            with connection.transaction():
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [connection.bound]
                )
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
                if not self._are_there(connection):
                    for table in self._tables.values():
                        connection.execute(table)

    def _are_there(self, connection: _Connection) -> bool:
        return connection.execute(_ARE_THERE, [list(self._tables)]).fetchone() == (True,)

    def _settings(self) -> dict[str, Any]:
        timeouts = {
            "connect_timeout": max(2, round(self._timeout)),  # 2 is the least that libpq knows
            "tcp_user_timeout": round(self._timeout * 1000),
        }
        chosen = conninfo_to_dict(revealed(self._dsn))
        return {
            "autocommit": True,
            "prepare_threshold": None,  # until it is known that no pooler stands between
            **{name: value for name, value in timeouts.items() if name not in chosen},
        }

    def _bound(self, connection: _Connection) -> None:
        connection.patience = 2 * self._timeout
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        begin_session(connection, statement=self._timeout, silence=self._timeout, chosen=True)
        if not connection.is_pooled:
            connection.execute("SET default_transaction_isolation = 'read committed'")


def _ask(pool: ConnectionPool[_Connection], query: LiteralString, values: Any) -> list[TupleRow]:
    with pool.connection() as connection:
        with read_committed(connection):
            cursor = connection.execute(query, values)
        return cursor.fetchall()


def unwrapped(error: Error, dsn: str) -> Error:
    """Why a pool has no connection, if that is known: the pool says only that it has none."""
    return (latest_failure(dsn) or error) if isinstance(error, PoolTimeout) else error
