"""What model calls cost: one entry a call, summed by whom, where and with what."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from lg_prod_nodes.run import Usage

Price = Callable[[str, Usage], Decimal | None]
"""Gives the price of a model's usage in US dollars, `None` where it is not known."""

Dimension = Literal["user", "node", "run", "thread", "model", "graph"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model call."""

    id: str
    run: str
    thread: str | None
    user: str | None
    graph: str
    node: str | None
    model: str
    usage: Usage


class Ledger:
    """Entries of model calls in memory, the latest ones.

    Args:
        price: Prices a call; `prices.list_price` knows the providers' own lists.
        max_entries: How many entries are kept.
    """

    def __init__(self, *, price: Price | None = None, max_entries: int = 100_000) -> None:
        self._price = price or _unpriced
        self._entries: deque[Entry] = deque(maxlen=max_entries)
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> Decimal | None:
        """Note a call, once.

        Returns:
            Its price in US dollars, `None` where it is not known.
        """
        try:
            cost = self._price(entry.model, entry.usage)
        except Exception:
            self._append(entry)
            raise
        if cost is not None:
            entry = replace(entry, usage=replace(entry.usage, cost=cost, unpriced_calls=0))
        self._append(entry)
        return cost

    def _append(self, entry: Entry) -> None:
        with self._lock:
            if entry.id in self._ids:
                return
            if len(self._entries) == self._entries.maxlen:
                self._ids.discard(self._entries[0].id)
            self._ids.add(entry.id)
            self._entries.append(entry)

    def entries(self) -> tuple[Entry, ...]:
        """The entries kept, oldest first."""
        with self._lock:
            return tuple(self._entries)

    def total(self, *, by: Dimension) -> dict[str | None, Usage]:
        """Usage summed by user, node, run, thread, model or graph, the greatest first."""
        sums: dict[str | None, Usage] = {}
        for entry in self.entries():
            key = getattr(entry, by)
            sums[key] = sums.get(key, Usage()) + entry.usage
        return dict(sorted(sums.items(), key=lambda item: -item[1].total_tokens))


def _unpriced(model: str, usage: Usage) -> Decimal | None:
    return None
