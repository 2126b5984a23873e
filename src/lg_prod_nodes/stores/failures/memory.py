"""Failures of this process alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from lg_prod_nodes.stores.failures.failure import Failure

_MOST = 10_000


class MemoryFailures:
    """The latest failures, by id."""

    def __init__(self) -> None:
        self._kept: dict[str, Failure] = {}
        self._lock = threading.Lock()

    def add(self, failure: Failure, *, forget: datetime) -> None:
        """Store a failure, and forget those that came last before a time."""
        with self._lock:
            if (known := self._kept.pop(failure.id, None)) is not None:
                failure = replace(failure, first=known.first, count=known.count + 1)
            self._kept[failure.id] = failure
            oldest = next(iter(self._kept.values()))
            if len(self._kept) > _MOST or oldest.last < forget:
                del self._kept[oldest.id]

    def read(self, id: str) -> Failure | None:
        """A failure by its id."""
        return self._kept.get(id)

    def find(self, graph: str | None, *, resolved: bool, limit: int) -> Sequence[Failure]:
        """Failures, the latest first."""
        with self._lock:
            latest = reversed(self._kept.values())
            found = [
                failure
                for failure in latest
                if graph in (None, failure.graph) and (failure.resolved is not None) == resolved
            ]
        return found[:limit]

    def resolve(self, id: str, at: datetime) -> None:
        """Note when a failure was resolved."""
        with self._lock:
            if (failure := self._kept.get(id)) is not None:
                self._kept[id] = replace(failure, resolved=at)

    def close(self) -> None:
        """Nothing is open."""
