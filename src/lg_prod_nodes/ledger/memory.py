"""The latest entries of a ledger, in the memory of one process, alone or beside a database."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger.entries import STATES, Entry, UsageRow, counts
from lg_prod_nodes.ledger.query import Query

if TYPE_CHECKING:
    from lg_prod_nodes.ledger.postgres import PostgresEntries


class MemoryEntries:
    """The latest entries, and the latest kept execution of each task.

    Args:
        max_entries: The most to store.
    """

    def __init__(self, max_entries: int) -> None:
        self._most = max_entries
        self._entries: dict[str, Entry] = {}
        self._kept: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def unsent(self) -> int:
        """There is nothing to send."""
        return 0

    @property
    def lag(self) -> float:
        """Nothing waits."""
        return 0.0

    def has(self, id: str) -> bool:
        """Whether the entry of a call is here."""
        return id in self._entries

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written here."""
        return not self._entries and not self._kept

    def put(self, entry: Entry) -> None:
        """Write an entry; what is known better already stays."""
        with self._lock:
            known = self._entries.get(entry.id)
            if known is None or STATES.index(known.state) < STATES.index(entry.state):
                self._entries[entry.id] = entry
                _forget_oldest(self._entries, self._most)

    def keep(self, task: str, execution: str, at: datetime) -> None:
        """Write that an execution of a task is the one that counts."""
        with self._lock:
            self._kept.pop(task, None)
            self._kept[task] = execution
            _forget_oldest(self._kept, self._most)

    def settle(self, entries: Iterable[Entry]) -> None:
        """Write what became known of entries in doubt."""
        for entry in entries:
            self.put(entry)

    def entries(self, query: Query, *, in_doubt: bool = False) -> list[Entry]:
        """The entries asked for, in the order in which they were written."""
        with self._lock:
            held = list(self._entries.values())
        return [e for e in held if query.matches(e) and (not in_doubt or e.state == "in_doubt")]

    def sums(self, query: Query) -> list[UsageRow]:
        """The usage asked for."""
        groups: dict[tuple[str | None, ...], UsageRow] = {} if query.by else {(): _empty(())}
        for entry in self.entries(query):
            key = query.key(entry)
            groups[key] = self._added(groups.get(key) or _empty(key), entry)
        return list(groups.values())

    def _added(self, row: UsageRow, entry: Entry) -> UsageRow:
        if entry.state == "in_doubt":
            return replace(row, in_doubt=row.in_doubt + entry.usage)
        row = replace(row, spent=row.spent + entry.usage)
        if not counts(entry, self._kept):
            return row
        return replace(row, effective=row.effective + entry.usage)

    def wake(self) -> None:
        """There is nothing to send."""

    def flush(self) -> None:
        """There is nothing to send."""

    def close(self) -> None:
        """There is nothing to close."""


class CombinedEntries:
    """Entries of a ledger that got a database later: each where it began, summed together.

    Args:
        memory: The earlier ones.
        postgres: All others.
    """

    def __init__(self, memory: MemoryEntries, postgres: PostgresEntries) -> None:
        self._memory, self._postgres = memory, postgres

    @property
    def unsent(self) -> int:
        """How many bytes of this process's journal wait."""
        return self._postgres.unsent

    @property
    def lag(self) -> float:
        """Seconds for which the oldest entry of the journal has waited."""
        return self._postgres.lag

    def put(self, entry: Entry) -> None:
        """Write an entry where its call was begun."""
        self._backend_of(entry).put(entry)

    def keep(self, task: str, execution: str, at: datetime) -> None:
        """Write that an execution of a task is the one that counts, wherever the others are."""
        self._memory.keep(task, execution, at)
        self._postgres.keep(task, execution, at)

    def settle(self, entries: Iterable[Entry]) -> None:
        """Write what became known of entries in doubt."""
        known = list(entries)
        for backend in (self._memory, self._postgres):
            backend.settle([entry for entry in known if self._backend_of(entry) is backend])

    def entries(self, query: Query, *, in_doubt: bool = False) -> list[Entry]:
        """The entries asked for, the oldest first."""
        backends: tuple[MemoryEntries | PostgresEntries, ...] = (self._memory, self._postgres)
        found = [
            entry for backend in backends for entry in backend.entries(query, in_doubt=in_doubt)
        ]
        return sorted(found, key=lambda entry: entry.at)

    def sums(self, query: Query) -> list[UsageRow]:
        """The usage asked for."""
        groups = {row.key: row for row in self._memory.sums(query)}
        for row in self._postgres.sums(query):
            groups[row.key] = _sum(groups[row.key], row) if row.key in groups else row
        return list(groups.values())

    def wake(self) -> None:
        """Let the thread send what waits."""
        self._postgres.wake()

    def flush(self) -> None:
        """Send what waits, and what dead processes have left."""
        self._postgres.flush()

    def close(self) -> None:
        """Send what waits, within a bounded time, and close the connections."""
        self._postgres.close()

    def _backend_of(self, entry: Entry) -> MemoryEntries | PostgresEntries:
        return self._memory if self._memory.has(entry.id) else self._postgres


def _empty(key: tuple[str | None, ...]) -> UsageRow:
    return UsageRow(key, Usage(), Usage(), Usage())


def _forget_oldest(held: dict[str, Entry] | dict[str, str], most: int) -> None:
    if len(held) > most:
        del held[next(iter(held))]


def _sum(one: UsageRow, other: UsageRow) -> UsageRow:
    return UsageRow(
        one.key,
        one.spent + other.spent,
        one.effective + other.effective,
        one.in_doubt + other.in_doubt,
    )
