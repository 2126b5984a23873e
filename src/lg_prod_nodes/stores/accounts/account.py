"""Accounts, reservations and balances, and what a backend can do with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lg_prod_nodes.stores.store import Backend

_A_DAY = 24 * 3600.0
_A_MONTH = 30 * _A_DAY


@dataclass(frozen=True, slots=True)
class Account:
    """An amount that can be reserved and spent.

    Attributes:
        key: Identifies it in its store.
        limit: The most that may be spent, before anything is granted.
        lasts: Seconds from now after which it may be forgotten; `None` for never.
    """

    key: str
    limit: int
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount that was reserved, or refused.

    Attributes:
        account: The account.
        id: Identifies it.
        amount: How much.
        charge: Identifies what is paid for; `None` if a repetition cannot be recognized.
        lease: Seconds for which it holds without being renewed.
        granted: Whether enough was available.
        available: What is left; after a refusal, what was available.
        earlier: What the same charge was settled to before.
    """

    account: Account
    id: str
    amount: int
    charge: str | None
    lease: float
    granted: bool = False
    available: int = 0
    earlier: int = 0

    @property
    def entry(self) -> str:
        """The name of its entry in the account."""
        return self.charge or self.id

    @property
    def remembered(self) -> float:
        """Seconds for which its settlement is remembered, so that a repetition replaces it."""
        if self.charge is None:
            return _A_DAY  # a repetition is a try of the same step only
        return _A_MONTH if self.account.lasts is None else self.account.lasts


@dataclass(frozen=True, slots=True)
class Balance:
    """The state of an account.

    Attributes:
        spent: What has been settled.
        reserved: What is reserved beside that.
        granted: What was granted over the limit.
    """

    spent: int = 0
    reserved: int = 0
    granted: int = 0


class AccountBackend(Backend, Protocol):
    """Stores accounts. Every operation is atomic and idempotent."""

    def reserve(self, wanted: Reservation) -> Reservation:
        """Reserve an amount if enough is available, replacing what the same charge has reserved or settled."""
        ...

    def settle(self, reservation: Reservation, actual: int) -> int:
        """End a reservation and let its charge be `actual` from now on; returns what is available then."""
        ...

    def renew(self, reservations: list[Reservation]) -> None:
        """Let the leases that hold still begin anew."""
        ...

    def grant(self, account: Account, more: int, id: str) -> None:
        """Let a grant be `more`."""
        ...

    def granted(self, account: Account, id: str) -> int | None:
        """What a grant is, `None` if there is none."""
        ...

    def balance(self, account: Account) -> Balance:
        """The state of an account."""
        ...
