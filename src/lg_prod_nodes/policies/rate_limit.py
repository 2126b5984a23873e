"""Let through so many calls in a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.errors import ConfigurationError, RateLimitExceeded, StoreUnavailable
from lg_prod_nodes.keys import Key, together
from lg_prod_nodes.policy import Policy, Role
from lg_prod_nodes.stores.limits import Admission, Limits, LimitStore, parse_limits

_MARGIN = 0.001  # at the very end of a window it is still full


@dataclass(frozen=True)
class RateLimit(Policy):
    """Lets through so many calls in a time, and refuses, delays or answers the others.

    Acts once a run, or on each call of the node that it is given for. Retries of a node and the resumption of an
    interrupted run belong to the call that was counted already.

    Args:
        limits: One limit or several that all must have room: `"10/second;1000/hour"`.
        by: Whom a call counts for: `by_user`, `by_thread`, any function of the call. Calls for which it gives `None`
            count together.
        store: Where the windows are kept, as a URL or a `LimitStore`. `memory://` counts for this process alone;
            `redis://` and `valkey://` for all workers.
        max_wait: Seconds that a call waits for room before it is refused.
        reply: Ends a refused call with a message instead of raising: a text, or a function of the
            `RateLimitExceeded` that gives a text or a state update.
        name: Tells limits on the same store apart; limits of the same name, keys and rates share their windows.
        store_down: Whether a call is refused by `"raise"` (`StoreUnavailable`) or let through by `"admit"` while the
            store cannot be reached.

    Raises:
        RateLimitExceeded: No room within `max_wait`; `retry_after` says when there will be.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        ConfigurationError: While building, when a setting cannot work.

    Example:
        ```python
        RateLimit("10/second;1000/hour", by=by_user, store="redis://localhost:6379", max_wait=2.0)
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run"})
    role: ClassVar[Role | None] = "admit"

    limits: str
    by: Key = field(default=together, kw_only=True)
    store: str | LimitStore = field(default="memory://", kw_only=True, repr=False)
    max_wait: float = field(default=0.0, kw_only=True)
    reply: str | Callable[[RateLimitExceeded], Any] | None = field(default=None, kw_only=True)
    name: str = field(default="RateLimit", kw_only=True)
    store_down: Literal["raise", "admit"] = field(default="raise", kw_only=True)

    def __post_init__(self) -> None:
        _ = self._items
        if not self.max_wait >= 0:
            raise ConfigurationError(f"max_wait is {self.max_wait}; give seconds, 0 or more")
        if not (self.reply is None or isinstance(self.reply, str) or callable(self.reply)):
            raise ConfigurationError(f"reply is {self.reply!r}; give a text or a function")
        if not isinstance(self.store, (str, LimitStore)):
            raise ConfigurationError("store is neither a URL nor a LimitStore; give 'memory://'")
        if not callable(self.by):
            raise ConfigurationError(
                f"by is {self.by!r}; give a function of the call, such as by_user"
            )
        if self.store_down not in ("raise", "admit"):
            raise ConfigurationError(
                f"store_down is {self.store_down!r}; choose 'raise' or 'admit'"
            )
        _ = self._store

    @cached_property
    def _items(self) -> Limits:
        return parse_limits(self.limits)

    @cached_property
    def _store(self) -> LimitStore:
        return LimitStore(self.store) if isinstance(self.store, str) else self.store

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, for a reply that is a text."""
        return frozenset({"messages"} if isinstance(self.reply, str) else ())

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Count the call, or refuse it."""
        if call.resumed:
            return await handler(call)
        admission = await self._admit(call)
        if admission is not None and not admission.admitted:
            rejection = RateLimitExceeded(
                admission.limit, retry_after=admission.retry_after, policy=self.name
            )
            return await call.refuse(rejection, self.reply)
        return await handler(call)

    async def _admit(self, call: Call) -> Admission | None:
        once = (call.task, call.execution) if call.task and call.execution else None
        patience, waited = self.max_wait, 0.0
        while True:
            try:
                admission = await self._store.acquire(
                    self._items,
                    self._key(call),
                    blocking=call.blocking,
                    once=once,
                )
            except StoreUnavailable:
                call.emit("store_unavailable", policy=self.name)
                if self.store_down == "raise":
                    raise
                return None
            for limit, remaining in admission.remaining.items():
                call.emit("limit_checked", policy=self.name, limit=limit, remaining=remaining)
            if admission.admitted or admission.retry_after > patience:
                break
            patience -= admission.retry_after
            waited += admission.retry_after
            await call.sleep(admission.retry_after + _MARGIN)
        if waited:
            call.emit("call_delayed", policy=self.name, seconds=waited)
        return admission

    def _key(self, call: Call) -> str:
        place = call.name if call.kind == "run" else f"{call.run.graph}/{call.node or call.name}"
        return "|".join((self.name, place, str(self.by(call) or "*")))
