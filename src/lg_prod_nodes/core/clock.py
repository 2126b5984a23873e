"""Time, as policies see it: a clock that a test can replace, and waits that end early."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from lg_prod_nodes.core.errors import ConfigurationError

_SLICE = 0.25


def check_seconds(**settings: float | None) -> None:
    """Check that settings are seconds above 0, or left out.

    Raises:
        ConfigurationError: One of them is not.
    """
    for name, seconds in settings.items():
        if seconds is not None and not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds!r}; give seconds, more than 0")


class Bell:
    """Ends waits early, from whatever thread it is rung, in whatever thread or event loop somebody waits."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._listeners: list[Callable[[], None]] = []

    def ring(self) -> None:
        """Wake whoever waits; who waits later does not wait at all."""
        with self._lock:
            self._rung.set()
            waiting, self._waiting = self._waiting, {}
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
        for future, loop in waiting.items():
            with suppress(RuntimeError):  # its loop is closed, so nobody waits
                loop.call_soon_threadsafe(_wake, future)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function when the bell rings, at once if it has; from whatever thread that happens in."""
        with self._lock:
            if not self._rung.is_set():
                self._listeners.append(listener)
                return
        listener()

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


class Clock(Protocol):
    """Where policies take the time from; a test hands in its own."""

    def now(self) -> float:
        """Seconds on a clock that never goes back, for durations."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this thread, until a bell rings at the latest."""
        ...

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this task, until a bell rings at the latest."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.perf_counter()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this thread, until a bell rings at the latest."""
        if bell is None:
            time.sleep(seconds)
        else:
            bell.wait(seconds)

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this task, until a bell rings at the latest."""
        if bell is None:
            await asyncio.sleep(seconds)
        else:
            await bell.await_(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """Until when a run has to end.

    Attributes:
        seconds: How long it may take in all.
        ends: When that is over, as its clock's `now` tells.
        clock: Its clock.
    """

    seconds: float
    ends: float
    clock: Clock

    def remaining(self) -> float:
        """Seconds left, less than 0 when it is over."""
        return self.ends - self.clock.now()
