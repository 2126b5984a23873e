"""Leave alone what fails, and go slowly where a provider asks to."""

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
from lg_prod_nodes.core.policy import Site
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
    """Each model by its name; where a node is guarded, each node."""
    return (call.node or call.name) if call.kind == "node" else call.name


@dataclass(frozen=True)
class CircuitBreaker(Admission):
    """Refuses calls of what fails too often, until probes show that it serves again; slows down where asked to.

    Given for a graph, it acts on each model call; given for a node, on each attempt of it. A circuit opens when the
    share of failed calls reaches `ratio`, and lets at most `probes` calls through in each `open_for` seconds, over all
    workers of its store. One that succeeds closes it. A provider's 429 does not open it: all callers wait for as long
    as it asks, and go on at a pace that it bears. What a caller does wrong (bad input, no access) does not count.

    Args:
        ratio: The share of failed calls that opens a circuit, above 0 and at most 1.
        minimum: How many calls there must be within `window` to tell.
        window: Seconds in which calls are counted, from the first that failed.
        open_for: Seconds that a circuit stays open, and from one round of probes to the next.
        probes: How many calls a round lets through.
        max_wait: Seconds that a call waits at most where its provider asks to slow down.
        by: What is called: each circuit stands by itself. By default a model by its name, or the node.
        anonymous: Calls for which `by` gives `None` are an `AnonymousCall` error by default (`"raise"`); `"share"`
            gives them one circuit.
        counts: The classes of errors that are failures; never `"refused"`, since a model that refuses is up.
        classify: Classes of one's own, asked first, see `class_of`.
        reply: Ends a refused call with an answer instead of raising: a text, or a function of the refusal.
        store: Where circuits are kept, as a URL or a `CircuitStore`. `memory://` is for this process alone;
            `postgresql://`, `redis://` and `valkey://` for all workers. Without one, the database of `Production`,
            else memory.
        store_down: Whether calls pass (`"admit"`) or fail (`"raise"`) while the store cannot be reached.
        name: Tells breakers on the same store apart.

    Raises:
        CircuitOpen: The circuit is open; `retry_after` says until when.
        RateLimitExceeded: The provider asks to wait for longer than `max_wait`.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        ConfigurationError: While building, when a setting cannot work.

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
        """What is wrong with the settings."""
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
        """Model calls, or the attempts of the node that it is given for."""
        return frozenset({"node"}) if site == "node" else self.kinds

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Let the call through its circuit, and note how it ended."""
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
            # A policy further in that fails by itself says nothing of what is called.
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
        """Come in; where there is a turn to wait for, wait, and look again."""
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
        """Note how the call ended; a store that is down takes nothing from its result."""
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
        # other graphs have nodes of the same name
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
