"""Stop calling a failing dependency, and slow down when a provider asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.error_class import (
    Classify,
    check_classes,
    check_classify,
    class_of,
    retry_after_of,
)
from lg_prod_nodes.core.errors import (
    CallRejected,
    CircuitOpen,
    ProductionError,
    RateLimitExceeded,
    StoreUnavailable,
)
from lg_prod_nodes.core.keys import Key
from lg_prod_nodes.core.policy import REQUESTS, Site
from lg_prod_nodes.core.report import ErrorClass, Kind
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.circuits.circuit import (
    Circuit,
    CircuitRules,
    Result,
    Verdict,
    enter,
    leave,
)
from lg_prod_nodes.stores.circuits.store import CircuitStore

T = TypeVar("T")


def by_dependency(call: Call) -> str | None:
    """One circuit per model, or per node if the policy is attached to a node."""
    return (call.node or call.name) if call.kind == "node" else call.name


@dataclass(frozen=True)
class CircuitBreaker(Admission):
    """Stops calling a failing dependency, across all workers, until a probe succeeds.

    Attached to a graph, it acts on each model call; attached to a node, on each attempt of it. A circuit opens when the
    share of failed calls reaches `ratio`. While it is open, at most `probes` calls are admitted every `open_for`
    seconds, across all workers of its store; the first that succeeds closes it. A 429 from a provider does not open
    the circuit: all callers wait as long as the provider asks, then continue at a rate that it accepts. Errors of the
    caller (bad input, missing permission) do not count.

    Args:
        ratio: The share of failed calls that opens a circuit, above 0 and at most 1.
        minimum: The least number of calls within `window` before a circuit can open.
        window: Seconds over which calls are counted, from the first failure.
        open_for: Seconds that a circuit stays open, and between two rounds of probes.
        probes: The number of calls admitted per round.
        max_wait: The most seconds that a call waits when its provider asks to slow down.
        by: The dependency, each with a circuit of its own. Defaults to the model's name, or the node.
        anonymous: What to do if `by` returns `None`: `"raise"` an `AnonymousCall` error, or `"share"` one circuit among
            all such calls.
        counts: The error classes that count as failures; never `"refused"`, since a model that refuses is up.
        classify: Your own classes, which take precedence, see `class_of`.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the exception.
        store: Where circuits are stored: a URL or a `CircuitStore`. `memory://` works within this process only;
            `postgresql://`, `redis://` and `valkey://` across all workers. Defaults to the database of `Production`,
            else memory.
        store_down: What to do while the store cannot be reached: `"admit"` calls, or `"raise"` a `StoreUnavailable`
            error.
        name: The breaker's name, which separates breakers on the same store.

    Raises:
        CircuitOpen: The circuit is open; `retry_after` gives the seconds until the next probe.
        RateLimitExceeded: The provider asks to wait longer than `max_wait`.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        ConfigurationError: While building, if a setting is invalid.

    Example:
        ```python
        CircuitBreaker(ratio=0.5, minimum=5, open_for=30.0, store="postgresql://localhost/app")
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"model"})
    store_type = CircuitStore

    ratio: float = field(default=0.5, kw_only=True)
    minimum: int = field(default=5, kw_only=True)
    window: float = field(default=30.0, kw_only=True)
    open_for: float = field(default=30.0, kw_only=True)
    probes: int = field(default=1, kw_only=True)
    max_wait: float = field(default=5.0, kw_only=True)
    by: Key = field(default=by_dependency, kw_only=True)
    counts: tuple[ErrorClass, ...] = field(default=("transient", "unknown"), kw_only=True)
    classify: Classify | None = field(default=None, kw_only=True, repr=False)
    reply: str | Callable[[CallRejected], Any] | None = field(default=None, kw_only=True)
    store: Secret | CircuitStore | None = field(default=None, kw_only=True, repr=False)
    store_down: Literal["raise", "admit"] = field(default="admit", kw_only=True)
    name: str = field(default="CircuitBreaker", kw_only=True)

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid setting."""
        if not 0 < self.ratio <= 1:
            yield f"ratio is {self.ratio}; give a share above 0 and at most 1"
        for setting in ("minimum", "probes"):
            if (given := getattr(self, setting)) < 1:
                yield f"{setting} is {given}; give a number, 1 or more"
        for setting in ("window", "open_for"):
            if not (given := getattr(self, setting)) > 0:
                yield f"{setting} is {given}; give seconds, more than 0"
        if not self.max_wait >= 0:
            yield f"max_wait is {self.max_wait}; give seconds, 0 or more"
        check_classes("counts", self.counts)
        if "refused" in self.counts:
            yield "counts has 'refused', but a model that refuses to answer is up; leave it out"
        check_classify(self.classify)
        yield from super().problems()

    @cached_property
    def _rules(self) -> CircuitRules:
        return CircuitRules(self.ratio, self.minimum, self.window, self.open_for, self.probes)

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Model calls, the attempts of the node it is attached to, or requests."""
        if site == "client":
            return REQUESTS
        return frozenset({"node"}) if site == "node" else self.kinds

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Ask the circuit for admission, and record how the call ended."""
        circuit = self.key(call) or "*"
        try:
            entry = await self._enter(call, circuit)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            if self.store_down == "raise":
                raise
            return await handler(call)
        if not entry.admitted:
            return await call.refuse(self._refusal(circuit, entry), self.reply)
        try:
            result = await handler(call)
        except Exception as error:
            # The failure of an inner policy says nothing about the dependency.
            if call.outcome(error) == "error" and not isinstance(error, ProductionError):
                await self._leave(call, circuit, entry, error)
            raise
        await self._leave(call, circuit, entry, None)
        return result

    def _refusal(self, circuit: str, entry: Verdict) -> CallRejected:
        if entry.is_open:
            return CircuitOpen(circuit, retry_after=entry.wait, policy=self.name)
        return RateLimitExceeded(
            f"requested by {circuit}", retry_after=entry.wait, policy=self.name
        )

    async def _enter(self, call: Call, circuit: str) -> Verdict:
        """Ask for admission; if the circuit asks to wait, wait and ask again."""
        seconds, entry = 0.0, None

        def step(at: Circuit, now: float) -> tuple[Circuit, Verdict]:
            return enter(at, self._rules, now, patience=self.max_wait - seconds, waited=entry)

        while True:
            entry = await self._change(call, circuit, step)
            if not entry.admitted or entry.wait <= 0:
                if seconds:
                    call.emit("call_delayed", policy=self.name, seconds=seconds)
                return entry
            await call.sleep(entry.wait)
            seconds += entry.wait

    async def _leave(
        self, call: Call, circuit: str, entry: Verdict, error: Exception | None
    ) -> None:
        """Record how the call ended. If the store is down, the call's result stands."""
        result = self._result(error)
        delay = retry_after_of(error, time=call.clock.time()) if error is not None else None

        def step(at: Circuit, now: float) -> tuple[Circuit, str | None]:
            after = leave(at, self._rules, now, entry, result, retry_after=delay)
            return after, _change_of(at, after)

        try:
            change = await self._change(call, circuit, step)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            return
        if change is not None:
            call.emit(change, policy=self.name, circuit=circuit)
        if result == "limited":
            call.emit("provider_limited", policy=self.name, circuit=circuit, retry_after=delay)

    def _result(self, error: Exception | None) -> Result:
        if error is None:
            return "ok"
        error_class = class_of(error, self.classify)
        if error_class == "rate_limited":
            return "limited"
        return "failed" if error_class in self.counts else "ok"

    async def _change(
        self, call: Call, circuit: str, step: Callable[[Circuit, float], tuple[Circuit, T]]
    ) -> T:
        # nodes of other graphs may have the same name
        is_node = call.kind == "node" and self.by is by_dependency
        name = f"{self.name}|{call.run.graph}/{circuit}" if is_node else f"{self.name}|{circuit}"
        changed: T = await self.store_in_use.change(
            name, lambda at: step(at, call.clock.time()), blocking=call.blocking
        )
        return changed


def _change_of(before: Circuit, after: Circuit) -> str | None:
    was_open, is_open = before.open_until is not None, after.open_until is not None
    if was_open == is_open:
        return None
    return "circuit_opened" if is_open else "circuit_closed"
