"""Timings of stores and statistics of pools, for metrics."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

C = TypeVar("C", bound=type[Any])


class MeasuredPool(Protocol):
    """A pool of connections, such as psycopg's."""

    def get_stats(self) -> dict[str, int]:
        """Numbers of connections and requests."""
        ...


class Listener(Protocol):
    """Listens to the operations of stores."""

    def operated(self, store: str, operation: str, seconds: float, *, failed: bool) -> None:
        """Take note of an operation; must neither block nor raise."""
        ...


LISTENERS: WeakSet[Listener] = WeakSet()

POOLS: WeakKeyDictionary[MeasuredPool, str] = WeakKeyDictionary()
"""The pools that are open, and what they are for."""


def timed(store: str, *operations: str) -> Callable[[C], C]:
    """Report how long the operations of a store's class take.

    Args:
        store: The name of the store.
        *operations: Names of methods; of those that begin with an `a`, the operation is the one without it.
    """

    def attach(cls: C) -> C:
        for name in operations:
            method = getattr(cls, name)
            is_async = inspect.iscoroutinefunction(method)
            operation = name.removeprefix("a") if is_async else name
            made = _timed_async if is_async else _timed
            setattr(cls, name, made(method, store, operation))
        return cls

    return attach


def _timed(method: Callable[..., Any], store: str, operation: str) -> Callable[..., Any]:
    @wraps(method)
    def measured(*args: Any, **kwargs: Any) -> Any:
        start, failed = time.perf_counter(), True
        try:
            result = method(*args, **kwargs)
            failed = False
            return result
        finally:
            _report(store, operation, start, failed=failed)

    return measured


def _timed_async(method: Callable[..., Any], store: str, operation: str) -> Callable[..., Any]:
    @wraps(method)
    async def measured(*args: Any, **kwargs: Any) -> Any:
        start, failed = time.perf_counter(), True
        try:
            result = await method(*args, **kwargs)
            failed = False
            return result
        finally:
            _report(store, operation, start, failed=failed)

    return measured


def _report(store: str, operation: str, start: float, *, failed: bool) -> None:
    seconds = time.perf_counter() - start
    for listener in list(LISTENERS):
        listener.operated(store, operation, seconds, failed=failed)
