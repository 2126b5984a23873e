"""Circuits in Postgres, for all processes."""

from __future__ import annotations

from typing import LiteralString

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.postgres import Postgres

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_circuits": """
        CREATE UNLOGGED TABLE IF NOT EXISTS lg_prod_nodes_circuits (
            name text PRIMARY KEY, circuit text NOT NULL, at timestamptz NOT NULL DEFAULT now())"""
}
_READ: LiteralString = "SELECT circuit FROM lg_prod_nodes_circuits WHERE name = %(name)s"
_ADD: LiteralString = """
    WITH old AS (
        DELETE FROM lg_prod_nodes_circuits WHERE name IN (
            SELECT name FROM lg_prod_nodes_circuits WHERE at < now() - interval '1 day' AND name <> %(name)s
            LIMIT 100 FOR UPDATE SKIP LOCKED))
    INSERT INTO lg_prod_nodes_circuits VALUES (%(name)s, %(new)s) ON CONFLICT DO NOTHING
    RETURNING name"""
_SWAP: LiteralString = """
    UPDATE lg_prod_nodes_circuits SET circuit = %(new)s, at = now()
    WHERE name = %(name)s AND circuit = %(old)s RETURNING name"""


class PostgresCircuits:
    """Circuits as texts, by name.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)

    def read(self, name: str) -> str | None:
        """What is stored."""
        rows = self._postgres.rows(_READ, name=name)
        return str(rows[0][0]) if rows else None

    def swap(self, name: str, old: str | None, new: str) -> bool:
        """Store another text if the stored one still is `old`; whether it was."""
        statement = _ADD if old is None else _SWAP
        return bool(self._postgres.rows(statement, name=name, old=old, new=new))

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()
