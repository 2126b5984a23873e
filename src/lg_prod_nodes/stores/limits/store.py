"""Where the windows of rate limits are kept: in memory, in Redis or Valkey, or in Postgres."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from time import monotonic
from typing import Any

from pydantic import SecretStr

from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping, Resource
from lg_prod_nodes.core.secret import Secret, hidden, scheme_of
from lg_prod_nodes.databases.sharing import Sharing
from lg_prod_nodes.stores.limits.memory import MemoryLimits
from lg_prod_nodes.stores.limits.queue import Lines, Turn
from lg_prod_nodes.stores.limits.windows import (
    STRATEGIES,
    Decision,
    Limit,
    LimitBackend,
    Limits,
    Strategy,
    Window,
    parse_limits,
)
from lg_prod_nodes.stores.limits.workers import warn_of_workers

__all__ = [
    "STRATEGIES",
    "Decision",
    "Limit",
    "LimitStore",
    "Limits",
    "Strategy",
    "Window",
    "parse_limits",
]

_A_DAY = 86_400.0
_THREADS = 8


class LimitStore(Resource):
    """Windows of rate limits, shared by whoever uses the same place.

    Several limits are decided together, in one step over all workers. Close the store, or use it as a context manager
    (`with`, `async with`), when it is no longer needed.

    Args:
        url: `memory://` for this process alone; `redis://host:6379/0`, `valkey://host:6379/0` (also `rediss://`,
            `valkeys://`, `redis+sentinel://`) or `postgresql://host/database` for all workers. Without
            one, the database of the `Production` that it is used in, else memory.
        strategy: How a window moves, as `limits` names it. A moving window is exact: never more than the limit in any
            span of its length.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.
        pause: Seconds for which a place that did not answer is not asked again, so that not each call waits for it.
        remember: Seconds for which a charge is known, so that it counts once. `None` means a day, or the longest
            window that it was counted in if that is longer.

    Raises:
        ConfigurationError: The place or strategy is not known, a setting cannot work, or the place's client library
            is not installed.

    Example:
        ```python
        store = LimitStore("postgresql://localhost/app", strategy="sliding-window-counter")
        ```
    """

    label = "limits"

    def __init__(
        self,
        url: Secret | None = None,
        *,
        strategy: Strategy = "moving-window",
        timeout: float = 1.0,
        pause: float = 1.0,
        remember: float | None = None,
    ) -> None:
        if strategy not in STRATEGIES:
            raise ConfigurationError(
                f"unknown strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}"
            )
        _check_seconds(timeout=timeout, pause=pause, remember=remember)
        self.strategy: Strategy = strategy
        self._is_placed, self._timeout = url is not None, timeout
        self._sharing = Sharing("LimitStore")
        self._pause, self._remember = pause, remember
        self._down_until = 0.0
        self._lines = Lines()
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._at_end: weakref.finalize[..., LimitStore] | None = None
        self._put(hidden("memory://" if url is None else url))
        if self._is_placed and self._memory is not None:
            warn_of_workers()

    def _put(self, url: SecretStr) -> None:
        self._scheme = scheme_of(url)
        self._backend = _backend(url, self._scheme, self.strategy, self._timeout)
        self._memory = self._backend if isinstance(self._backend, MemoryLimits) else None
        self._spare = self._memory or MemoryLimits(self.strategy)
        if self._at_end is not None:
            self._at_end.detach()
        self._at_end = weakref.finalize(self, self._backend.close)

    def open(self, database: Secret | None = None) -> None:
        """Store in a Postgres until the store is closed, unless another backend was given.

        Raises:
            ConfigurationError: An open `Production` uses the store in another database.
        """
        if database is not None and not self._is_placed and self._sharing.join(database):
            self._close()
            self._put(hidden(database))

    def __repr__(self) -> str:
        return f"LimitStore('{self._scheme}://...', strategy={self.strategy!r})"

    @property
    def local(self) -> LimitStore:
        """Windows of the same strategy in this process, for the time that the place cannot be reached."""
        store = object.__new__(LimitStore)
        vars(store).update(vars(self), _backend=self._spare, _memory=self._spare)
        return store

    def turn(self, window: Hashable) -> AbstractContextManager[Turn]:
        """Have a turn in front of a window: those of this process who wait there come first."""
        return self._lines.turn(window)

    async def acquire(
        self, limits: Limits, who: str, *, blocking: bool, cost: int = 1, once: str | None = None
    ) -> Decision:
        """Count a call against limits that all have room, or count nothing.

        Args:
            limits: The limits, see `parse_limits`.
            who: Whom the call counts for.
            blocking: Whether the caller is synchronous.
            cost: How much the call counts.
            once: Identifies the charge, see `Call.charge`: one that was admitted already is admitted, and not counted.

        Raises:
            StoreUnavailable: The place cannot be reached.
        """
        if not self._is_placed and self._memory is not None:
            warn_of_workers()
        if once is None:
            if self._memory is not None:
                return self._memory.decide(limits, who, cost)
            return await self._decide(blocking, limits, who, cost)
        remember = self._remember or max(_A_DAY, *(limit.seconds for limit in limits))
        return await self._decide(blocking, limits, who, cost, once=once, remember=remember)

    async def adjust(
        self, limits: Limits, who: str, *, by: int, since: float, blocking: bool
    ) -> Decision:
        """Correct what a call was counted for: take more, even where there is no room, or give some back.

        Args:
            limits: The limits that admitted the call.
            who: Whom it counts for.
            by: How much more it counts, less than 0 for what is given back.
            since: `Decision.at` of its admission.
            blocking: Whether the caller is synchronous.

        Raises:
            StoreUnavailable: The place cannot be reached.
        """
        return await self._decide(blocking, limits, who, by, forced=True, since=since)

    async def _decide(self, blocking: bool, *args: Any, **options: Any) -> Decision:
        if self._memory is not None:
            return self._memory.decide(*args, **options)
        if blocking:
            return self._asked(*args, **options)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool(), partial(self._asked, *args, **options)
        )

    def _asked(self, *args: Any, **options: Any) -> Decision:
        if monotonic() < self._down_until:
            raise StoreUnavailable(
                f"the rate limit store ({self._scheme}) did not answer, and is not asked again for a moment"
            )
        try:
            return self._backend.decide(*args, **options)
        except StoreUnavailable:
            self._down_until = monotonic() + self._pause
            raise

    def _pool(self) -> ThreadPoolExecutor:
        """Threads for the callers of event loops, so that no connection belongs to a loop."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, "rate-limits")
            return self._threads

    def close(self) -> None:
        """Close the connections, unless an open `Production` uses them too; the next use opens new ones."""
        if self._sharing.leave():
            self._close()

    def _close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()
        self._backend.close()
        if not self._is_placed and self._memory is None:
            self._put(hidden("memory://"))

    def ping(self) -> Ping:
        """Ask the backend for a decision that changes nothing."""
        drive(self.adjust(parse_limits("1/day"), NOBODY, by=0, since=0.0, blocking=True))
        return Ping()


def _redis(url: SecretStr, strategy: Strategy, timeout: float) -> LimitBackend:
    from lg_prod_nodes.stores.limits.redis import RedisLimits

    return RedisLimits(url, strategy, timeout)


def _postgres(url: SecretStr, strategy: Strategy, timeout: float) -> LimitBackend:
    from lg_prod_nodes.stores.limits.postgres import PostgresLimits

    return PostgresLimits(url, strategy, timeout)


_REDIS = ("", "s", "+unix", "+sentinel")
_BACKENDS: dict[str, Callable[[SecretStr, Strategy, float], LimitBackend]] = {
    "memory": lambda url, strategy, timeout: MemoryLimits(strategy),
    **{f"{server}{variant}": _redis for server in ("redis", "valkey") for variant in _REDIS},
    "postgresql": _postgres,
    "postgres": _postgres,
}


def _backend(url: SecretStr, scheme: str, strategy: Strategy, timeout: float) -> LimitBackend:
    if scheme not in _BACKENDS:
        given = f"{scheme}://" if scheme else "what is no URL"
        raise ConfigurationError(
            f"cannot use {given} as a rate limit store; use memory://, redis://, valkey:// or postgresql://"
        )
    return _BACKENDS[scheme](url, strategy, timeout)


def _check_seconds(**settings: float | None) -> None:
    for name, seconds in settings.items():
        if seconds is not None and not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds!r}; give seconds, more than 0")
