"""The runs that go on in this process: who is told to come to a checkpoint, and who has to be waited for."""

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
        """Ask it."""
        ...


class InFlight:
    """Knows the runs that go on, and lets none begin where it drains."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Know of nothing, as a process does that was forked just now."""
        self._runs: dict[object, tuple[Stoppable, object]] = {}  # a run may go on more than once
        self._draining: Counter[int] = Counter()  # by identity: graphs may have equal policies
        self._changed = threading.Condition()

    @property
    def is_draining(self) -> bool:
        """Whether the whole process is about to end, so that no run may begin."""
        return self._draining[id(None)] > 0

    def count(self, of: object = None) -> int:
        """How many runs go on, of one graph or of all."""
        with self._changed:
            return len(self._runs_of(of))

    @contextmanager
    def held(self, run: Stoppable, of: object) -> Generator[bool]:
        """Count a run of a graph in and out; gives whether it may begin."""
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
        """Let no run begin, and ask those that go on to stop; of one graph or of all."""
        with self._changed:
            self._draining[id(of)] += 1
            runs = self._runs_of(of)
        for run in runs:
            run.request_drain(reason)

    def reopen(self, of: object = None) -> None:
        """Take back one `drain`."""
        with self._changed:
            self._draining[id(of)] -= 1

    def wait(self, seconds: float, of: object = None) -> bool:
        """Wait until no run goes on; tells whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs_of(of), seconds)

    def _runs_of(self, of: object) -> list[Stoppable]:
        return [run for run, owner in self._runs.values() if of is None or owner is of]


IN_FLIGHT = InFlight()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IN_FLIGHT.begin)
