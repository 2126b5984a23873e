"""Keeps a process's leases alive, and tells their runs of changes: one thread for all of a store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from uuid import uuid4
from weakref import WeakSet, ref

from lg_prod_nodes.core.errors import LeaseLost, RunInterrupted, StoreUnavailable
from lg_prod_nodes.stores.threads.backend import Row, ThreadBackend
from lg_prod_nodes.stores.threads.lease import Lease
from lg_prod_nodes.stores.threads.line import Line, is_due

BEAT_SECONDS = 1.0
"""Seconds between two signs of life of a worker."""

LEASE_SECONDS = 4.0
"""Seconds without one after which a worker is taken for dead, and its threads pass on."""

_IDLE_SECONDS = 60.0
_STEP_SECONDS = 0.25  # what it takes at most to end the thread


class Heartbeat:
    """The leases of this process at one backend.

    Args:
        backend: The backend.
        beats: Whether other processes have to see that this one is alive.

    Attributes:
        worker: This process.
    """

    def __init__(self, backend: ThreadBackend, *, beats: bool) -> None:
        self.backend, self._beats = backend, beats
        self.begin()
        _ALL.add(self)

    def begin(self) -> None:
        """Begin without any: a child process has no thread, and what its parent holds is its parent's."""
        self.worker = uuid4().hex
        self._leases: dict[str, Lease] = {}
        self._owed: list[Callable[[], object]] = []
        self._beaten = float("-inf")
        self._used = monotonic()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        """Keep a lease alive until it is dropped.

        Raises:
            StoreUnavailable: The backend cannot be reached.
        """
        with self._lock:
            self._leases[lease.claim.id] = lease
        if self._beats:
            self._keep_alive(lease)

    def _keep_alive(self, lease: Lease) -> None:
        thread = None
        with self._lock:
            self._used = monotonic()
            if self._thread is None:
                thread = threading.Thread(target=_keep, args=(ref(self),), daemon=True)
                self._thread = thread
        try:
            if monotonic() - self._beaten > LEASE_SECONDS / 2:
                self.beat()
            lease.alive_until = self._beaten + LEASE_SECONDS
        finally:
            if thread is not None:
                thread.start()

    def drop(self, lease: Lease) -> None:
        """Keep a lease alive no longer."""
        with self._lock:
            self._leases.pop(lease.claim.id, None)

    def owe(self, step: Callable[[], object]) -> None:
        """Take a step as soon as the backend can be reached, as often as that takes."""
        with self._lock:
            self._owed.append(step)

    def close(self) -> None:
        """End the thread; the next lease starts another one."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread() and thread.ident:
            thread.join(LEASE_SECONDS)

    def beat(self) -> None:
        """Give a sign of life, and look at all leases."""
        began = monotonic()
        known = self._known()
        rows = self.backend.beat(self.worker, LEASE_SECONDS)
        self._beaten = began
        for lease in known:
            lease.alive_until = began + LEASE_SECONDS
            _look(lease, rows.get(lease.name), began)

    def changed(self, name: str) -> None:
        """Look at the leases of a thread whose line has changed."""
        if leases := [lease for lease in self._known() if lease.name == name]:
            began, row = monotonic(), self.backend.read(name, self.worker)
            for lease in leases:
                _look(lease, row, began)

    def step(self) -> bool:
        """Wait for a change or the next beat; return whether there will be another step."""
        try:
            if (left := self._beaten + BEAT_SECONDS - monotonic()) <= 0:
                self.beat()
                self._pay()
            else:
                for name in self.backend.changes(min(left, _STEP_SECONDS)):
                    self.changed(name)
        except StoreUnavailable:
            time.sleep(_STEP_SECONDS)
        return self._goes_on()

    def _pay(self) -> None:
        with self._lock:
            owed, self._owed = self._owed, []
        for step in owed:
            with suppress(StoreUnavailable):  # it is owed again
                step()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            if self._leases or self._owed:
                self._used = monotonic()
            if monotonic() - self._used > _IDLE_SECONDS:
                self._thread = None
            return self._thread is not None

    def _known(self) -> list[Lease]:
        with self._lock:
            return list(self._leases.values())


def _look(lease: Lease, row: Row | None, read: float) -> None:
    """Tell a run what has become of its lease, by a line that was read at some time."""
    line = Line.of(row.line if row else None)
    mine = line.find(lease.claim.id)
    if not lease.fence:
        if is_due(line, lease.claim.id):
            lease.bell.ring()
    elif read < lease.since:
        return
    elif mine is None or mine != line.holder:
        lease.stop.pull(LeaseLost())
    elif mine.end:
        lease.stop.pull(RunInterrupted(mine.end, started=True))


def _keep(heartbeat: Callable[[], Heartbeat | None]) -> None:
    backend = None
    while (beating := heartbeat()) is not None:
        backend = beating.backend
        if not beating.step():
            break
        del beating
    if backend is not None:
        backend.hang_up()


_ALL: WeakSet[Heartbeat] = WeakSet()


def _forked() -> None:
    for heartbeat in _ALL:
        heartbeat.begin()


os.register_at_fork(after_in_child=_forked)
