"""The sealed records of a vault in Postgres, for all processes: three tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import LiteralString
from uuid import UUID

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.postgres import Postgres

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_vault_root": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_vault_root (
            id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1), wrapped_key bytea NOT NULL)""",
    "lg_prod_nodes_vault_keys": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_vault_keys (
            id uuid PRIMARY KEY, subject_hash bytea NOT NULL UNIQUE, wrapped_key bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        ) WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)""",
    "lg_prod_nodes_vault": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_vault (
            key_id uuid REFERENCES lg_prod_nodes_vault_keys ON DELETE CASCADE, token text,
            value bytea NOT NULL, PRIMARY KEY (key_id, token)
        ) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0)""",
}

# In the next three, the INSERT returns what is new, and the last SELECT what was there when the statement began. What
# somebody else adds in between is found by ON CONFLICT DO UPDATE, which changes nothing but returns the row.
_ROOT: LiteralString = """
    WITH new AS (
        INSERT INTO lg_prod_nodes_vault_root AS held (wrapped_key)
        SELECT %(new)s WHERE NOT EXISTS (SELECT FROM lg_prod_nodes_vault_root)
        ON CONFLICT (id) DO UPDATE SET wrapped_key = held.wrapped_key
        RETURNING wrapped_key)
    SELECT wrapped_key FROM new UNION ALL
    SELECT wrapped_key FROM lg_prod_nodes_vault_root"""
_SUBJECT_KEY: LiteralString = """
    WITH new AS (
        INSERT INTO lg_prod_nodes_vault_keys AS held (id, subject_hash, wrapped_key)
        SELECT %(id)s, %(subject)s, %(new)s
        WHERE NOT EXISTS (SELECT FROM lg_prod_nodes_vault_keys WHERE subject_hash = %(subject)s)
        ON CONFLICT (subject_hash) DO UPDATE SET wrapped_key = held.wrapped_key
        RETURNING id, wrapped_key)
    SELECT id, wrapped_key FROM new UNION ALL
    SELECT id, wrapped_key FROM lg_prod_nodes_vault_keys WHERE subject_hash = %(subject)s"""
# The key is locked before its values are, as in a DELETE of it: who comes second waits, and finds the key gone if that
# was the DELETE. Values are in order, so that two batches never wait for each other.
_KEEP: LiteralString = """
    WITH alive AS (SELECT id FROM lg_prod_nodes_vault_keys WHERE id = %(key)s FOR KEY SHARE),
    new AS (
        INSERT INTO lg_prod_nodes_vault AS held (key_id, token, value)
        SELECT alive.id, given.token, given.value
        FROM alive, unnest(%(tokens)s::text[], %(values)s::bytea[]) AS given (token, value)
        WHERE NOT EXISTS (SELECT FROM lg_prod_nodes_vault known
                          WHERE known.key_id = alive.id AND known.token = given.token)
        ORDER BY given.token
        ON CONFLICT (key_id, token) DO UPDATE SET value = held.value
        RETURNING token, value)
    SELECT token, value FROM new UNION ALL
    SELECT token, value FROM lg_prod_nodes_vault JOIN alive ON key_id = alive.id
    WHERE token = ANY(%(tokens)s)"""

_REPLACE_ROOT: LiteralString = """
    UPDATE lg_prod_nodes_vault_root SET wrapped_key = %(new)s WHERE wrapped_key = %(old)s
    RETURNING id"""
_READ: LiteralString = """
    SELECT id, wrapped_key, token, value FROM lg_prod_nodes_vault_keys
    LEFT JOIN lg_prod_nodes_vault ON key_id = id AND token = ANY(%(tokens)s)
    WHERE subject_hash = %(subject)s"""
_FORGET: LiteralString = """
    DELETE FROM lg_prod_nodes_vault_keys WHERE subject_hash = %(subject)s RETURNING id"""
# Takes the bytes of deleted rows out of the tables' pages. The indexes, which have digests and tokens only, are left to
# autovacuum, and so is a table that somebody else has locked.
_CLEAN_UP = """
    VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) lg_prod_nodes_vault_keys, lg_prod_nodes_vault"""


class PostgresRecords:
    """Sealed records in Postgres.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.

    Raises:
        ConfigurationError: The DSN cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)

    def __str__(self) -> str:
        return f"in the Postgres at {self._postgres.host}"

    def root(self, new: bytes) -> bytes:
        """The wrapped root key; the given one if there was none."""
        ((held,),) = self._postgres.rows(_ROOT, new=new)
        return bytes(held)

    def replace_root(self, old: bytes, new: bytes) -> None:
        """Replace a wrapped root key, if it is still there."""
        self._postgres.rows(_REPLACE_ROOT, old=old, new=new)

    def subject_key(self, subject: bytes, id: UUID, new: bytes) -> tuple[UUID, bytes]:
        """A subject's wrapped key and its id; the given ones if there were none."""
        ((held_id, held),) = self._postgres.rows(_SUBJECT_KEY, subject=subject, id=id, new=new)
        return held_id, held

    def keep(self, key: UUID, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Add the values whose tokens are new, and give what is there at all of them; nothing if the key is gone."""
        tokens, sealed = list(values), list(values.values())
        return dict(self._postgres.rows(_KEEP, key=key, tokens=tokens, values=sealed))

    def read(
        self, subject: bytes, tokens: Sequence[str]
    ) -> tuple[tuple[UUID, bytes] | None, dict[str, bytes]]:
        """A subject's key, and its values by token."""
        rows = self._postgres.rows(_READ, subject=subject, tokens=list(tokens))
        values = {token: value for _, _, token, value in rows if token is not None}
        return (rows[0][:2] if rows else None), values

    def forget(self, subject: bytes) -> bool:
        """Delete a subject's key and values; whether there was one."""
        was_there = bool(self._postgres.rows(_FORGET, subject=subject))
        if was_there:
            with suppress(StoreUnavailable):  # they are deleted all the same
                self._postgres.run(_CLEAN_UP)
        return was_there

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()
