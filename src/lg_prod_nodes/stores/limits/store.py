"""Stores the windows of rate limits: in memory, in Redis or Valkey, or in Postgres."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from functools import partial
from time import monotonic
from typing import Any

from pydantic import SecretStr

from lg_prod_nodes.core.clock import check_seconds
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping
from lg_prod_nodes.core.secret import Secret
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
from lg_prod_nodes.stores.store import Store

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


class LimitStore(Store[LimitBackend]):
    """Stores the windows of rate limits, shared by all that use the same backend.

    Several limits are decided together, in one step across all workers. Close the store, or use it as a context manager
    (`with`, `async with`), when it is no longer needed.

    Args:
        url: `memory://` for this process alone; `redis://host:6379/0`, `valkey://host:6379/0` (also `rediss://`,
            `valkeys://`, `redis+sentinel://`) or `postgresql://host/database` for all workers. By default the
            database of the `Production` that uses it, else memory.
        strategy: How a window moves, as `limits` names it. A moving window is exact: never more than the limit in any
            span of its length.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.
        pause: Seconds for which a backend that timed out is not asked again, so that calls do not queue up for it.
        remember: Seconds for which a charge is remembered, so that it counts once. `None` means a day, or the longest
            window that it was counted in if that is longer.

    Raises:
        ConfigurationError: The backend or the strategy is unknown, a setting cannot work, or the backend's client
            library is not installed.

    Example:
        ```python
        store = LimitStore("postgresql://localhost/app", strategy="sliding-window-counter")
        ```
    """

    label = "limits"
    variants = ("unix", "sentinel")
    threads = 32  # Postgres decides together what they ask at the same time

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
        check_seconds(pause=pause, remember=remember)
        self.strategy: Strategy = strategy
        self._pause, self._remember = pause, remember
        self._down_until = 0.0
        self._lines = Lines()
        self._spare = MemoryLimits(strategy)
        super().__init__(url, timeout=timeout)
        if self._is_given and self.is_in_memory:
            warn_of_workers()

    def __repr__(self) -> str:
        return f"LimitStore('{self._scheme}://...', strategy={self.strategy!r})"

    @property
    def local(self) -> LimitStore:
        """Windows of the same strategy in this process, for as long as the backend cannot be reached."""
        store = object.__new__(LimitStore)
        vars(store).update(vars(self), _backend=self._spare, is_in_memory=True)
        return store

    def turn(self, window: Hashable) -> AbstractContextManager[Turn]:
        """Take a turn at a window, behind the callers of this process that already wait there."""
        return self._lines.turn(window)

    async def acquire(
        self, limits: Limits, who: str, *, blocking: bool, cost: int = 1, once: str | None = None
    ) -> Decision:
        """Count a call against all limits if none is exceeded, else against none.

        Args:
            limits: The limits, see `parse_limits`.
            who: The key.
            blocking: Whether the caller is synchronous.
            cost: How much the call counts.
            once: Identifies the charge, see `Call.charge`: one that was admitted already is admitted, and not counted.

        Raises:
            StoreUnavailable: The backend cannot be reached.
        """
        if self.is_in_memory and not self._is_given:
            warn_of_workers()
        if once is None:
            undo = partial(self._give_back, limits, who, cost)
            return await self._decide(blocking, limits, who, cost, undo=undo)
        remember = self._remember or max(_A_DAY, *(limit.seconds for limit in limits))
        return await self._decide(blocking, limits, who, cost, once=once, remember=remember)

    async def adjust(
        self, limits: Limits, who: str, *, by: int, since: float, blocking: bool
    ) -> Decision:
        """Correct the cost of a call: take more, even if that exceeds a limit, or give some back.

        Args:
            limits: The limits that admitted the call.
            who: The key.
            by: How much more it counts, less than 0 for what is given back.
            since: `Decision.at` of its admission.
            blocking: Whether the caller is synchronous.

        Raises:
            StoreUnavailable: The backend cannot be reached.
        """
        return await self._decide(blocking, limits, who, by, forced=True, since=since)

    async def _decide(
        self,
        blocking: bool,
        *args: Any,
        undo: Callable[[Decision], None] | None = None,
        **options: Any,
    ) -> Decision:
        if self.is_in_memory:
            return self._backend.decide(*args, **options)
        if blocking:
            return self._asked(*args, **options)
        return await self._in_thread(partial(self._asked, *args, **options), undo=undo)

    def _give_back(self, limits: Limits, who: str, cost: int, decision: Decision) -> None:
        """Undo a decision whose caller was cancelled."""
        if decision.admitted:
            with suppress(StoreUnavailable):
                self._asked(limits, who, -cost, forced=True, since=decision.at)

    def _asked(self, *args: Any, **options: Any) -> Decision:
        if monotonic() < self._down_until:
            raise StoreUnavailable(
                f"the rate limit store ({self._scheme}) timed out, and is not asked again for {self._pause:g} s"
            )
        try:
            return self._backend.decide(*args, **options)
        except StoreUnavailable:
            self._down_until = monotonic() + self._pause
            raise

    def ping(self) -> Ping:
        """Ask the backend for a decision that changes nothing."""
        drive(self.adjust(parse_limits("1/day"), NOBODY, by=0, since=0.0, blocking=True))
        return Ping()

    def _in_memory(self) -> LimitBackend:
        return self._spare

    def _in_postgres(self, url: SecretStr) -> LimitBackend:
        from lg_prod_nodes.stores.limits.postgres import PostgresLimits

        return PostgresLimits(url, self.strategy, self._timeout)

    def _in_redis(self, url: SecretStr) -> LimitBackend:
        from lg_prod_nodes.stores.limits.redis import RedisLimits

        return RedisLimits(url, self.strategy, self._timeout)
