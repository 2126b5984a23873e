"""Let through so many calls, or so many tokens, in a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, ClassVar, Literal

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError, RateLimitExceeded, StoreUnavailable
from lg_prod_nodes.core.policy import Site
from lg_prod_nodes.core.report import Kind, LimitState
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.core.usage import CallRequest, estimated_tokens
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.limits.store import Decision, Limits, LimitStore, parse_limits

Cost = Callable[[Call], int]
"""How much a call counts: a whole number, 0 for a call that passes uncounted."""


def by_call(call: Call) -> int:
    """Each call as one."""
    return 1


def by_tokens(call: Call) -> int:
    """A model call by its tokens, sent and received: an estimate before the call, what was spent after it."""
    request = call.request or CallRequest()
    if request.spent:
        return sum(usage.total_tokens for usage in request.spent)
    return estimated_tokens(call.input, request.schemas) + (request.max_output_tokens or 0)


@dataclass(frozen=True)
class RateLimit(Admission):
    """Lets through so many calls in a time, and refuses, delays or answers the others.

    Acts once a run, or on each call of the node that it is given for; with `cost=by_tokens` on each model call.
    Retries of a node and the resumption of an interrupted run belong to the call that was counted already. Tokens
    count each time that they are spent.

    Args:
        limits: One limit or several that all must have room, `"10/second;1000/hour"`, or a function of the call that
            gives such a text, and `None` for no limit.
        by: Whom a call counts for: `by_user`, `by_thread`, any function of the call.
        anonymous: Calls for which `by` gives `None` are an `AnonymousCall` error by default (`"raise"`); `"share"`
            counts them together.
        cost: How much a call counts: `by_call`, `by_tokens`, any function of the call that gives a whole number.
            Tokens are estimated before the call; after it the difference is taken or given back.
        store: Where the windows are kept, as a URL or a `LimitStore`. `memory://` counts for this process alone;
            `redis://`, `valkey://` and `postgresql://` for all workers. Without one, the database of `Production`,
            else memory.
        max_wait: Seconds that a call waits for room before it is refused. Who came first goes first.
        reply: Ends a refused call with a message instead of raising: a text, or a function of the
            `RateLimitExceeded` that gives a text or a state update.
        name: Tells limits on the same store apart; limits of the same name, keys and rates share their windows.
        shadow: Decide and tell, and let every call pass.
        store_down: What happens while the store cannot be reached: a call is refused by `"raise"`
            (`StoreUnavailable`), let through by `"admit"`, or counted in this process, against its `"share"` of
            the limits.
        workers: How many processes share the limits, for `store_down="share"`.

    Raises:
        RateLimitExceeded: No room within `max_wait`; `retry_after` says when there will be.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` gave `None` for the call and `anonymous` is `"raise"`; never with `shadow`.
        ConfigurationError: While building, when a setting cannot work; in a call, when a function of the call gave
            limits that cannot be read.

    Example:
        ```python
        RateLimit("10/second;1000/hour", by=by_user, store="redis://localhost:6379", max_wait=2.0)
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run"})
    store_type = LimitStore
    while_down: ClassVar[tuple[str, ...]] = ("raise", "admit", "share")

    limits: str | Callable[[Call], str | None]
    cost: Cost = field(default=by_call, kw_only=True)
    store: Secret | LimitStore | None = field(default=None, kw_only=True, repr=False)
    max_wait: float = field(default=0.0, kw_only=True)
    reply: str | Callable[[RateLimitExceeded], Any] | None = field(default=None, kw_only=True)
    name: str = field(default="RateLimit", kw_only=True)
    shadow: bool = field(default=False, kw_only=True)
    store_down: Literal["raise", "admit", "share"] = field(default="raise", kw_only=True)
    workers: int | None = field(default=None, kw_only=True)

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not callable(self.limits):
            parse_limits(self.limits)
        if not callable(self.cost):
            yield f"cost is {self.cost!r}; give a function of the call, such as by_tokens"
        if not 0 <= self.max_wait < inf:
            yield f"max_wait is {self.max_wait}; give seconds, 0 or more"
        if (self.store_down == "share") != (self.workers is not None):
            yield "store_down='share' and workers=... belong together: how many processes share the limits"
        if self.workers is not None and not (type(self.workers) is int and self.workers > 0):
            yield f"workers is {self.workers!r}; give the number of processes, 1 or more"
        yield from super().problems()

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Model calls where tokens are counted, else runs or calls of a node."""
        return frozenset({"model"}) if self.cost is by_tokens else super().kinds_at(site)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Count the call, or refuse it."""
        text = self.limits(call) if callable(self.limits) else self.limits
        cost = 0 if text is None or call.resumed else _checked(self.cost(call))
        if not cost or text is None:
            return await handler(call)
        asking = _Asking(self, call, text, cost)
        if (refusal := await asking.refusal()) is not None:
            if not self.shadow:
                return await call.refuse(refusal, self.reply)
            call.emit("call_would_be_rejected", policy=self.name, limit=refusal.limit)
        try:
            return await handler(call)
        finally:
            if self.cost is by_tokens:  # what nobody tells stays as estimated
                await asking.correct(by_tokens(call))

    def who(self, call: Call) -> str:
        """Whose windows a call counts in."""
        graph = call.name if call.kind == "run" else call.run.graph
        place = f"{graph}/{call.node or call.name}" if call.kind == "node" else graph
        key = self.by(call) if self.shadow else self.key(call)
        return "|".join((self.name, place) if key is None else (self.name, place, str(key)))


class _Asking:
    """One call at one limit."""

    def __init__(self, policy: RateLimit, call: Call, text: str, cost: int) -> None:
        self._policy, self._call, self._cost = policy, call, cost
        self._who = policy.who(call)
        self._window = (self._who, text)
        self._limits = parse_limits(text)
        self._once = None if policy.cost is by_tokens else call.charge(self._who)
        self._taken: tuple[LimitStore, Limits, Decision] | None = None

    async def refusal(self) -> RateLimitExceeded | None:
        """Take what the call counts, as soon as there is room; else say why not."""
        call, policy, since = self._call, self._policy, None
        with policy.store_in_use.turn(self._window) as turn:
            while (refused := turn.refusal(call.now()) or await self._refused()) is not None:
                decision, wait = refused
                since = call.now() if since is None else since
                if policy.shadow or call.now() - since + wait > policy.max_wait:
                    return self._exceeded(decision, wait)
                await call.sleep(turn.wait(decision, call.now(), wait))
        if since is not None:
            call.emit("call_delayed", policy=policy.name, seconds=call.now() - since)
        return None

    async def correct(self, cost: int) -> None:
        """Take more, or give back, where the call turned out to count something else."""
        if self._taken is None or cost == self._cost:
            return
        store, limits, decision = self._taken
        by, blocking = cost - self._cost, self._call.blocking
        try:
            corrected = await store.adjust(
                limits, self._who, by=by, since=decision.at, blocking=blocking
            )
        except StoreUnavailable:
            self._call.emit("store_unavailable", policy=self._policy.name)
        else:
            self._tell(corrected)

    async def _refused(self) -> tuple[Decision, float] | None:
        """The store's refusal and the seconds until there is room; `None` for a call that may pass."""
        decision = await self._decision()
        if decision is None:
            return None
        self._tell(decision)
        return None if decision.admitted else (decision, decision.tightest.wait)

    async def _decision(self) -> Decision | None:
        store, policy = self._policy.store_in_use, self._policy
        try:
            return await self._ask(store, self._limits)
        except StoreUnavailable:
            self._call.emit("store_unavailable", policy=policy.name)
            if policy.workers is not None:
                shares = tuple(limit.share(policy.workers) for limit in self._limits)
                return await self._ask(store.local, shares)
            if policy.store_down == "raise" and not policy.shadow:
                raise
            return None

    async def _ask(self, store: LimitStore, limits: Limits) -> Decision:
        decision = await store.acquire(
            limits, self._who, cost=self._cost, once=self._once, blocking=self._call.blocking
        )
        if decision.admitted:
            self._taken = store, limits, decision
        return decision

    def _tell(self, decision: Decision) -> None:
        of = hash(self._who)
        for state in self._states(decision):
            self._call.emit("limit_checked", of=of, **asdict(state))

    def _states(self, decision: Decision) -> list[LimitState]:
        return [
            LimitState(
                self._policy.name,
                w.limit.text,
                w.limit.quota,
                w.limit.seconds,
                w.remaining,
                w.reset,
            )
            for w in decision.windows
        ]

    def _exceeded(self, decision: Decision, wait: float) -> RateLimitExceeded:
        return RateLimitExceeded(
            decision.tightest.limit.text,
            retry_after=wait if wait < inf else None,
            policy=self._policy.name,
            limits=self._states(decision),
        )


def _checked(cost: int) -> int:
    if not isinstance(cost, int) or cost < 0:
        raise ConfigurationError(f"cost gave {cost!r}; give a whole number, 0 or more")
    return cost
