"""Search for leaked values: in every column of every row of every table, and in texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

_TABLES = """
    SELECT table_schema, table_name, array_agg(column_name::text), array_agg(data_type::text)
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    GROUP BY 1, 2 ORDER BY 1, 2"""
_SEPARATORS = re.compile(r"[\s().\-/]+")


@dataclass(frozen=True)
class Search:
    """What was searched, and how many places hold one of the values; never the values."""

    tables: int = 0
    rows: int = 0
    found: Counter[str] = field(default_factory=Counter)


class Needles:
    """Values to search for: as written, without separators, and as bare digits."""

    def __init__(self, values: Iterable[str]) -> None:
        as_written = {value.lower() for value in values}
        digits = {re.sub(r"\D", "", value) for value in as_written}
        squeezed = {_squeeze(value) for value in as_written} | {
            run for run in digits if len(run) >= 9
        }
        self._as_written, self._squeezed = _any_of(as_written), _any_of(squeezed)

    def in_text(self, text: str) -> bool:
        text = text.lower()
        return bool(self._as_written.search(text) or self._squeezed.search(_squeeze(text)))


def search_database(dsn: str, needles: Needles) -> Search:
    """Read the whole database and count, by table, the rows that hold one of the values."""
    tables, rows, found = 0, 0, Counter[str]()
    with psycopg.connect(dsn) as connection:
        for schema, table, columns, types in connection.execute(_TABLES).fetchall():
            tables += 1
            with connection.cursor(
                name="rows"
            ) as cursor:  # on the server's side: a table may be large
                cursor.execute(_select(schema, table, columns, types))
                for row in cursor:
                    rows += 1
                    found[table] += needles.in_text("\n".join(map(_as_text, row)))
    return Search(tables, rows, +found)


def search_texts(texts: Iterable[str], needles: Needles) -> int:
    """Count the texts that hold one of the values."""
    return sum(map(needles.in_text, texts))


def _select(schema: str, table: str, columns: list[str], types: list[str]) -> sql.Composed:
    """Every column: bytes as they are, all others as text."""
    wanted = [
        sql.Identifier(column)
        if type_ == "bytea"
        else sql.SQL("{}::text").format(sql.Identifier(column))
        for column, type_ in zip(columns, types, strict=True)
    ]
    return sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(wanted), sql.Identifier(schema, table)
    )


def _as_text(cell: Any) -> str:
    """Bytes hold msgpack, JSON or text: in all three a text stands as plain UTF-8."""
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell or ""


def _squeeze(text: str) -> str:
    return _SEPARATORS.sub("", text)


def _any_of(values: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))) or r"(?!)")
