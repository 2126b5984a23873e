"""Where a ledger keeps its entries for one process: the latest ones, in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger.entries import STATES, Entry, UsageRow, counts
from lg_prod_nodes.ledger.query import Query


class MemoryEntries:
    """The latest entries, and the latest kept execution of each task.

    Args:
        max_entries: How many are kept.
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


def _empty(key: tuple[str | None, ...]) -> UsageRow:
    return UsageRow(key, Usage(), Usage(), Usage())


def _forget_oldest(held: dict[str, Entry] | dict[str, str], most: int) -> None:
    if len(held) > most:
        del held[next(iter(held))]
