"""Group commit: what callers hand in while a write is under way is written together by the next one.

Nothing waits for company: the first caller is written at once, alone. Nobody returns before the database has committed
what they handed in. A batch that fails for a reason of one of its items is written again item by item, by the callers
themselves, so that each gets its own error. Items leave in the order in which they came.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from psycopg import OperationalError
from psycopg.errors import (
    AdminShutdown,
    CrashShutdown,
    DeadlockDetected,
    ProgramLimitExceeded,
    SerializationFailure,
)

from lg_prod_nodes.databases.cursors import UNUSABLE

_MOST_ITEMS = 500
_MOST_BYTES = 8_000_000

_OF_ONE_ITEM = (DeadlockDetected, ProgramLimitExceeded, SerializationFailure)
_OF_ONE_CONNECTION = (AdminShutdown, CrashShutdown)


class Item(Protocol):
    """What a caller hands in."""

    @property
    def keys(self) -> Sequence[Hashable]:
        """What two items of a batch must not have in common, since one statement would write a row twice."""
        ...

    @property
    def size(self) -> int:
        """Its bytes, roughly."""
        ...


T = TypeVar("T", bound=Item)


class AsyncBatches(Generic[T]):
    """Batches for the callers of one event loop.

    Args:
        write: Writes items in one transaction; safe to repeat.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write, self._loop = write, asyncio.get_running_loop()
        self._queue: deque[tuple[T, asyncio.Future[bool]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def put(self, item: T) -> None:
        """Return when the item is committed. If the caller is cancelled before its batch begins, it is not written."""
        if asyncio.get_running_loop() is not self._loop:
            await self._write([item])  # the pool says what to do
            return
        together = self._loop.create_future()
        self._queue.append((item, together))
        if self._writer is None:  # in a task and context of its own: callers may be cancelled
            self._writer = self._loop.create_task(self._drain(), context=Context())
        if not await together:
            await self._write([item])

    async def _drain(self) -> None:
        batch: list[tuple[T, asyncio.Future[bool]]] = []
        try:
            while batch := self._taken():
                await self._write_together(batch)
        finally:
            self._writer = None
            for _, together in (*batch, *self._queue):
                together.cancel()
            self._queue.clear()

    def _taken(self) -> list[tuple[T, asyncio.Future[bool]]]:
        while self._queue and self._queue[0][1].done():  # cancelled
            self._queue.popleft()
        number = _fitting(item for item, _ in self._queue)
        taken = [self._queue.popleft() for _ in range(number)]
        return [entry for entry in taken if not entry[1].done()]

    async def _write_together(self, batch: list[tuple[T, asyncio.Future[bool]]]) -> None:
        failure: Exception | None = None
        try:
            await self._write([item for item, _ in batch])
        except Exception as error:
            failure = error
        is_together = failure is None or len(batch) == 1 or not _is_of_one_item(failure)
        for _, together in batch:
            if together.done():
                continue
            if failure is not None and is_together:
                together.set_exception(failure)
            else:
                together.set_result(is_together)


class Batches(Generic[T]):
    """Batches for the threads of a process: the first that finds nobody writing writes for all that wait.

    Args:
        write: Writes items in one transaction; safe to repeat.
        is_of_one_item: Whether an error of a batch may be due to one of its items.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], None],
        is_of_one_item: Callable[[Exception], bool] | None = None,
    ) -> None:
        self._write, self._is_of_one_item = write, is_of_one_item or _is_of_one_item
        self.begin()
        _OPEN.add(self)

    def begin(self) -> None:
        """Start without callers, as in a process that was just forked."""
        self._queue: deque[_Caller[T]] = deque()
        self._is_writing = False
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """Return when the item is committed."""
        caller = _Caller(item)
        try:
            if self._joined(caller):
                caller.wait()
            if caller.leads:
                self._lead()
        except BaseException:
            self._leave(caller)
            raise
        if caller.failure is not None:
            raise caller.failure
        if not caller.is_written:
            self._write([item])

    def _joined(self, caller: _Caller[T]) -> bool:
        """Whether somebody else writes, and the caller only has to wait."""
        with self._lock:
            self._queue.append(caller)
            caller.leads = not self._is_writing
            self._is_writing = True
            return not caller.leads

    def _lead(self) -> None:
        """Write one batch, which has the leader's own item in it, and leave the next to the first who waits."""
        with self._lock:
            number = _fitting(caller.item for caller in self._queue)
            batch = [self._queue.popleft() for _ in range(number)]
        try:
            self._write_together(batch)
        finally:
            self._hand_over()
            for caller in batch[1:]:
                caller.wake()

    def _write_together(self, batch: list[_Caller[T]]) -> None:
        try:
            self._write([caller.item for caller in batch])
        except Exception as error:
            if len(batch) == 1 or not self._is_of_one_item(error):
                for caller in batch:
                    caller.failure = error
        else:
            for caller in batch:
                caller.is_written = True

    def _hand_over(self) -> None:
        with self._lock:
            if not self._queue:
                self._is_writing = False
                return
            following = self._queue[0]
            following.leads = True
        following.wake()

    def _leave(self, caller: _Caller[T]) -> None:
        """Leave the queue, if the caller was interrupted while it waited."""
        with self._lock:
            if caller not in self._queue:
                return
            self._queue.remove(caller)
        if caller.leads:
            self._hand_over()


class _Caller(Generic[T]):
    """A thread that waits for its item to be written.

    Attributes:
        leads: Whether it is to write the next batch.
        is_written: Whether the item is committed. If not, and without a failure, the caller writes it by itself.
        failure: Why the batch could not be written.
    """

    def __init__(self, item: T) -> None:
        self.item = item
        self.leads = self.is_written = False
        self.failure: Exception | None = None
        self._waits = threading.Lock()
        self._waits.acquire()

    def wait(self) -> None:
        self._waits.acquire()

    def wake(self) -> None:
        self._waits.release()


def _fitting(items: Iterator[Item]) -> int:
    """How many of the first items go into one batch."""
    number = size = 0
    keys: set[Hashable] = set()
    for item in items:
        size += item.size
        is_apart = keys.isdisjoint(item.keys)
        if number and (number == _MOST_ITEMS or size > _MOST_BYTES or not is_apart):
            break
        keys.update(item.keys)
        number += 1
    return number


def _is_of_one_item(error: Exception) -> bool:
    """Whether the other items of a batch may do well, or the same ones on another connection."""
    if isinstance(error, (*_OF_ONE_ITEM, *_OF_ONE_CONNECTION)):
        return True
    is_lost = type(error) is OperationalError and error.sqlstate is None
    return is_lost or not isinstance(error, UNUSABLE)


_OPEN: WeakSet[Batches[Any]] = WeakSet()


def _begin_all() -> None:
    for batches in list(_OPEN):
        batches.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)
