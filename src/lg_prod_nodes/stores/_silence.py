"""Asking a silent server less often: who comes while others wait in vain need not wait as long as they do."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any

_SECONDS = 1.0


class Pause:
    """Begins when nobody has got an answer for as long as one caller had patience, and lasts a second.

    Else, with the few threads and connections that a process has, each of many callers would wait for those before it
    as well.

    Args:
        silence: The errors that say that there was no answer.
    """

    def __init__(self, *silence: type[Exception]) -> None:
        self._silence = silence
        self._answered = 0.0
        self._over = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the server is better not asked now."""
        return monotonic() < self._over

    @contextmanager
    def asking(self) -> Generator[None]:
        """Ask, and note how that ended."""
        began = monotonic()
        try:
            yield
        except self._silence:
            if self._answered < began:
                self._over = monotonic() + _SECONDS
            raise
        self._answered = monotonic()


def forget_idle(client: Any) -> None:
    """Close those connections of a Redis that nobody uses: after a failover they stay silent, each to be waited for."""
    client.connection_pool.disconnect(inuse_connections=False)
