"""Failures in Postgres, for all processes: one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.stores.failures.failure import Failure

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_failures": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_failures (
            id text PRIMARY KEY, graph text NOT NULL, run_id text NOT NULL, thread_id text, checkpoint_id text,
            checkpoint_ns text, node text, type text NOT NULL, error_class text NOT NULL, fingerprint text NOT NULL,
            frames jsonb NOT NULL, attempts integer NOT NULL, first timestamptz NOT NULL, last timestamptz NOT NULL,
            count integer NOT NULL, resolved timestamptz, settings jsonb)""",
    # The index says that the column is there, also in tables of earlier versions.
    "lg_prod_nodes_failures_settings": """
        DO $$ BEGIN
            ALTER TABLE lg_prod_nodes_failures ADD COLUMN IF NOT EXISTS settings jsonb;
            CREATE INDEX IF NOT EXISTS lg_prod_nodes_failures_settings ON lg_prod_nodes_failures (id)
            WHERE settings IS NOT NULL;
        END $$""",
    "lg_prod_nodes_failures_last": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_failures_last ON lg_prod_nodes_failures (last)""",
}
_COLUMNS: LiteralString = """
    id, graph, run_id, thread_id, checkpoint_id, checkpoint_ns, node, type, error_class, fingerprint, frames, attempts,
    first, last, count, resolved, settings"""
_NAMES = tuple(name.strip() for name in _COLUMNS.split(","))
# The same run is not counted again where its statement is sent again.
_ADD: LiteralString = """
    WITH old AS (
        DELETE FROM lg_prod_nodes_failures WHERE id IN (
            SELECT id FROM lg_prod_nodes_failures WHERE last < %(forget)s AND id <> %(id)s ORDER BY last LIMIT 100
            FOR UPDATE SKIP LOCKED))
    INSERT INTO lg_prod_nodes_failures AS known VALUES (
        %(id)s, %(graph)s, %(run_id)s, %(thread_id)s, %(checkpoint_id)s, %(checkpoint_ns)s, %(node)s, %(type)s,
        %(error_class)s, %(fingerprint)s, %(frames)s, %(attempts)s, %(first)s, %(last)s, 1, NULL,
        %(settings)s)
    ON CONFLICT (id) DO UPDATE SET
        run_id = excluded.run_id, checkpoint_id = excluded.checkpoint_id, checkpoint_ns = excluded.checkpoint_ns,
        attempts = excluded.attempts, last = excluded.last, resolved = NULL, settings = excluded.settings,
        count = known.count + (known.run_id <> excluded.run_id OR known.last <> excluded.last)::int
    RETURNING id"""
_READ: LiteralString = "SELECT" + _COLUMNS + " FROM lg_prod_nodes_failures WHERE id = %(id)s"
_FIND: LiteralString = (
    "SELECT"
    + _COLUMNS
    + """ FROM lg_prod_nodes_failures
    WHERE (%(graph)s::text IS NULL OR graph = %(graph)s) AND (resolved IS NOT NULL) = %(resolved)s
    ORDER BY last DESC LIMIT %(limit)s"""
)
_RESOLVE: LiteralString = """
    UPDATE lg_prod_nodes_failures SET resolved = %(at)s WHERE id = %(id)s RETURNING id"""


class PostgresFailures:
    """Failures by id.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)

    def add(self, failure: Failure, *, forget: datetime) -> None:
        """Store a failure, and forget some of those that came last before a time."""
        frames, settings = Jsonb(list(failure.frames)), Jsonb(dict(failure.settings))
        values = asdict(failure) | {"frames": frames, "settings": settings, "forget": forget}
        self._postgres.rows(_ADD, **values)

    def read(self, id: str) -> Failure | None:
        """A failure by its id."""
        rows = self._postgres.rows(_READ, id=id)
        return _failure(rows[0]) if rows else None

    def find(self, graph: str | None, *, resolved: bool, limit: int) -> Sequence[Failure]:
        """Failures, the latest first."""
        rows = self._postgres.rows(_FIND, graph=graph, resolved=resolved, limit=limit)
        return [_failure(row) for row in rows]

    def resolve(self, id: str, at: datetime) -> None:
        """Note when a failure was resolved."""
        self._postgres.rows(_RESOLVE, id=id, at=at)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()


def _failure(row: Sequence[Any]) -> Failure:
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    values["frames"] = tuple(values["frames"])
    values["settings"] = values["settings"] or {}
    return Failure(**values)
