"""Circuits in the memory of this process."""

from __future__ import annotations

import threading

_MOST = 10_000


class MemoryCircuits:
    """Circuits as texts, by name; the one that has not changed for the longest is forgotten first."""

    def __init__(self) -> None:
        self._circuits: dict[str, str] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> str | None:
        """What is stored."""
        return self._circuits.get(name)

    def swap(self, name: str, old: str | None, new: str) -> bool:
        """Store another text if the stored one still is `old`; whether it was."""
        with self._lock:
            if self._circuits.get(name) != old:
                return False
            self._circuits.pop(name, None)
            self._circuits[name] = new
            if len(self._circuits) > _MOST:
                del self._circuits[next(iter(self._circuits))]
            return True

    def close(self) -> None:
        """Nothing is open."""
