"""Servers that do not answer: one caller at a time finds out whether they are back, and the others need not wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any


class Silence:
    """Begins when a caller times out and no other got an answer meanwhile; ends with the next answer.

    Without it, each of many callers would also wait for those before it, as a process has few threads and connections.

    Args:
        error: Means that there was no answer; raised to callers that fail at once.
        *errors: Others that mean the same.
    """

    def __init__(self, error: type[Exception], *errors: type[Exception]) -> None:
        self._errors = (error, *errors)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._is_on, self._answered = False, 0.0
        self._trying = threading.Lock()

    @contextmanager
    def asking(self) -> Generator[None]:
        """Ask, and note how that ended; during a silence, fail at once while somebody else does."""
        if self._process != os.getpid():  # after a fork it is the parent's
            self._begin()
        began, tries = monotonic(), self._is_on
        if tries and not self._trying.acquire(blocking=False):
            raise self._errors[0]("the server does not answer, and another call waits for it")
        try:
            yield
            self._is_on, self._answered = False, monotonic()
        except self._errors:
            self._is_on = self._is_on or self._answered < began
            raise
        finally:
            if tries:
                self._trying.release()


def forget_idle(client: Any) -> None:
    """Close the idle connections of a Redis: after a failover each would stay silent until its timeout."""
    client.connection_pool.disconnect(inuse_connections=False)
