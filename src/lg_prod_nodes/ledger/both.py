"""Where a ledger keeps its entries that got a database later: earlier ones in memory, further ones there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lg_prod_nodes.ledger.entries import Entry, UsageRow
from lg_prod_nodes.ledger.memory import MemoryEntries
from lg_prod_nodes.ledger.postgres import PostgresEntries
from lg_prod_nodes.ledger.query import Query


class CombinedEntries:
    """Entries where they were begun, in memory or in Postgres, summed together.

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
        backends = (self._memory, self._postgres)
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


def _sum(one: UsageRow, other: UsageRow) -> UsageRow:
    return UsageRow(
        one.key,
        one.spent + other.spent,
        one.effective + other.effective,
        one.in_doubt + other.in_doubt,
    )
