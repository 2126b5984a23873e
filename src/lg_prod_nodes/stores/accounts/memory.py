"""Accounts in the memory of this process, which end with it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from weakref import WeakSet

from lg_prod_nodes.stores.accounts.account import Account, Balance, Reservation

_SWEPT = 4  # accounts that each reservation looks at, and charges of each, to forget what is over


@dataclass(slots=True)
class _Books:
    """One account."""

    ends: float
    spent: int = 0
    grants: dict[str, int] = field(default_factory=dict)
    charges: dict[str, tuple[int, float]] = field(default_factory=dict)
    held: dict[str, tuple[str, int]] = field(default_factory=dict)

    def settled(self, entry: str) -> int:
        return self.charges.get(entry, (0, 0.0))[0]

    def reserved(self, *, beside: str | None = None) -> int:
        return sum(
            max(amount - self.settled(entry), 0)
            for entry, (_, amount) in self.held.items()
            if entry != beside
        )

    @property
    def granted(self) -> int:
        return sum(self.grants.values())

    def forget(self, now: float) -> None:
        """Forget the oldest charges that need not be remembered any longer."""
        for entry in list(islice(self.charges, _SWEPT)):
            if self.charges[entry][1] <= now:
                del self.charges[entry]

    @property
    def is_blank(self) -> bool:
        return not (self.spent or self.held or self.grants or self.charges)


class MemoryAccounts:
    """Accounts in dictionaries. A reservation needs no lease: it ends with its call, or with all else."""

    def __init__(self, time: Callable[[], float] = time.monotonic) -> None:
        self._time = time
        self._books: dict[str, _Books] = {}
        self._lock = threading.Lock()
        _BACKENDS.add(self)

    def reserve(self, wanted: Reservation) -> Reservation:
        """Reserve an amount if enough is available."""
        self._forget_some()
        with self._opened(wanted.account) as books:
            entry, earlier = wanted.entry, books.settled(wanted.entry)
            room = wanted.account.limit + books.granted - books.spent + earlier
            room -= books.reserved(beside=entry)
            granted = wanted.amount <= room
            if granted:
                books.held[entry] = (wanted.id, wanted.amount)
        left = room - wanted.amount if granted else max(room, 0)
        return replace(wanted, granted=granted, available=left, earlier=earlier)

    def settle(self, reservation: Reservation, actual: int) -> int:
        """End a reservation and let its charge be `actual`."""
        account, entry = reservation.account, reservation.entry
        with self._opened(account) as books:
            books.spent += actual - books.settled(entry)
            if reservation.charge is not None:
                books.charges.pop(entry, None)
                books.charges[entry] = (actual, self._time() + reservation.remembered)
            if books.held.get(entry, ("",))[0] == reservation.id:
                del books.held[entry]
            left = account.limit + books.granted - books.spent - books.reserved()
        return max(left, 0)

    def renew(self, reservations: list[Reservation]) -> None:
        """Nothing to renew."""

    def grant(self, account: Account, more: int, id: str) -> None:
        """Let a grant be `more`."""
        with self._opened(account) as books:
            books.grants[id] = more

    def granted(self, account: Account, id: str) -> int | None:
        """What a grant is."""
        with self._opened(account) as books:
            return books.grants.get(id)

    def balance(self, account: Account) -> Balance:
        """How an account stands."""
        with self._opened(account) as books:
            return Balance(books.spent, books.reserved(), books.granted)

    def close(self) -> None:
        """Nothing to close: the accounts stay for as long as this object."""

    def forked(self) -> None:
        """Let go of what the parent process holds, and of a lock that one of its threads may have."""
        self._lock = threading.Lock()
        for books in self._books.values():
            books.held.clear()

    @contextmanager
    def _opened(self, account: Account) -> Generator[_Books]:
        """An account, for one step; one that nothing is in is not kept."""
        ends = float("inf") if account.lasts is None else self._time() + account.lasts
        with self._lock:
            books = self._books.setdefault(account.key, _Books(ends))
            books.ends = max(books.ends, ends)
            yield books
            if books.is_blank:
                del self._books[account.key]

    def _forget_some(self) -> None:
        """Look at a few accounts, and forget what is over."""
        now = self._time()
        with self._lock:
            for key in list(islice(self._books, _SWEPT)):
                books = self._books.pop(key)
                if books.held or books.ends > now:
                    books.forget(now)
                    self._books[key] = books  # looked at again when it is its turn


_BACKENDS: WeakSet[MemoryAccounts] = WeakSet()


def _forked() -> None:
    for backend in _BACKENDS:
        backend.forked()


os.register_at_fork(after_in_child=_forked)
