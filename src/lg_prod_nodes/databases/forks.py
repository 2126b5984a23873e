"""No fork while another thread opens a connection to Postgres.

What OpenSSL has locked at that moment would stay locked in the child, whose own connections then never open.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

_MOST_SECONDS = 1.0  # what opens for longer waits for the network, where nothing is locked


class Forks:
    """Lets forks wait for connections that are being opened, for a second at most."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start without any, as in a process that was just forked."""
        self._opening: Counter[int] = Counter()  # by thread
        self._forking = 0
        self._changed = threading.Condition()

    @property
    def are_waiting(self) -> bool:
        """Whether a thread is about to fork."""
        return self._forking > 0

    @contextmanager
    def held_off(self) -> Generator[None]:
        """Let no other thread fork until the block ends."""
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forking or self._opening[thread])
            self._opening[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._opening[thread] -= 1
                self._changed.notify_all()

    def before(self) -> None:
        """Wait, and let no connection open, until `after`."""
        self._changed.acquire()
        self._forking += 1
        own = self._opening[threading.get_ident()]  # an event loop that forks is itself in no lock
        self._changed.wait_for(lambda: self._opening.total() == own, _MOST_SECONDS)

    def after(self) -> None:
        """Continue in the process that forked."""
        self._forking -= 1
        self._changed.notify_all()
        self._changed.release()


FORKS = Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORKS.before, after_in_parent=FORKS.after, after_in_child=FORKS.begin
    )
