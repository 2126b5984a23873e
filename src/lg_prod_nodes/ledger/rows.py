"""A ledger's rows in Postgres: two tables, written by one statement a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, LiteralString

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.ledger.entries import Dimension, Record, UsageRow
from lg_prod_nodes.ledger.query import Query

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_ledger": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_ledger (
            id text PRIMARY KEY, at timestamptz NOT NULL, state smallint NOT NULL,
            run_id text NOT NULL, thread_id text, user_id text, tenant_id text, assistant_id text,
            graph text NOT NULL, node text, model text NOT NULL, task text, execution text,
            outer_tasks text[] NOT NULL, outer_executions text[] NOT NULL, calls smallint NOT NULL,
            input_tokens bigint NOT NULL, output_tokens bigint NOT NULL,
            cache_read_tokens bigint NOT NULL, cache_write_tokens bigint NOT NULL,
            reasoning_tokens bigint NOT NULL, cost numeric, estimated boolean NOT NULL)""",
    "lg_prod_nodes_ledger_at": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_ledger_at ON lg_prod_nodes_ledger (at)""",
    "lg_prod_nodes_ledger_kept": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_ledger_kept (
            task text PRIMARY KEY, execution text NOT NULL, at timestamptz NOT NULL)""",
    "lg_prod_nodes_ledger_kept_at": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_ledger_kept_at ON lg_prod_nodes_ledger_kept (at)""",
}

_COLUMNS: dict[Dimension, LiteralString] = {
    "user": "user_id",
    "tenant": "tenant_id",
    "assistant": "assistant_id",
    "thread": "thread_id",
    "run": "run_id",
    "graph": "graph",
    "node": "node",
    "model": "model",
}
_TOKENS: LiteralString = (
    "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens"
)
_NAMES: LiteralString = ", ".join(_COLUMNS.values())
_REST: LiteralString = (
    f"task, execution, outer_tasks, outer_executions, state, calls, {_TOKENS}, cost, estimated"
)
_FIELDS: LiteralString = f"id, {_NAMES}, {_REST}"

# Rows are in order, so that two batches never wait for each other. What is known better already stays.
_WRITE: LiteralString = f"""
    WITH kept AS (
        INSERT INTO lg_prod_nodes_ledger_kept AS held (task, execution, at)
        SELECT kept, execution, to_timestamp(at)
        FROM jsonb_to_recordset(%(kept)s::jsonb) AS new (kept text, execution text, at float8)
        ORDER BY kept
        ON CONFLICT (task) DO UPDATE SET execution = EXCLUDED.execution, at = EXCLUDED.at
        WHERE held.at <= EXCLUDED.at)
    INSERT INTO lg_prod_nodes_ledger AS held (at, {_FIELDS})
    SELECT to_timestamp(at), id, "user", tenant, assistant, thread, run, graph, node, model, {_REST}
    FROM jsonb_to_recordset(%(calls)s::jsonb) AS new (
        id text, at float8, state smallint, run text, thread text, "user" text, tenant text,
        assistant text, graph text, node text, model text, task text, execution text,
        outer_tasks text[], outer_executions text[], calls smallint,
        input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,
        cache_write_tokens bigint, reasoning_tokens bigint, cost numeric, estimated boolean)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        state = EXCLUDED.state, model = EXCLUDED.model, node = EXCLUDED.node, task = EXCLUDED.task,
        execution = EXCLUDED.execution, outer_tasks = EXCLUDED.outer_tasks,
        outer_executions = EXCLUDED.outer_executions, calls = EXCLUDED.calls,
        input_tokens = EXCLUDED.input_tokens, output_tokens = EXCLUDED.output_tokens,
        cache_read_tokens = EXCLUDED.cache_read_tokens,
        cache_write_tokens = EXCLUDED.cache_write_tokens,
        reasoning_tokens = EXCLUDED.reasoning_tokens,
        cost = EXCLUDED.cost, estimated = EXCLUDED.estimated
    WHERE held.state < EXCLUDED.state
    RETURNING 1"""

_DELETE: tuple[LiteralString, ...] = (
    """DELETE FROM lg_prod_nodes_ledger WHERE id IN (
        SELECT id FROM lg_prod_nodes_ledger WHERE at < %(before)s ORDER BY at LIMIT %(most)s)
    RETURNING 1""",
    """DELETE FROM lg_prod_nodes_ledger_kept WHERE task IN (
        SELECT task FROM lg_prod_nodes_ledger_kept WHERE at < %(before)s ORDER BY at LIMIT %(most)s)
    RETURNING 1""",
)
_MOST = 5_000  # rows in one DELETE: each is short, so that it holds nobody up


def _summed(condition: LiteralString) -> LiteralString:
    """The sums of a `Usage`, in its order, over the rows of a condition."""
    of: LiteralString = f"FILTER (WHERE {condition})"
    tokens: list[LiteralString] = [
        f"coalesce(sum({column}) {of}, 0)::bigint" for column in _TOKENS.split(", ")
    ]
    return ", ".join(
        [
            f"coalesce(sum(calls) {of}, 0)::bigint",
            *tokens,
            f"coalesce(sum(cost) {of}, 0)",
            f"coalesce(sum(calls) FILTER (WHERE {condition} AND cost IS NULL), 0)::bigint",
            f"coalesce(sum(calls) FILTER (WHERE {condition} AND estimated), 0)::bigint",
        ]
    )


# What `counts` says of an entry.
_COUNTS: LiteralString = """
    call.execution IS NULL OR call.execution = kept.execution AND NOT EXISTS (
        SELECT FROM unnest(call.outer_tasks, call.outer_executions) AS outside (task, execution)
        LEFT JOIN lg_prod_nodes_ledger_kept held USING (task)
        WHERE substring(outside.execution FROM '[^:]*$')
           <> substring(coalesce(held.execution, ':1') FROM '[^:]*$'))"""
_SPENT = _summed("state > 0")
_EFFECTIVE = _summed("state > 0 AND counts")
_IN_DOUBT = _summed("state = 0")


class Rows:
    """The rows of a ledger.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.

    Raises:
        ConfigurationError: The DSN cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)

    def write(self, records: Iterable[Record]) -> None:
        """Write entries and kept executions, in one round trip. Writing them again changes nothing."""
        calls: dict[str, Record] = {}
        kept: dict[str, Record] = {}
        for record in records:
            if (task := record.get("kept")) is not None:
                if task not in kept or kept[task]["at"] <= record["at"]:
                    kept[task] = record
            elif (id := record["id"]) not in calls or calls[id]["state"] < record["state"]:
                calls[id] = record
        if calls or kept:
            self._postgres.rows(_WRITE, calls=_json(calls), kept=_json(kept))

    def read(self, query: Query, *, in_doubt: bool) -> list[Record]:
        """The entries asked for, the oldest first."""
        where, values = _where(query)
        doubt: LiteralString = " AND state = 0" if in_doubt else ""
        rows = self._postgres.rows(
            f"SELECT {_FIELDS}, extract(epoch FROM at) FROM lg_prod_nodes_ledger call "
            f"WHERE {where}{doubt} ORDER BY at, id",
            **values,
        )
        names = ("id", *_COLUMNS, *_FIELDS.split(", ")[len(_COLUMNS) + 1 :], "at")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def sums(self, query: Query) -> list[UsageRow]:
        """The usage asked for."""
        where, values = _where(query)
        columns: LiteralString = ", ".join([_COLUMNS[name] for name in query.by])
        keys, group = (f"{columns}, ", f"GROUP BY {columns}") if query.by else ("", "")
        rows = self._postgres.rows(
            f"SELECT {keys}{_SPENT}, {_EFFECTIVE}, {_IN_DOUBT} FROM ("
            f"SELECT call.*, ({_COUNTS}) AS counts FROM lg_prod_nodes_ledger call "
            f"LEFT JOIN lg_prod_nodes_ledger_kept kept USING (task) WHERE {where}) AS asked {group}",
            **values,
        )
        return [_usage_row(row, len(query.by)) for row in rows]

    def delete(self, before: datetime) -> None:
        """Delete what is older, some thousand rows at a time."""
        for statement in _DELETE:
            while len(self._postgres.rows(statement, before=before, most=_MOST)) == _MOST:
                pass

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()


def _json(records: Mapping[str, Record]) -> str:
    return json.dumps(list(records.values()))


def _where(query: Query) -> tuple[LiteralString, dict[str, Any]]:
    """The condition of a query, and its values; `array_position` finds NULL too."""
    conditions: list[LiteralString] = ["true"]
    values: dict[str, Any] = {"since": query.since, "until": query.until}
    if query.since is not None:
        conditions.append("call.at >= %(since)s")
    if query.until is not None:
        conditions.append("call.at < %(until)s")
    for name, column in _COLUMNS.items():
        if name in query.where:
            conditions.append(f"array_position(%({column})s::text[], {column}) IS NOT NULL")
            values[column] = list(query.where[name])
    return " AND ".join(conditions), values


def _usage_row(row: tuple[Any, ...], keys: int) -> UsageRow:
    sums, size = row[keys:], (len(row) - keys) // 3
    spent, effective, in_doubt = (Usage(*sums[at : at + size]) for at in (0, size, 2 * size))
    return UsageRow(row[:keys], spent, effective, in_doubt)
