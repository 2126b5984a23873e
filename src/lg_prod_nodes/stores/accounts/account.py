"""What accounts are made of, and what a place that keeps them can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lg_prod_nodes.stores.store import Backend

_A_DAY = 24 * 3600.0
_A_MONTH = 30 * _A_DAY


@dataclass(frozen=True, slots=True)
class Account:
    """Where amounts are reserved and spent.

    Attributes:
        key: Tells it from the others of its store.
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
        account: Where.
        id: Tells it from all others.
        amount: How much.
        charge: The identity of what is paid for, `None` where nothing tells it from its repetition.
        lease: Seconds for which it holds without being renewed.
        granted: Whether there was room.
        available: What is left beside it; what there was room for, if it was refused.
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
        """What the account remembers it by."""
        return self.charge or self.id

    @property
    def remembered(self) -> float:
        """Seconds for which what it was settled to is remembered: a repetition replaces it for so long."""
        if self.charge is None:
            return _A_DAY  # a repetition is a try of the same step only
        return _A_MONTH if self.account.lasts is None else self.account.lasts


@dataclass(frozen=True, slots=True)
class Balance:
    """How an account stands.

    Attributes:
        spent: What has been settled.
        reserved: What is reserved beside that.
        granted: What was granted over the limit.
    """

    spent: int = 0
    reserved: int = 0
    granted: int = 0


class AccountBackend(Backend, Protocol):
    """Keeps accounts. Every operation is one step that no other comes between, and may be repeated without harm."""

    leases: bool
    """Whether a reservation outlives its process, and has to be renewed."""

    def reserve(self, wanted: Reservation) -> Reservation:
        """Reserve an amount if there is room, in place of what the same charge has reserved or settled."""
        ...

    def settle(self, reservation: Reservation, actual: int) -> int:
        """End a reservation and let its charge be `actual` from now on; gives what is available then."""
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
        """How an account stands."""
        ...
