"""Accounts in which amounts are reserved, and later settled to what was really used."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from uuid import uuid4

from pydantic import SecretStr

from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.stores.accounts.account import Account, AccountBackend, Balance, Reservation
from lg_prod_nodes.stores.accounts.leases import LEASES
from lg_prod_nodes.stores.accounts.memory import MemoryAccounts
from lg_prod_nodes.stores.store import Store

__all__ = ["Account", "AccountStore", "Balance", "Reservation"]

_LONGEST_KEY = 300


class AccountStore(Store[AccountBackend]):
    """Stores accounts: what may be spent, what is spent, and what calls in progress have reserved.

    An amount is *reserved* before a call, if enough is available, and *settled* to what the call really used when
    that is known. Reservations of a process that died are reclaimed when their leases run out; a living process renews
    its leases, and settles later what it could not settle while the store was down.

    Args:
        url: `memory://` for this process alone; `postgresql://...`, `redis://...` or `valkey://...` (also
            `rediss://`, `valkeys://`) for all workers. By default the database of the `Production` that uses it,
            else memory.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.

    Raises:
        ConfigurationError: The backend is unknown, its URL cannot be read, or its client library is missing.
        StoreUnavailable: From every operation, when the backend cannot be reached in time.

    Example:
        ```python
        store = AccountStore()
        account = Account("ada", limit=1000)
        reservation = await store.reserve(account, 300, blocking=False)
        assert reservation.granted
        await store.settle(reservation, 120, blocking=False)
        assert await store.balance(account, blocking=False) == Balance(spent=120)
        ```
    """

    label = "accounts"

    def __init__(self, url: Secret | None = None, *, timeout: float = 5.0) -> None:
        super().__init__(url, timeout=timeout)
        self._lines: dict[str, deque[object]] = {}
        self._lines_lock = threading.Lock()

    async def reserve(
        self,
        account: Account,
        amount: int,
        *,
        blocking: bool,
        charge: str | None = None,
        lease: float = 30.0,
    ) -> Reservation:
        """Reserve an amount, if enough is available.

        Args:
            account: The account.
            amount: How much.
            blocking: Whether the caller is synchronous.
            charge: Identifies what is paid for. What the same charge has reserved or settled is replaced.
            lease: Seconds after which the amount is reclaimed if this process is gone.
        """
        wanted = Reservation(
            _tidied(account), uuid4().hex, amount, _digest(charge) if charge else None, lease
        )
        if blocking or self.is_in_memory:
            reservation = self._backend.reserve(wanted)
        else:
            step = partial(self._backend.reserve, wanted)
            reservation = await self._in_thread(step, undo=self._give_back)
        if reservation.granted and not self.is_in_memory:
            LEASES.keep(self._backend, reservation)
        return reservation

    async def settle(self, reservation: Reservation, actual: int, *, blocking: bool) -> int:
        """End a reservation: the call has used `actual`, more or less than was reserved.

        While the backend cannot be reached, this process keeps trying in the background.

        Returns:
            What is available then.
        """
        LEASES.drop(reservation)
        return await self._run(blocking, self._settle, reservation, actual)

    def _give_back(self, reservation: Reservation) -> None:
        """Undo a reservation whose caller was cancelled, now or as soon as the backend can be reached."""
        if reservation.granted:
            with suppress(StoreUnavailable):
                self._settle(reservation, reservation.earlier)

    def _settle(self, reservation: Reservation, actual: int) -> int:
        try:
            return self._backend.settle(reservation, actual)
        except StoreUnavailable:
            LEASES.keep(self._backend, reservation, owed=actual)
            raise

    async def grant(
        self, account: Account, more: int, *, blocking: bool, id: str | None = None
    ) -> None:
        """Let more be spent than the account's limit; a grant of the same id replaces the earlier one."""
        grant = _digest(id) if id else uuid4().hex
        await self._run(blocking, self._backend.grant, _tidied(account), more, grant)

    async def granted(self, account: Account, id: str, *, blocking: bool) -> int | None:
        """What was granted by an id, `None` if nothing was."""
        return await self._run(blocking, self._backend.granted, _tidied(account), _digest(id))

    async def balance(self, account: Account, *, blocking: bool) -> Balance:
        """How an account stands."""
        return await self._run(blocking, self._backend.balance, _tidied(account))

    def ping(self) -> Ping:
        """Ask the backend for a balance."""
        drive(self.balance(Account(NOBODY, limit=1), blocking=True))
        return Ping()

    def _release(self) -> None:
        LEASES.forget(self._backend)
        super()._release()

    @contextmanager
    def line(self, account: Account) -> Generator[Callable[[], bool]]:
        """Queue for an account in this process; gives a function that says whether it is the caller's turn."""
        ticket = object()
        with self._lines_lock:
            line = self._lines.setdefault(account.key, deque())
            line.append(ticket)
        try:
            yield lambda: line[0] is ticket
        finally:
            with self._lines_lock:
                line.remove(ticket)
                if not line:
                    del self._lines[account.key]

    def has_line(self, account: Account) -> bool:
        """Whether somebody in this process queues for an account."""
        return account.key in self._lines

    def _in_memory(self) -> AccountBackend:
        return MemoryAccounts()

    def _in_postgres(self, url: SecretStr) -> AccountBackend:
        from lg_prod_nodes.stores.accounts.postgres import PostgresAccounts

        return PostgresAccounts(url, self._timeout)

    def _in_redis(self, url: SecretStr) -> AccountBackend:
        from lg_prod_nodes.stores.accounts.redis import RedisAccounts

        return RedisAccounts(url, self._timeout)


def _tidied(account: Account) -> Account:
    """The account with a key that every backend can store: users choose their own names."""
    key = account.key
    if key.isprintable() and len(key) <= _LONGEST_KEY:
        return account
    return replace(account, key=_digest(key))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
