"""Accounts that amounts are reserved in for a while, and then settled to what was really used."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import ParamSpec, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping, Resource
from lg_prod_nodes.core.secret import Secret, hidden, scheme_of
from lg_prod_nodes.databases.sharing import Sharing
from lg_prod_nodes.stores.accounts.account import Account, AccountBackend, Balance, Reservation
from lg_prod_nodes.stores.accounts.asking import BlockingStep
from lg_prod_nodes.stores.accounts.leases import LEASES
from lg_prod_nodes.stores.accounts.memory import MemoryAccounts

__all__ = ["Account", "AccountStore", "Balance", "Reservation"]

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_KEY = 300


class AccountStore(Resource):
    """Keeps accounts: what may be spent, what is, and what is reserved by calls that are going on.

    An amount is *reserved* before a call, if there is room for it, and *settled* to what the call really used when
    that is known. A reservation of a process that died is given back when its lease runs out; a living process renews
    its leases, and settles what it could not settle while the store was down.

    Args:
        url: `memory://` for this process alone; `postgresql://...`, `redis://...` or `valkey://...` (also
            `rediss://`, `valkeys://`) for all workers. Without one, the database of the `Production`
            that it is used in, else memory.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.

    Raises:
        ConfigurationError: The backend is not known or its URL cannot be read, or its client library is missing.
        StoreUnavailable: From every operation, when the place cannot be reached in time.

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
        if not timeout > 0:
            raise ConfigurationError(f"timeout is {timeout}; give seconds, more than 0")
        self._is_placed, self._timeout = url is not None, timeout
        self._sharing = Sharing("AccountStore")
        self._backend = _backend(hidden("memory://" if url is None else url), timeout)
        self._lines: dict[str, deque[object]] = {}
        self._lock = threading.Lock()

    async def reserve(
        self,
        account: Account,
        amount: int,
        *,
        blocking: bool,
        charge: str | None = None,
        lease: float = 30.0,
    ) -> Reservation:
        """Reserve an amount, if there is room for it.

        Args:
            account: Where.
            amount: How much.
            blocking: Whether the caller is synchronous.
            charge: The identity of what is paid for. What the same charge has reserved or settled is replaced.
            lease: Seconds after which the amount is given back if this process is gone.
        """
        wanted = Reservation(
            _tidied(account), uuid4().hex, amount, _digest(charge) if charge else None, lease
        )
        if blocking or not self._backend.leases:
            reservation = self._backend.reserve(wanted)
        else:
            step = partial(self._backend.reserve, wanted)
            reservation = await BlockingStep(step, undo=self._give_back).answer()
        if reservation.granted and self._backend.leases:
            LEASES.keep(self._backend, reservation)
        return reservation

    async def settle(self, reservation: Reservation, actual: int, *, blocking: bool) -> int:
        """End a reservation: what it was for has used `actual`, which need not be what was reserved.

        Where the place cannot be reached, this process goes on trying in the background.

        Returns:
            What is available then.
        """
        LEASES.drop(reservation)
        return await self._ask(blocking, self._settle, reservation, actual)

    def _give_back(self, reservation: Reservation) -> None:
        """Undo a reservation whose caller was cancelled meanwhile, now or as soon as the place can be reached."""
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
        await self._ask(blocking, self._backend.grant, _tidied(account), more, grant)

    async def granted(self, account: Account, id: str, *, blocking: bool) -> int | None:
        """What was granted by an id, `None` if nothing was."""
        return await self._ask(blocking, self._backend.granted, _tidied(account), _digest(id))

    async def balance(self, account: Account, *, blocking: bool) -> Balance:
        """How an account stands."""
        return await self._ask(blocking, self._backend.balance, _tidied(account))

    def open(self, database: Secret | None = None) -> None:
        """Store in a Postgres until the store is closed, unless another backend was given.

        Raises:
            ConfigurationError: An open `Production` uses the store in another database.
        """
        if database is not None and not self._is_placed and self._sharing.join(database):
            self._close()
            self._backend = _backend(hidden(database), self._timeout)

    def ping(self) -> Ping:
        """Ask the backend for a balance."""
        drive(self.balance(Account(NOBODY, limit=1), blocking=True))
        return Ping()

    def close(self) -> None:
        """Let go of what is reserved, and close the connections, unless an open `Production` uses them too."""
        if self._sharing.leave():
            self._close()

    def _close(self) -> None:
        LEASES.forget(self._backend)
        self._backend.close()
        if not (self._is_placed or isinstance(self._backend, MemoryAccounts)):
            self._backend = MemoryAccounts()

    @contextmanager
    def line(self, account: Account) -> Generator[Callable[[], bool]]:
        """Wait in this process's line for an account; gives a function that says whether it is one's turn."""
        ticket = object()
        with self._lock:
            line = self._lines.setdefault(account.key, deque())
            line.append(ticket)
        try:
            yield lambda: line[0] is ticket
        finally:
            with self._lock:
                line.remove(ticket)
                if not line:
                    del self._lines[account.key]

    def has_line(self, account: Account) -> bool:
        """Whether somebody in this process waits for room in an account."""
        return account.key in self._lines

    async def _ask(
        self, blocking: bool, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if blocking or not self._backend.leases:
            return step(*args, **kwargs)
        return await BlockingStep(partial(step, *args, **kwargs)).answer()


def _backend(url: SecretStr, timeout: float) -> AccountBackend:
    match scheme_of(url):
        case "memory":
            return MemoryAccounts()
        case "postgresql" | "postgres":
            from lg_prod_nodes.stores.accounts.postgres import PostgresAccounts

            return PostgresAccounts(url, timeout)
        case "redis" | "rediss" | "valkey" | "valkeys":
            from lg_prod_nodes.stores.accounts.redis import RedisAccounts

            return RedisAccounts(url, timeout)
        case scheme:
            raise ConfigurationError(
                f"cannot use {scheme}:// as a store of accounts; "
                "use memory://, postgresql://, redis:// or valkey://"
            )


def _tidied(account: Account) -> Account:
    """The account with a key that every place can keep: users name themselves."""
    key = account.key
    if key.isprintable() and len(key) <= _LONGEST_KEY:
        return account
    return replace(account, key=_digest(key))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
