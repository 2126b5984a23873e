"""Postgres as a storage of the `limits` library: with this module imported, `postgresql://` is one of its schemes.

    import lg_prod_nodes.stores.limits.limits_storage
    from limits.storage import storage_from_string

    storage = storage_from_string("postgresql://localhost/app")

The windows are those of `LimitStore`, so both may be used side by side.
"""

from __future__ import annotations

import asyncio
import time
import weakref

from limits.aio.storage import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage import SlidingWindowCounterSupport as AsyncSlidingWindowCounterSupport
from limits.aio.storage import Storage as AsyncStorage
from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.stores.limits.postgres import PostgresWindows
from lg_prod_nodes.stores.limits.windows import Strategy

__all__ = ["AsyncPostgresStorage", "PostgresStorage"]


class PostgresStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Stores the windows of `limits`' three strategies in Postgres, for `limits.strategies`.

    Tables are made at the first use, and rows that are over are deleted a few at a time.

    Args:
        uri: The database, `postgresql://user:password@host:5432/database`.
        wrap_exceptions: Raise `limits.errors.StorageError` in place of `StoreUnavailable`.
        timeout: Seconds to wait at most for a connection, and for a statement.

    Raises:
        ConfigurationError: The URL cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.
    """

    STORAGE_SCHEME = ["postgresql", "postgres"]  # noqa: RUF012 - as `limits` declares it

    def __init__(self, uri: str, wrap_exceptions: bool = False, timeout: float = 1.0) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._windows = PostgresWindows(uri, timeout)
        weakref.finalize(self, self._windows.close)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the methods raise where the database does not answer."""
        return StoreUnavailable

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in a fixed window, beyond its limit too; gives the count."""
        answer = self._windows.decide("fixed-window", {key: (0, expiry)}, amount, forced=True)
        return round(answer.readings[key][0])

    def get(self, key: str) -> int:
        """The count of a fixed window."""
        return round(self._seen("fixed-window", key)[0])

    def get_expiry(self, key: str) -> float:
        """When a fixed window ends, in seconds since the epoch."""
        return time.time() + self._seen("fixed-window", key)[1]

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take from a moving window; gives whether it was admitted."""
        return self._windows.decide("moving-window", {key: (limit, expiry)}, amount).admitted

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest hit of a moving window was, and how many hits are in it."""
        used, reset, *_ = self._seen("moving-window", key, expiry)
        start = time.time() + (reset - expiry if used else 0)
        return start, min(round(used), limit)

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Take from a sliding window; gives whether it was admitted."""
        windows = {key: (limit, expiry)}
        return self._windows.decide("sliding-window-counter", windows, amount).admitted

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count and remaining seconds of the previous window, and of the current one."""
        previous, previous_ttl, current, current_ttl = self._seen(
            "sliding-window-counter", key, expiry
        )
        return round(previous), previous_ttl if previous else 0.0, round(current), current_ttl

    def clear(self, key: str) -> None:
        """Forget a fixed and a moving window."""
        self._windows.clear(("fixed-window", key), ("moving-window", key))

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a sliding window."""
        self._windows.clear(("sliding-window-counter", key))

    def check(self) -> bool:
        """Whether the database answers."""
        try:
            self._seen("fixed-window", "check")
        except StoreUnavailable:
            return False
        return True

    def reset(self) -> int | None:
        """Forget all windows; gives how many there were."""
        return self._windows.reset()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._windows.close()

    def _seen(self, strategy: Strategy, key: str, expiry: int = 1) -> list[float]:
        return self._windows.decide(strategy, {key: (1, expiry)}, 0).readings[key]


class AsyncPostgresStorage(
    AsyncStorage, AsyncMovingWindowSupport, AsyncSlidingWindowCounterSupport
):
    """The same for `limits.aio.strategies`: a `PostgresStorage` that is asked in threads.

    Args:
        uri: The database, `async+postgresql://user:password@host:5432/database`.
        wrap_exceptions: Raise `limits.errors.StorageError` in place of `StoreUnavailable`.
        timeout: Seconds to wait at most for a connection, and for a statement.
    """

    STORAGE_SCHEME = ["async+postgresql", "async+postgres"]  # noqa: RUF012 - as `limits` declares it

    def __init__(self, uri: str, wrap_exceptions: bool = False, timeout: float = 1.0) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._storage = PostgresStorage(uri.removeprefix("async+"), timeout=timeout)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the methods raise where the database does not answer."""
        return self._storage.base_exceptions

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in a fixed window, beyond its limit too; gives the count."""
        return await asyncio.to_thread(self._storage.incr, key, expiry, amount)

    async def get(self, key: str) -> int:
        """The count of a fixed window."""
        return await asyncio.to_thread(self._storage.get, key)

    async def get_expiry(self, key: str) -> float:
        """When a fixed window ends, in seconds since the epoch."""
        return await asyncio.to_thread(self._storage.get_expiry, key)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take from a moving window; gives whether it was admitted."""
        return await asyncio.to_thread(self._storage.acquire_entry, key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest hit of a moving window was, and how many hits are in it."""
        return await asyncio.to_thread(self._storage.get_moving_window, key, limit, expiry)

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Take from a sliding window; gives whether it was admitted."""
        take = self._storage.acquire_sliding_window_entry
        return await asyncio.to_thread(take, key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count and remaining seconds of the previous window, and of the current one."""
        return await asyncio.to_thread(self._storage.get_sliding_window, key, expiry)

    async def clear(self, key: str) -> None:
        """Forget a fixed and a moving window."""
        await asyncio.to_thread(self._storage.clear, key)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a sliding window."""
        await asyncio.to_thread(self._storage.clear_sliding_window, key, expiry)

    async def check(self) -> bool:
        """Whether the database answers."""
        return await asyncio.to_thread(self._storage.check)

    async def reset(self) -> int | None:
        """Forget all windows; gives how many there were."""
        return await asyncio.to_thread(self._storage.reset)

    async def aclose(self) -> None:
        """Close the connections; the next use opens new ones."""
        await asyncio.to_thread(self._storage.close)
