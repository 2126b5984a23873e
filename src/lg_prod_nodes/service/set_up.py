"""Database setup: create and migrate the tables of LangGraph's checkpointer and store, one process at a time.

If everything exists, no DDL privilege is needed and no process waits. Otherwise the missing parts are created in one
transaction, under a lock that ends with it, so a transaction pooler works. Only the index of a table with rows is built
outside the transaction, concurrently with writes; a second connection then holds the lock.
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
"""Maximum wait for another process that sets up the same database, and for a table lock."""

MIGRATION_SECONDS = 3600.0
"""Maximum duration of building the index of a large table."""

SETUP_LOCK = 0x1C_9809  # arbitrary, as long as nothing else uses it for an advisory lock
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
# Not by to_regclass: it may have cached, before the lock, that the table does not exist.
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
    """A statement, and the migration table and version that record its success."""

    statement: str
    versions: str = ""
    version: int = 0

    @property
    def builds_index(self) -> str:
        """The table whose index it builds concurrently; empty for any other statement."""
        words = self.statement.replace("(", " ").split()
        return words[words.index("ON") + 1] if "CONCURRENTLY" in words else ""


def set_up(dsn: SecretStr) -> None:
    """Create or migrate the tables, one process at a time.

    Raises:
        ConfigurationError: Tables are missing and this user may not create them, or it may not read and write them.
        StoreUnavailable: The database cannot be reached, or stays busy for too long.
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
    """Return the missing steps, in order."""
    steps = [
        *_pending(connection, "checkpoint_migrations", PostgresSaver.MIGRATIONS, first=0),
        *_pending(connection, "store_migrations", PostgresStore.MIGRATIONS, first=-1),
    ]
    state = connection.execute(_RUN_INDEX_STATE).fetchone()
    is_valid = state["is_valid"] if state else None
    if is_valid is False:  # an earlier build did not finish
        steps.append(_Step(f"DROP INDEX {_RUN_INDEX}"))
    if not is_valid:
        steps.append(_Step(_BUILD_RUN_INDEX))
    return steps


def _pending(
    connection: _Connection, versions: str, migrations: Sequence[str], *, first: int
) -> Iterator[_Step]:
    """Yield the migrations above the recorded version.

    The table of versions is created first if it does not exist. `first` is the number of the migration that creates it,
    if there is one.
    """
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
    """Hold the setup lock for the duration of a transaction.

    It polls instead of waiting: a session that waits for a lock holds a snapshot, and a concurrent index build would
    wait for that snapshot.
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
