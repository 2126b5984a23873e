"""The runs that go on in this process: who is told to come to a checkpoint, and who has to be waited for."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Protocol

_SLICE = 0.25


class Bell:
    """Ends waits early, from whatever thread it is rung, in whatever thread or event loop somebody waits."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def ring(self) -> None:
        """Wake whoever waits; who waits later does not wait at all."""
        with self._lock:
            self._rung.set()
            waiting, self._waiting = self._waiting, {}
        for future, loop in waiting.items():
            with suppress(RuntimeError):  # its loop is closed, so nobody waits
                loop.call_soon_threadsafe(_wake, future)

    def wait(self, seconds: float) -> bool:
        """Wait in this thread; tells whether the bell was rung."""
        # In slices: a signal that comes just before the main thread waits is not handled until it wakes.
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > _SLICE:
            if self._rung.wait(_SLICE):
                return True
        return self._rung.wait(max(left, 0.0))

    async def await_(self, seconds: float) -> bool:
        """Wait in this task; tells whether the bell was rung."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._rung.is_set():
                return True
            self._waiting[future] = loop
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


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
