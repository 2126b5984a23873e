"""Rate limit windows, kept by the `limits` library in memory or in Redis or Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from limits import RateLimitItem, parse_many
from limits import strategies as blocking_strategies
from limits.aio import strategies as async_strategies
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.errors import StorageError
from limits.storage import storage_from_string

from lg_prod_nodes.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")
_REMEMBERED = 10_000
Limits = tuple[RateLimitItem, ...]
Strategy = Literal["fixed-window", "moving-window", "sliding-window-counter"]

_BLOCKING: dict[str, Callable[[Any], blocking_strategies.RateLimiter]] = {
    "fixed-window": blocking_strategies.FixedWindowRateLimiter,
    "moving-window": blocking_strategies.MovingWindowRateLimiter,
    "sliding-window-counter": blocking_strategies.SlidingWindowCounterRateLimiter,
}
_ASYNC: dict[str, Callable[[Any], async_strategies.RateLimiter]] = {
    "fixed-window": async_strategies.FixedWindowRateLimiter,
    "moving-window": async_strategies.MovingWindowRateLimiter,
    "sliding-window-counter": async_strategies.SlidingWindowCounterRateLimiter,
}


@dataclass(frozen=True, slots=True)
class Admission:
    """What a limit says to a call.

    Attributes:
        admitted: Whether the call may pass; if so, it has been counted.
        limit: The limit that refused, else the one with the least left.
        remaining: Calls left by limit.
        retry_after: Seconds until the refusing limit has room again, 0 when admitted.
    """

    admitted: bool
    limit: str
    remaining: dict[str, int]
    retry_after: float = 0.0


def parse_limits(limits: str) -> Limits:
    """Read limits such as `"10/second;1000/hour"`.

    Raises:
        ConfigurationError: The text is not such a list, or a limit allows nothing.
    """
    try:
        items = tuple(parse_many(limits))
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the rate limit {limits!r}; write a number per second, minute, hour, day, month or year, "
            "several with a semicolon: '10/second;1000/hour', '5 per 2 minutes'"
        ) from error
    if any(item.amount < 1 for item in items):
        raise ConfigurationError(
            f"the rate limit {limits!r} allows no call at all; give at least 1"
        )
    return items


class LimitStore:
    """Windows of rate limits, shared by whoever uses the same place.

    Args:
        url: `memory://` for this process alone, `redis://host:6379/0` or `valkey://host:6379/0` (also `rediss://`,
            `valkeys://`) for all workers.
        strategy: How a window moves, as `limits` names it. A moving window is exact: never more than the limit in any
            span of its length.

    Raises:
        ConfigurationError: The place or strategy is not known, or its client library is not installed.
    """

    def __init__(self, url: str = "memory://", *, strategy: Strategy = "moving-window") -> None:
        if strategy not in _BLOCKING:
            raise ConfigurationError(
                f"unknown strategy {strategy!r}; choose one of {', '.join(_BLOCKING)}"
            )
        self._strategy: Strategy = strategy
        self._url = url.replace("redis", "valkey", 1) if url.startswith("redis") else url
        self._blocking = _BLOCKING[strategy](_open(self._url))
        self._counted: dict[object, None] = {}
        self._calls: dict[object, int] = {}
        self._async: dict[asyncio.AbstractEventLoop, async_strategies.RateLimiter] = {}

    async def acquire(
        self,
        items: Sequence[RateLimitItem],
        key: str,
        *,
        blocking: bool,
        cost: int = 1,
        once: tuple[str, str] | None = None,
    ) -> Admission:
        """Count a call against limits that all have room, or count nothing.

        Args:
            items: The limits.
            key: Whom the call counts for.
            blocking: Whether the caller is synchronous.
            cost: How much the call counts.
            once: The task that the call belongs to, and which execution of it: the n-th such call of a task is
                counted in its first execution, as far as this store remembers.

        Raises:
            StoreUnavailable: The place cannot be reached.
        """
        limiter = self._blocking if blocking or self._url.startswith("memory") else self._limiter()
        try:
            identity = self._identity((key, *map(str, items)), once)
            known = identity is not None and identity in self._counted
            refusing = [] if known else await self._count(limiter, items, key, cost)
            windows = {item: await self._window(limiter, item, key) for item in items}
        except StorageError as error:
            raise StoreUnavailable(
                f"the rate limit store ({_scheme(self._url)}) cannot be reached"
            ) from error
        remaining = {str(item): left for item, (_, left) in windows.items()}
        if refusing:
            last = max(refusing, key=lambda item: windows[item][0])
            retry_after = max(windows[last][0] - time.time(), 0.0)
            return Admission(False, str(last), remaining, retry_after)
        if identity is not None:
            _remember(self._counted, identity, None)
        return Admission(True, min(remaining, key=lambda limit: remaining[limit]), remaining)

    async def _count(
        self, limiter: Any, items: Sequence[RateLimitItem], key: str, cost: int
    ) -> list[RateLimitItem]:
        """Count a call; gives the limits that refuse it."""
        if len(items) > 1:
            full = [i for i in items if not await _settled(limiter.test(i, key, cost=cost))]
            if full:
                return full
        return [i for i in items if not await _settled(limiter.hit(i, key, cost=cost))]

    def _identity(self, what: object, once: tuple[str, str] | None) -> object:
        """Which of its task's calls this is: the n-th since the task's execution began."""
        if once is None:
            return None
        task, execution = once
        number = self._calls.get((what, task, execution), 0)
        _remember(self._calls, (what, task, execution), number + 1)
        return (what, task, number)

    async def _window(self, limiter: Any, item: RateLimitItem, key: str) -> tuple[float, int]:
        return cast(tuple[float, int], await _settled(limiter.get_window_stats(item, key)))

    def _limiter(self) -> async_strategies.RateLimiter:
        """The limiter of the running event loop, whose connections belong to that loop."""
        loop = asyncio.get_running_loop()
        for closed in [known for known in self._async if known.is_closed()]:
            del self._async[closed]
        if loop not in self._async:
            self._async[loop] = _ASYNC[self._strategy](_open(f"async+{self._url}"))
        return self._async[loop]


def _remember(memory: dict[object, T], key: object, value: T) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        with suppress(StopIteration, KeyError, RuntimeError):  # another thread was faster
            del memory[next(iter(memory))]


def _open(url: str) -> object:
    try:
        return storage_from_string(url, wrap_exceptions=True)
    except LimitsConfigurationError as error:
        hint = (
            "pip install 'lg-prod-nodes[redis]'"
            if "valkey" in url
            else "use memory://, redis:// or valkey://"
        )
        raise ConfigurationError(
            f"cannot use {_scheme(url)}:// as a rate limit store; {hint}"
        ) from error


def _scheme(url: str) -> str:
    return url.partition("://")[0].removeprefix("async+")


async def _settled(value: T | Awaitable[T]) -> T:
    return await cast("Awaitable[T]", value) if isinstance(value, Awaitable) else value
