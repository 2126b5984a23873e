"""A clock that tests can replace, and waits that can end early."""

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
    """Check that settings are seconds above 0, or `None`.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    for name, seconds in settings.items():
        if seconds is not None and not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds!r}; give seconds, more than 0")


class Bell:
    """Ends waits early, across threads and event loops."""

    def __init__(self) -> None:
        self._has_rung = False
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._listeners: list[Callable[[], None]] = []

    def ring(self) -> None:
        """End all current and future waits, and call the listeners."""
        with self._lock:
            self._has_rung = True
            waiting, self._waiting = self._waiting, {}
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
        for future, loop in waiting.items():
            with suppress(RuntimeError):  # the loop is closed, so nothing waits
                loop.call_soon_threadsafe(_wake, future)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function when the bell rings, in the thread that rings it; at once if it has rung."""
        with self._lock:
            if not self._has_rung:
                self._listeners.append(listener)
                return
        listener()

    def _ignore(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def wait(self, seconds: float) -> bool:
        """Block for some seconds or until the bell rings; return whether it rang."""
        # In slices: a signal that arrives just before the main thread blocks is not handled until it wakes.
        ends, rung = time.monotonic() + seconds, threading.Event()
        self.listen(rung.set)
        try:
            while (left := ends - time.monotonic()) > _SLICE:
                if rung.wait(_SLICE):
                    return True
            return rung.wait(max(left, 0.0))
        finally:
            self._ignore(rung.set)

    async def await_(self, seconds: float) -> bool:
        """Like `wait`, on the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._has_rung:
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
    """The source of time for policies; tests pass their own."""

    def now(self) -> float:
        """Return seconds on a monotonic clock, for durations."""
        ...

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Block for some seconds, or until the bell rings."""
        ...

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Like `sleep`, on the event loop."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> float:
        """Return seconds on a monotonic clock."""
        return time.perf_counter()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Block for some seconds, or until the bell rings."""
        if bell is None:
            time.sleep(seconds)
        else:
            bell.wait(seconds)

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Like `sleep`, on the event loop."""
        if bell is None:
            await asyncio.sleep(seconds)
        else:
            await bell.await_(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The deadline of a run.

    Attributes:
        seconds: The most seconds that the run may take.
        ends: When it passes, on the clock's `now`.
        clock: The clock it is measured on.
    """

    seconds: float
    ends: float
    clock: Clock

    def remaining(self) -> float:
        """Return the seconds left, negative after the deadline."""
        return self.ends - self.clock.now()


def nearest(*limits: TimeLimit | None) -> TimeLimit | None:
    """Return the limit that ends first."""
    given = [limit for limit in limits if limit is not None]
    return min(given, key=TimeLimit.remaining, default=None)
