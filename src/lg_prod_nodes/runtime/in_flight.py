"""The runs in flight in this process: a drain asks them to stop and waits for them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """A run that can be asked to stop at its next checkpoint."""

    def request_drain(self, reason: str) -> None:
        """Ask the run to stop."""
        ...


class InFlight:
    """Counts the runs in flight and admits none while draining."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Reset all counts, as in a freshly forked process."""
        self._runs: dict[object, tuple[Stoppable, object]] = {}  # one run may be here twice
        self._draining: Counter[int] = Counter()  # by identity: graphs may have equal policies
        self._changed = threading.Condition()

    @property
    def is_draining(self) -> bool:
        """Whether the whole process is shutting down, so that no run may start."""
        return self._draining[id(None)] > 0

    def count(self, of: object = None) -> int:
        """The number of runs in flight, of one graph or of all."""
        with self._changed:
            return len(self._runs_of(of))

    @contextmanager
    def held(self, run: Stoppable, of: object) -> Generator[bool]:
        """Count a run in for the duration of the block; yields whether it may start."""
        held = object()
        with self._changed:
            may_begin = not (self.is_draining or self._draining[id(of)])
            if may_begin:
                self._runs[held] = run, of
        try:
            yield may_begin
        finally:
            with self._changed:
                self._runs.pop(held, None)
                self._changed.notify_all()

    def drain(self, reason: str, of: object = None) -> None:
        """Admit no more runs and ask those in flight to stop, of one graph or of all."""
        with self._changed:
            self._draining[id(of)] += 1
            runs = self._runs_of(of)
        for run in runs:
            run.request_drain(reason)

    def reopen(self, of: object = None) -> None:
        """Undo one `drain`."""
        with self._changed:
            self._draining[id(of)] -= 1

    def wait(self, seconds: float, of: object = None) -> bool:
        """Wait until no run is in flight; returns whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs_of(of), seconds)

    def _runs_of(self, of: object) -> list[Stoppable]:
        return [run for run, owner in self._runs.values() if of is None or owner is of]


IN_FLIGHT = InFlight()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IN_FLIGHT.begin)
