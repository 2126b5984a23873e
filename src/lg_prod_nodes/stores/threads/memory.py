"""Lines of threads in the memory of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from weakref import WeakSet

from lg_prod_nodes.stores.threads.backend import Row


class MemoryThreads:
    """Lines as texts, by the name of the thread. The only worker is this process, which lives as long as they do."""

    def __init__(self) -> None:
        self.on_change: Callable[[str], None] = lambda name: None
        self._lines: dict[str, tuple[str, int]] = {}
        self._fence = 0
        self._lock = threading.Lock()
        _BACKENDS.add(self)

    def read(self, name: str, worker: str) -> Row:
        """Read a line."""
        text, fence = self._lines.get(name, (None, 0))
        return Row(text, fence, {worker: float("inf")})

    def swap(
        self, name: str, old: str | None, new: str, *, passes: bool, watched: bool
    ) -> int | None:
        """Store another line if the stored one still is `old`."""
        with self._lock:
            text, fence = self._lines.get(name, (None, 0))
            if text != old:
                return None
            if passes:
                self._fence = fence = self._fence + 1
            if new:
                self._lines[name] = new, fence
            else:
                self._lines.pop(name, None)
        if watched:
            self.on_change(name)
        return fence

    def beat(self, worker: str, seconds: float) -> dict[str, Row]:
        """Read all lines."""
        return {name: self.read(name, worker) for name in tuple(self._lines)}

    def find(self, run: str) -> list[str]:
        """Return the threads that may have a run."""
        return [name for name, (text, _) in tuple(self._lines.items()) if run in text]

    def changes(self, seconds: float) -> Iterator[str]:
        """Nothing comes from other processes."""
        return iter(())

    def hang_up(self) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing is open."""

    def forked(self) -> None:
        """Let go of what the parent process holds, and of a lock that one of its threads may have."""
        self._lock = threading.Lock()
        self._lines.clear()


_BACKENDS: WeakSet[MemoryThreads] = WeakSet()


def _forked() -> None:
    for backend in _BACKENDS:
        backend.forked()


os.register_at_fork(after_in_child=_forked)
