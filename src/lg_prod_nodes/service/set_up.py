"""The tables of LangGraph's checkpointer and store: found ready, or made and migrated by one process at a time.

Where all is there, no right to make anything is needed, and nobody waits. What is missing is made in one transaction,
under a lock that ends with it, which a transaction pooler allows. Only the index of a table that has rows is built
outside of it, without stopping those who write: a second connection then holds the lock.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, cast

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.postgres import PostgresStore
from psycopg import Error
from psycopg.errors import InsufficientPrivilege
from pydantic import SecretStr

from lg_prod_nodes.core import log
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.secret import bare, revealed
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.patience import PatientConnection
from lg_prod_nodes.databases.pools import Row, connect_seconds, connection_settings
from lg_prod_nodes.databases.reasons import reason_of
from lg_prod_nodes.databases.sessions import begin_session

SETUP_SECONDS = 60.0
"""How long to wait for another process that sets up the same database, and for a lock on a table."""

MIGRATION_SECONDS = 3600.0
"""How long the index of a large table may take."""

SETUP_LOCK = 0x1C_9809  # any number that nobody else uses for an advisory lock
COMMAND = "lg-prod-nodes setup --dsn postgresql://OWNER@..."
LANGGRAPH_TABLES = (
    "checkpoint_migrations",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "store_migrations",
    "store",
)

_Connection = PatientConnection[Row]
_RUN_INDEX = "lg_prod_nodes_checkpoints_run"
_BUILD_RUN_INDEX = f"""CREATE INDEX CONCURRENTLY IF NOT EXISTS {_RUN_INDEX} ON checkpoints
    ((metadata->>'run_id')) WHERE metadata->>'run_id' IS NOT NULL"""
# Not by to_regclass, which may remember from before the lock that there is none.
_IS_THERE: LiteralString = """
    SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid)) AS is_there"""
_RUN_INDEX_STATE: LiteralString = f"""
    SELECT bool_or(indisvalid) AS is_valid FROM pg_index WHERE indexrelid = to_regclass('{_RUN_INDEX}')"""
_CLOSED: LiteralString = """
    SELECT string_agg(relname, ', ' ORDER BY relname) AS tables, current_user AS name FROM pg_class
    WHERE oid = ANY(SELECT to_regclass(name)::oid FROM unnest(%s::text[]) AS name)
    AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))"""


@dataclass(frozen=True)
class _Step:
    """A statement, and where its success is noted."""

    statement: str
    versions: str = ""
    version: int = 0

    @property
    def builds_index(self) -> str:
        """The table whose index it builds beside those who write; nothing for any other statement."""
        words = self.statement.replace("(", " ").split()
        return words[words.index("ON") + 1] if "CONCURRENTLY" in words else ""


def set_up(dsn: SecretStr) -> None:
    """Make or migrate the tables, one process at a time.

    Raises:
        ConfigurationError: Something is missing, and this user may not make it; or it may not use the tables.
        StoreUnavailable: The database cannot be reached, or is busy for too long.
    """
    stage = ""
    try:
        with _connected(dsn) as connection:
            stage = "cannot be set up: it "
            if _missing(connection):
                _make_what_may_be(dsn, connection)
            _check_rights(dsn, connection)
    except InsufficientPrivilege as error:
        raise ConfigurationError(
            f"the Postgres at {host_of(dsn)} lacks tables of LangGraph's checkpointer and store, or their latest "
            f"form, and this user may not make or read them; let their owner run {COMMAND} --grant-to USER"
        ) from bare(error)
    except Error as error:
        raise StoreUnavailable(
            f"the Postgres at {host_of(dsn)} {stage}{reason_of(error)}"
        ) from bare(error)


@contextmanager
def _connected(dsn: SecretStr) -> Generator[_Connection]:
    seconds = connect_seconds(dsn)
    with _Connection.connect(revealed(dsn), **connection_settings(dsn)) as connection:
        connection.patience = seconds
        begin_session(connection, statement=MIGRATION_SECONDS, silence=seconds / 2, chosen=True)
        yield connection


def _missing(connection: _Connection) -> list[_Step]:
    """What there is to do, in order."""
    steps = [
        *_pending(connection, "checkpoint_migrations", PostgresSaver.MIGRATIONS, first=0),
        *_pending(connection, "store_migrations", PostgresStore.MIGRATIONS, first=-1),
    ]
    state = connection.execute(_RUN_INDEX_STATE).fetchone()
    is_valid = state["is_valid"] if state else None
    if is_valid is False:  # whoever built it did not come to an end
        steps.append(_Step(f"DROP INDEX {_RUN_INDEX}"))
    if not is_valid:
        steps.append(_Step(_BUILD_RUN_INDEX))
    return steps


def _pending(
    connection: _Connection, versions: str, migrations: Sequence[str], *, first: int
) -> Iterator[_Step]:
    """The migrations above the version that a table notes; `first` makes that table, where it is one of them."""
    version = -1
    if not _row(connection, _IS_THERE, versions)["is_there"]:
        yield _Step(f"CREATE TABLE IF NOT EXISTS {versions} (v INTEGER PRIMARY KEY)")
    else:
        version = _row(connection, cast(Any, f"SELECT coalesce(max(v), -1) AS v FROM {versions}"))[
            "v"
        ]
    for number, migration in enumerate(migrations):
        if number > version:
            yield _Step(migration, versions, number)


def _make_what_may_be(dsn: SecretStr, connection: _Connection) -> None:
    try:
        _make(dsn, connection)
    except InsufficientPrivilege:
        if any(_RUN_INDEX not in step.statement for step in _missing(connection)):
            raise
        log.warning(
            "an index is missing, without which deleting a run reads all checkpoints",
            do=f"let the owner run {COMMAND}",
        )


def _make(dsn: SecretStr, connection: _Connection) -> None:
    with _locked(connection), ExitStack() as stack:
        steps = _missing(connection)
        if not steps:
            return
        if not any(_has_rows(connection, step.builds_index) for step in steps):
            connection.patience = MIGRATION_SECONDS
            _bound_locks(connection, is_local=True)
            for step in steps:
                _do(connection, step.statement.replace("CONCURRENTLY ", ""), step)
            return
        worker = stack.enter_context(_connected(dsn))
        worker.patience = MIGRATION_SECONDS
        if not worker.is_pooled:
            _bound_locks(worker, is_local=False)
        for step in steps:
            _do(worker, step.statement, step)


def _do(connection: _Connection, statement: str, step: _Step) -> None:
    connection.execute(cast(Any, statement))
    if step.versions:
        note = f"INSERT INTO {step.versions} (v) VALUES (%s)"
        connection.execute(cast(Any, note), [step.version])


@contextmanager
def _locked(connection: _Connection) -> Generator[None]:
    """The lock of whoever sets up, for as long as a transaction.

    Polled, not waited for: who waits for a lock holds a snapshot, which an index that is built beside would wait for.
    """
    deadline = time.monotonic() + SETUP_SECONDS
    query: LiteralString = "SELECT pg_try_advisory_xact_lock(%s) AS got"
    while time.monotonic() < deadline:
        with connection.transaction():
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            if _row(connection, query, SETUP_LOCK)["got"]:
                yield
                return
        time.sleep(0.05)
    raise StoreUnavailable(
        f"another process has been setting up the database for {SETUP_SECONDS:.0f} s; wait until it ends, or end it"
    )


def _bound_locks(connection: _Connection, *, is_local: bool) -> None:
    values = [f"{SETUP_SECONDS}s", is_local]
    connection.execute("SELECT set_config('lock_timeout', %s, %s)", values)
    values = [f"{MIGRATION_SECONDS}s", is_local]
    connection.execute("SELECT set_config('statement_timeout', %s, %s)", values)


def _has_rows(connection: _Connection, table: str) -> bool:
    if not table or not _row(connection, _IS_THERE, table)["is_there"]:
        return False
    return connection.execute(cast(Any, f"SELECT FROM {table} LIMIT 1")).fetchone() is not None


def _check_rights(dsn: SecretStr, connection: _Connection) -> None:
    found = _row(
        connection, _CLOSED, [name for name in LANGGRAPH_TABLES if not name.endswith("migrations")]
    )
    if found["tables"]:
        raise ConfigurationError(
            f"the user {found['name']} may not read and write {found['tables']} in the Postgres at {host_of(dsn)}; let "
            f"their owner run GRANT SELECT, INSERT, UPDATE, DELETE ON {found['tables']} TO {found['name']}"
        )


def _row(connection: _Connection, query: LiteralString, *values: Any) -> Row:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row
