"""Rate limits, in calls or tokens per period."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar, Literal

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError, RateLimitExceeded, StoreUnavailable
from lg_prod_nodes.core.policy import REQUESTS, Site
from lg_prod_nodes.core.report import Kind, LimitState
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.core.usage import LONGEST_ANSWER, CallRequest, estimated_tokens, is_unread
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.limits.store import Decision, Limits, LimitStore, parse_limits

Cost = Callable[[Call], int]
"""Returns how much a call counts: a whole number, 0 to admit it uncounted."""


def by_call(call: Call) -> int:
    """Count each call as one."""
    return 1


def by_tokens(call: Call) -> int:
    """Count a model call by its tokens, sent and received: estimated before the call, actual after it."""
    request = _request(call)
    if request.spent:
        return sum(usage.total_tokens for usage in request.spent)
    return estimated_tokens(call.input, request.schemas) + (request.max_output_tokens or 0)


def _request(call: Call) -> CallRequest:
    return call.request or CallRequest()


@dataclass(frozen=True)
class RateLimit(Admission):
    """Admits N calls per period; refuses, delays or answers those above the limit.

    Acts once per run, on each call of the node it is attached to, or with `cost=by_tokens` on each model call.
    Retries of a node and a run that resumes belong to the call that was counted already, as the checkpointer knows;
    from one point a run resumes three times a day for free. Tokens count each time they are spent.

    Args:
        limits: One limit, or several that must all admit the call: `"10/second;1000/hour"`. Or a function of the call
            that returns such a string, or `None` for no limit.
        by: The key to count by: `by_user`, `by_thread` or any function of the call.
        anonymous: What to do if `by` returns `None`: `"raise"` an `AnonymousCall` error, or `"share"` one key among all
            such calls.
        cost: How much a call counts: `by_call`, `by_tokens` or any function of the call that returns a whole number.
            Tokens are estimated before the call and corrected after it. If neither the model nor the call has a
            maximum, an answer is estimated at 4096 tokens, or at all that is left.
        store: Where the windows are stored: a URL or a `LimitStore`. `memory://` counts in this process only;
            `redis://`, `valkey://` and `postgresql://` count across all workers. Defaults to the database of
            `Production`, else memory.
        max_wait: Seconds that a call waits to be admitted before it is refused. Waiting calls are served in order.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the
            `RateLimitExceeded` that returns a string or a state update.
        name: The limit's name. Limits with the same name, store, key and rate share their windows.
        shadow: Whether to admit every call and only emit what would have been decided.
        store_down: What to do while the store cannot be reached: `"raise"` a `StoreUnavailable` error, `"admit"` calls
            uncounted, or count in this process against its `"share"` of the limits.
        workers: The number of processes that share the limits, for `store_down="share"`.

    Raises:
        RateLimitExceeded: The limit does not admit the call within `max_wait`; `retry_after` says when it will.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` returned `None` for the call and `anonymous` is `"raise"`; never with `shadow`.
        ConfigurationError: While building, if a setting is invalid. At a call, if a function returned limits that
            cannot be parsed.

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
        """Yield a message for each invalid setting."""
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
        """Model calls if tokens are counted, else runs, calls of a node or requests."""
        if site == "client":
            return frozenset() if self.cost is by_tokens else REQUESTS
        return frozenset({"model"}) if self.cost is by_tokens else super().kinds_at(site)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Count the call, or refuse it."""
        text = self.limits(call) if callable(self.limits) else self.limits
        cost = 0 if text is None else _checked(self.cost(call))
        if not cost or text is None or (call.resumed and await self.is_included(call)):
            return await handler(call)
        asking = _Asking(self, call, text, cost)
        if (refusal := await asking.refusal()) is not None:
            if not self.shadow:
                return await call.refuse(refusal, self.reply)
            call.emit("call_would_be_rejected", policy=self.name, limit=refusal.limit)
        result = None
        try:
            result = await handler(call)
            return result
        finally:
            # If no usage was reported, the estimate stands; if the answer is yet to be read, all that was taken.
            if self.cost is by_tokens and (_request(call).spent or not is_unread(result)):
                await asking.correct(by_tokens(call))

    async def is_included(self, call: Call, charge: str = "run") -> bool:
        """Whether a call that was counted before includes this repetition of it, from the point where the run resumes.

        A caller may stop a run and resume it from the same point for ever, so that only some repetitions are free.
        """
        place = call.run.charges.work.place
        if not place or call.attempt > 1:
            return True
        who, blocking = "|".join((self.name, "again", place, charge)), call.blocking
        try:
            again: Decision = await self.store_in_use.acquire(_FREE, who, blocking=blocking)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            return True
        return again.admitted

    def who(self, call: Call) -> str:
        """Return the key of the windows that a call counts in."""
        graph = call.name if call.kind == "run" else call.run.graph
        place = f"{graph}/{call.node or call.name}" if call.kind == "node" else graph
        key = self.by(call) if self.shadow else self.key(call)
        return "|".join((self.name, place) if key is None else (self.name, place, str(key)))


_FREE = parse_limits("3/day")
"""Repetitions of a counted call from the same point that are not counted: as many as a retry policy would make."""


class _Asking:
    """One call at one limit."""

    def __init__(self, policy: RateLimit, call: Call, text: str, cost: int) -> None:
        self._policy, self._call, self._cost = policy, call, cost
        self._who = policy.who(call)
        self._window = (self._who, text)
        self._limits = parse_limits(text)
        is_counted_anew = policy.cost is by_tokens or call.resumed
        self._once = None if is_counted_anew else call.charge(self._who)
        is_open_ended = policy.cost is by_tokens and _request(call).max_output_tokens is None
        self._answer = LONGEST_ANSWER if is_open_ended else 0
        self._taken: tuple[LimitStore, Limits, Decision] | None = None

    async def refusal(self) -> RateLimitExceeded | None:
        """Acquire the call's cost, waiting if allowed; return the refusal if the limit does not admit it."""
        call, policy, since = self._call, self._policy, None
        if self._once is not None and not await policy.is_included(call, self._once):
            self._once = None
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
        """Take or give back the difference to the call's actual cost."""
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
        """Return the store's refusal and the seconds to wait, or `None` if the call is admitted."""
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
        """Take the call's cost. If nothing says how long its answer may be, take what a long one costs, or the rest."""
        least = self._cost
        decision = await self._take(store, limits, least + self._answer)
        while self._answer and not decision.admitted:
            rest = min(window.remaining for window in decision.windows)
            if rest <= least:
                return await self._take(store, limits, least + 1)
            decision = await self._take(store, limits, rest)
        return decision

    async def _take(self, store: LimitStore, limits: Limits, cost: int) -> Decision:
        decision = await store.acquire(
            limits, self._who, cost=cost, once=self._once, blocking=self._call.blocking
        )
        if decision.admitted:
            self._taken, self._cost = (store, limits, decision), cost
        return decision

    def _tell(self, decision: Decision) -> None:
        of = hash(self._who)
        for state in self._states(decision):
            self._call.emit("limit_checked", of=of, **state.names())

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
