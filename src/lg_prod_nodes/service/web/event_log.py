"""The latest events of one run, for readers that come, leave and come back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from lg_prod_nodes.core.errors import EventsExpired

T = TypeVar("T")


class Reader:
    """Somebody who reads a log."""


class EventLog(Generic[T]):
    """A bounded log of events, numbered from 1. A writer waits for its slowest reader.

    Args:
        size: The number of events kept.
    """

    def __init__(self, size: int) -> None:
        self._events: deque[T] = deque()
        self._size, self._dropped, self._is_closed = size, 0, False
        self._changed = asyncio.Event()
        self._readers: dict[Reader, int] = {}

    @property
    def last(self) -> int:
        """The number of the latest event, 0 before the first."""
        return self._dropped + len(self._events)

    @property
    def has_all(self) -> bool:
        """Whether no event was dropped."""
        return not self._dropped

    async def append(self, event: T) -> None:
        """Add an event. If the log is full, the oldest one is dropped once every present reader has read it."""
        while len(self._events) >= self._size:
            if any(read <= self._dropped for read in self._readers.values()):
                await self._changed.wait()
                continue
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self._notify()

    def close(self) -> None:
        """Add no more events."""
        self._is_closed = True
        self._notify()

    async def started(self) -> None:
        """Wait for the first event, or for the end."""
        while not (self.last or self._is_closed):
            await self._changed.wait()

    @property
    def has_readers(self) -> bool:
        """Whether anybody reads it."""
        return bool(self._readers)

    def enter(self, after: int) -> Reader:
        """Count a reader in; the events after the number that it has are kept for it.

        Raises:
            EventsExpired: Some of them are no longer kept.
        """
        if after < self._dropped:
            raise expired(after)
        reader = Reader()
        self._readers[reader] = after
        return reader

    def leave(self, reader: Reader) -> None:
        """Count a reader out."""
        self._readers.pop(reader, None)
        self._notify()

    async def read(self, reader: Reader) -> AsyncGenerator[tuple[int, T], None]:
        """Yield the events that a reader does not have, with their numbers, until the log is closed."""
        while True:
            while (after := self._readers[reader]) < self.last:
                yield after + 1, self._events[after - self._dropped]
                self._readers[reader] = after + 1
                self._notify()
            if self._is_closed:
                return
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def expired(after: int) -> EventsExpired:
    """Return the error for a reader who has the events up to a number."""
    return EventsExpired(
        f"the events after number {after} of this run are no longer kept; read the thread's state, or repeat the "
        "request without Last-Event-ID to get its result"
    )
