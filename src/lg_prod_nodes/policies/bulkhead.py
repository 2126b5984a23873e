"""Cap concurrent calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import Busy, StoreUnavailable
from lg_prod_nodes.core.policy import REQUESTS, Site
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Reservation

_PACE = 0.02  # seconds between two looks at the store while waiting


@dataclass(frozen=True)
class Bulkhead(Admission):
    """Caps concurrent calls; refuses, delays or answers those above the cap.

    Acts on runs, including resumed ones, or on each call of the node it is attached to. A call frees its slot however
    it ends: with a result, an error, an interrupt, a cancellation, or a stream that is not read to its end. If a
    synchronous node goes on in its thread after that, it keeps the slot until it ends. Slots held by crashed workers
    are reclaimed.

    Args:
        limit: The number of slots.
        by: The key to count by: `by_user`, `by_thread` or any function of the call.
        anonymous: What to do if `by` returns `None`: `"raise"` an `AnonymousCall` error, or `"share"` one key among all
            such calls.
        store: Where the slots are stored: a URL or an `AccountStore`. `memory://` counts in this process only;
            `postgresql://`, `redis://` and `valkey://` count across all workers. Defaults to the database of
            `Production`, else memory.
        max_wait: Seconds that a call waits for a slot before it is refused. Within a process, waiting calls are served
            in order.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the `Busy` that returns
            a string or a state update.
        lease: Seconds after which a crashed worker's slots are reclaimed. A running worker renews its leases; one that
            hangs for longer loses them.
        name: The bulkhead's name. Bulkheads with the same name, store, graph and key share their slots.
        store_down: What to do while the store cannot be reached: `"raise"` a `StoreUnavailable` error, or `"admit"`
            calls uncounted.

    Raises:
        Busy: No slot came free within `max_wait`.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` returned `None` for the call and `anonymous` is `"raise"`.
        ConfigurationError: While building, if a setting is invalid.

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
        """Yield a message for each invalid setting."""
        if not isinstance(self.limit, int) or self.limit < 1:
            yield f"limit is {self.limit!r}; give a whole number, 1 or more"
        if not self.max_wait >= 0:
            yield f"max_wait is {self.max_wait}; give seconds, 0 or more"
        if not self.lease > 0:
            yield f"lease is {self.lease}; give seconds, more than 0"
        yield from super().problems()

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Runs, or the calls of what it is attached to."""
        return REQUESTS if site == "client" else super().kinds_at(site)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Hold a slot while the call runs."""
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
            # A synchronous function in a thread goes on after its call was cancelled or timed out.
            later = partial(self._leave, call.replace(blocking=True), slot)
            if not call.run.threads.then(call.task, lambda: drive(later())):
                await self._leave(call, slot)

    async def _enter(self, call: Call) -> Reservation | None:
        """Take a slot, or wait for one behind the calls of this process that already wait."""
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
        except StoreUnavailable:  # the store keeps trying until the lease expires
            call.emit("store_unavailable", policy=self.name)

    def _account(self, call: Call) -> Account:
        at = call.name if call.kind == "run" else f"{call.run.graph}/{call.node or call.name}"
        whom = self.key(call)
        return Account("|".join((self.name, at, "*" if whom is None else f"={whom}")), self.limit)
