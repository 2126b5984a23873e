"""Lines of threads in Postgres. Whoever waits is notified, unless a transaction pooler stands between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, LiteralString

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.listener import ChannelListener
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.stores.threads.backend import Row

_CHANNEL: LiteralString = "lg_prod_nodes_threads"
FENCED_STATE = "LGP01"
"""The SQLSTATE of `lg_prod_nodes_fence` for a lease that is not held."""

_PACE = 0.25  # seconds between two looks, where nobody is notified

# `fence` is in a unique index, so that a transaction that checks it FOR KEY SHARE ends before the thread passes on.
TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_workers": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_workers (
            worker text PRIMARY KEY, alive_until timestamptz NOT NULL) WITH (fillfactor = 50)""",
    "lg_prod_nodes_threads": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_threads (
            name text PRIMARY KEY, fence bigint NOT NULL, line text NOT NULL, UNIQUE (name, fence))""",
    "lg_prod_nodes_fence": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_fence(of text, number bigint) RETURNS void
        LANGUAGE plpgsql AS $$ BEGIN
            PERFORM FROM lg_prod_nodes_threads t WHERE t.name = of AND t.fence = number FOR KEY SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'this run no longer has its thread' USING ERRCODE = 'LGP01';
            END IF;
        END $$""",
}
_ALIVE: LiteralString = """(
    SELECT json_object_agg(w.worker, extract(epoch FROM w.alive_until - clock_timestamp()))
    FROM lg_prod_nodes_workers w
    WHERE w.alive_until > clock_timestamp() AND position(w.worker IN t.line) > 0)"""
_READ: LiteralString = f"""
    SELECT t.line, t.fence, {_ALIVE} FROM lg_prod_nodes_threads t WHERE t.name = %(name)s"""
# A lease that a crash of the server forgets is not worth waiting for the disk: its run can write no more.
_FAST: LiteralString = "set_config('synchronous_commit', 'off', true)"
_NEXT: LiteralString = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_NOTIFIED: LiteralString = f"""
    SELECT fence, CASE WHEN %(watched)s THEN pg_notify('{_CHANNEL}', %(name)s) END FROM changed"""
_ADD: LiteralString = f"""
    WITH changed AS (
        INSERT INTO lg_prod_nodes_threads (name, fence, line)
        SELECT %(name)s, {_NEXT}, %(new)s FROM {_FAST}
        ON CONFLICT DO NOTHING RETURNING fence)
    {_NOTIFIED}"""
_SWAP: LiteralString = f"""
    WITH changed AS (
        UPDATE lg_prod_nodes_threads SET line = %(new)s,
            fence = CASE WHEN %(passes)s THEN greatest(fence + 1, {_NEXT}) ELSE fence END
        FROM {_FAST} WHERE name = %(name)s AND line = %(old)s RETURNING fence)
    {_NOTIFIED}"""
_DROP: LiteralString = f"""
    WITH changed AS (
        DELETE FROM lg_prod_nodes_threads USING {_FAST}
        WHERE name = %(name)s AND line = %(old)s RETURNING fence)
    {_NOTIFIED}"""
_BEAT: LiteralString = f"""
    WITH beaten AS (
        INSERT INTO lg_prod_nodes_workers AS w (worker, alive_until)
        SELECT %(worker)s, clock_timestamp() + make_interval(secs => %(seconds)s) FROM {_FAST}
        ON CONFLICT (worker) DO UPDATE SET alive_until = excluded.alive_until),
    dead AS (
        DELETE FROM lg_prod_nodes_workers WHERE alive_until < now() - interval '1 day')
    SELECT t.name, t.line, t.fence, {_ALIVE} FROM lg_prod_nodes_threads t
    WHERE position(%(worker)s IN t.line) > 0"""
_FIND: LiteralString = "SELECT name FROM lg_prod_nodes_threads WHERE position(%(run)s IN line) > 0"


class PostgresThreads:
    """Lines as texts, by the name of the thread.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)
        self._listener = ChannelListener(dsn, _CHANNEL, timeout=timeout)

    def read(self, name: str, worker: str) -> Row:
        """Read a line."""
        rows = self._postgres.rows(_READ, name=name)
        return _row(*rows[0]) if rows else Row(None, 0, {})

    def swap(
        self, name: str, old: str | None, new: str, *, passes: bool, watched: bool
    ) -> int | None:
        """Store another line if the stored one still is `old`."""
        statement = _ADD if old is None else _SWAP if new else _DROP
        rows = self._postgres.rows(
            statement, name=name, old=old, new=new, passes=passes, watched=watched
        )
        return int(rows[0][0]) if rows else None

    def beat(self, worker: str, seconds: float) -> dict[str, Row]:
        """Say that a worker lives for some seconds more; return the lines that it is in."""
        rows = self._postgres.rows(_BEAT, worker=worker, seconds=seconds)
        return {name: _row(*values) for name, *values in rows}

    def find(self, run: str) -> list[str]:
        """Return the threads that may have a run."""
        return [str(name) for (name,) in self._postgres.rows(_FIND, run=run)]

    def changes(self, seconds: float) -> Iterator[str]:
        """Wait for notifications; where there are none, for as long as it takes to look again."""
        if self._listener.is_deaf:
            time.sleep(min(seconds, _PACE))
            return iter(())
        return self._listener.heard(seconds)

    def hang_up(self) -> None:
        """Close the connection that listens."""
        self._listener.close()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()


def _row(line: str, fence: int, alive: dict[str, Any] | None) -> Row:
    return Row(line, fence, {worker: float(left) for worker, left in (alive or {}).items()})
