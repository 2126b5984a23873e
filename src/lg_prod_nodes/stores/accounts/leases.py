"""Keeps this process's reservations alive: one thread renews the leases of all, while there are any."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

from lg_prod_nodes.stores.accounts.account import AccountBackend, Reservation

_MOST_OWED = 10_000


@dataclass(slots=True, eq=False)
class _Lease:
    backend: AccountBackend
    reservation: Reservation
    due: float
    owed: int | None = None
    """What it has to be settled to, once its backend can be reached."""


class Leases:
    """Renews leases at a third of their time, and settles what could not be settled when it ended."""

    def __init__(self) -> None:
        self.forked()

    def forked(self) -> None:
        """Begin without any: a child process has no thread, and what its parent reserved is its parent's."""
        self._open: dict[str, _Lease] = {}
        self._owed = 0
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def keep(
        self, backend: AccountBackend, reservation: Reservation, *, owed: int | None = None
    ) -> None:
        """Keep a reservation alive until it is dropped, or settle it as soon as that is possible."""
        due = monotonic() + reservation.lease / 3
        with self._changed:
            if owed is not None and self._owed >= _MOST_OWED:
                return
            self._owed += owed is not None
            self._open[reservation.id] = _Lease(backend, reservation, due, owed)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            elif due < self._wakes:
                self._changed.notify()

    def drop(self, reservation: Reservation) -> None:
        """Let a reservation's lease run out."""
        with self._changed:
            lease = self._open.pop(reservation.id, None)
            self._owed -= lease is not None and lease.owed is not None

    def forget(self, backend: AccountBackend) -> None:
        """Let all leases of a backend run out."""
        with self._changed:
            leases = [lease for lease in self._open.values() if lease.backend is backend]
        for lease in leases:
            self.drop(lease.reservation)

    def _run(self) -> None:
        while due := self._await_due():
            for backend in {id(lease.backend): lease.backend for lease in due}.values():
                self._beat(backend, [lease for lease in due if lease.backend is backend])

    def _await_due(self) -> list[_Lease]:
        """The leases to renew now, once there are any; none at all ends the thread."""
        with self._changed:
            while self._open:
                now = monotonic()
                if due := [lease for lease in self._open.values() if lease.due <= now]:
                    for lease in due:
                        lease.due = now + lease.reservation.lease / 3
                    return due
                self._wakes = min(lease.due for lease in self._open.values())
                self._changed.wait(self._wakes - now)
            self._thread = None
        return []

    def _beat(self, backend: AccountBackend, leases: Iterable[_Lease]) -> None:
        try:
            backend.renew([lease.reservation for lease in leases])
            for lease in leases:
                if lease.owed is not None:
                    backend.settle(lease.reservation, lease.owed)
                    self.drop(lease.reservation)
        except Exception:  # there are two more beats before a lease runs out
            return


LEASES = Leases()
os.register_at_fork(after_in_child=LEASES.forked)
