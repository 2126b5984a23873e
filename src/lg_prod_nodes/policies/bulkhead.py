"""Let through so many calls at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import Busy, StoreUnavailable
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Reservation

_PACE = 0.02  # seconds from one look at the store to the next, while waiting


@dataclass(frozen=True)
class Bulkhead(Admission):
    """Lets through so many calls at once, and refuses, delays or answers the others.

    Acts on runs, resumed ones too, or on each call of the node that it is given for. A place is given back however
    the call ends: with a result, an error, an interrupt, cancelled, or as a stream that nobody reads to its end.

    Args:
        limit: How many calls may go on at once.
        by: Whom a call counts for: `by_user`, `by_thread`, any function of the call.
        anonymous: Calls for which `by` gives `None` are an `AnonymousCall` error by default (`"raise"`); `"share"`
            counts them together.
        store: Where the places are kept, as a URL or an `AccountStore`. `memory://` counts for this process alone;
            `postgresql://`, `redis://` and `valkey://` for all workers. Without one, the database of `Production`,
            else memory.
        max_wait: Seconds that a call waits for a place before it is refused; in a process, who comes first is served
            first.
        reply: Ends a refused call with a message instead of raising: a text, or a function of the `Busy` that gives
            a text or a state update.
        lease: Seconds after which the places of a dead worker are given back. A living one renews its leases; one
            that stands still for longer loses them.
        name: Tells bulkheads on the same store apart; those of the same name, graph and keys share their places.
        store_down: Whether a call is refused by `"raise"` (`StoreUnavailable`) or let through by `"admit"` while the
            store cannot be reached.

    Raises:
        Busy: No place within `max_wait`.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` gave `None` for the call and `anonymous` is `"raise"`.
        ConfigurationError: While building, when a setting cannot work.

    Example:
        ```python
        Bulkhead(10, by=by_tenant, store="postgresql://localhost/app", max_wait=2.0)
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run"})
    store_type = AccountStore

    limit: int
    store: Secret | AccountStore | None = field(default=None, kw_only=True, repr=False)
    max_wait: float = field(default=0.0, kw_only=True)
    reply: str | Callable[[Busy], Any] | None = field(default=None, kw_only=True)
    lease: float = field(default=30.0, kw_only=True)
    name: str = field(default="Bulkhead", kw_only=True)
    store_down: Literal["raise", "admit"] = field(default="raise", kw_only=True)

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not isinstance(self.limit, int) or self.limit < 1:
            yield f"limit is {self.limit!r}; give a whole number, 1 or more"
        if not self.max_wait >= 0:
            yield f"max_wait is {self.max_wait}; give seconds, 0 or more"
        if not self.lease > 0:
            yield f"lease is {self.lease}; give seconds, more than 0"
        yield from super().problems()

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Hold a place while the call goes on."""
        try:
            slot = await self._enter(call)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            if self.store_down == "raise":
                raise
            return await handler(call)
        if slot is None:
            return await call.refuse(Busy(self.limit, policy=self.name), self.reply)
        try:
            return await handler(call)
        finally:
            await self._leave(call, slot)

    async def _enter(self, call: Call) -> Reservation | None:
        """Take a place; who finds none waits behind those of this process that found none before."""
        account = self._account(call)
        if not self.store_in_use.has_line(account):
            slot = await self._reserve(call, account)
            if slot.granted:
                return slot
        return await self._wait(call, account) if self.max_wait > 0 else None

    async def _wait(self, call: Call, account: Account) -> Reservation | None:
        start = call.now()
        with self.store_in_use.line(account) as is_next:
            while (left := start + self.max_wait - call.now()) > 0:
                await call.sleep(min(_PACE, left))
                if is_next() and (slot := await self._reserve(call, account)).granted:
                    call.emit("call_delayed", policy=self.name, seconds=call.now() - start)
                    return slot
        return None

    async def _reserve(self, call: Call, account: Account) -> Reservation:
        slot: Reservation = await self.store_in_use.reserve(
            account, 1, lease=self.lease, blocking=call.blocking
        )
        return slot

    async def _leave(self, call: Call, slot: Reservation) -> None:
        try:
            await self.store_in_use.settle(slot, 0, blocking=call.blocking)
        except StoreUnavailable:  # which goes on trying; meanwhile the lease runs
            call.emit("store_unavailable", policy=self.name)

    def _account(self, call: Call) -> Account:
        at = call.name if call.kind == "run" else f"{call.run.graph}/{call.node or call.name}"
        whom = self.key(call)
        return Account("|".join((self.name, at, "*" if whom is None else f"={whom}")), self.limit)
