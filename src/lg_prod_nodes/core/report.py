"""The report of a run: events, outcome, limits, errors and tokens; names and numbers, never content."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, SupportsIndex, get_args, overload

from lg_prod_nodes.core.usage import Usage

Kind = Literal["run", "update", "node", "model", "tool", "request"]
"""The kind of call that a policy wraps: a run of a graph, a caller's update of its state, a node, a model (chat, text,
decision or embedding model), a tool (or retriever), or an HTTP request of a client made by `connect`."""

Outcome = Literal["ok", "error", "interrupt", "cancelled", "rejected", "drained"]
"""How a call ended."""

ErrorClass = Literal[
    "transient",
    "rate_limited",
    "unknown",
    "permanent",
    "bad_input",
    "refused",
    "rejected",
    "critical",
]
"""What an error means for error handling.

| class | meaning |
|---|---|
| `"transient"` | goes away by itself: a lost connection, a timeout, a server's 5xx |
| `"rate_limited"` | a provider asks to slow down: 429, throttling |
| `"unknown"` | nothing is known about it |
| `"permanent"` | no retry will help: no access, not found, a bug |
| `"bad_input"` | no retry will help until the input changes: `ValueError`, a failed validation, 400 and 422 |
| `"refused"` | a model declined to answer: `ModelRefusalError`; the same request would be declined again |
| `"rejected"` | a policy refused the call: `CallRejected` |
| `"critical"` | nothing may continue: invalid configuration, out of memory, a record that was tampered with |
"""

CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)
"""All classes, in order of gravity: of several errors, the class that comes last here counts."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run: a decision, a finding, a cost. Holds names and numbers, never content.

    Attributes:
        name: The event's name, such as `"call_rejected"`.
        data: The event's names and numbers.
        kind: The kind of call in which it happened.
        target: The name of the graph, node, model or tool that was called.
        graph: The run's graph.
        node: The node, as a path through its subgraphs; `None` for a run.
        attempt: 1 for the first attempt of a node, 2 for its first retry, and so on.
        run_id: The run's id.
        request_id: The id of the request that started the run, if the caller gave one.
    """

    name: str
    data: Mapping[str, Any]
    kind: Kind
    target: str
    graph: str
    node: str | None
    attempt: int
    run_id: str
    request_id: str | None = None


class Observer(Protocol):
    """Listens to events."""

    def observe(self, event: Event) -> None:
        """Handle an event. Must neither block nor raise."""
        ...


@dataclass(frozen=True, slots=True)
class CapturedError:
    """An error, described without its message.

    Attributes:
        node: The node that failed, `None` if the run itself did.
        type: Name of the error's type.
        attempts: The number of attempts of the node.
        error_class: What the error means, see `ErrorClass`.
        checkpoint_id: The checkpoint of the run's own graph at which it happened, `None` without a checkpointer.
        checkpoint_ns: LangGraph's checkpoint namespace, for a node of a subgraph.
    """

    node: str | None
    type: str
    attempts: int
    error_class: ErrorClass = "unknown"
    checkpoint_id: str | None = field(default=None, compare=False)
    checkpoint_ns: str | None = field(default=None, compare=False)

    def names(self) -> dict[str, Any]:
        """Return the fields to store in a state."""
        return {
            "node": self.node,
            "type": self.type,
            "attempts": self.attempts,
            "error_class": self.error_class,
        }


@dataclass(frozen=True, slots=True)
class LimitState:
    """The state of a rate limit when it was last checked.

    Attributes:
        policy: Name of the policy.
        limit: The limit in words, such as `"10 per second"`.
        quota: How many calls, or how much, it allows per window.
        window: Length of the window in seconds.
        remaining: How many calls, or how much, is left.
        reset: Seconds until some of the used quota is available again.
    """

    policy: str
    limit: str
    quota: int
    window: int
    remaining: int
    reset: float

    def names(self) -> dict[str, Any]:
        """Return the fields by name, as the event `limit_checked` has them."""
        return {name: getattr(self, name) for name in self.__slots__}


class Limits(list[LimitState]):
    """The states of rate limits, in the order in which they were first checked, also by name.

    `limits["RateLimit"]` is the state of a policy's only limit. If a policy has several limits, add the limit in words:
    `limits["RateLimit", "10 per second"]`. Use `RateLimit(name=...)` to name policies.
    """

    @overload
    def __getitem__(self, which: SupportsIndex | str | tuple[str, str], /) -> LimitState: ...
    @overload
    def __getitem__(self, which: slice, /) -> list[LimitState]: ...
    def __getitem__(self, which: Any, /) -> Any:
        """Return a limit by index or name.

        Raises:
            KeyError: The name matches no limit, or several.
        """
        if not isinstance(which, (str, tuple)):
            return super().__getitem__(which)
        named = self._named(which)
        if len(named) == 1:
            return named[0]
        known = ", ".join(f"limits[{s.policy!r}, {s.limit!r}]" for s in named or self) or "no limit"
        raise KeyError(f"{which!r} names {len(named)} limits; the run checked {known}")

    def __contains__(self, item: object, /) -> bool:
        """Return whether a limit with that name was checked."""
        return (
            bool(self._named(item))
            if isinstance(item, (str, tuple))
            else super().__contains__(item)
        )

    def _named(self, which: object) -> list[LimitState]:
        return [state for state in self if which in (state.policy, (state.policy, state.limit))]


@dataclass(slots=True)
class RunReport:
    """What the policies know of a run, during and after it.

    Attributes:
        outcome: How the run ended, `None` until then.
        limits: The state of each rate limit when it was last checked, in the order in which they were first checked;
            also by name, `limits["RateLimit"]`, see `Limits`.
        budgets: What is left of each budget, in its unit, as in `{"TokenBudget": 1200}`.
        usage: The tokens and cost of the run's model calls.
        found: The number of findings per entity or category.
        errors: The errors that remained after a node's last attempt.
        events: The number of times each event was emitted.
    """

    outcome: Outcome | None = None
    limits: Limits = field(default_factory=Limits)
    budgets: dict[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    found: Counter[str] = field(default_factory=Counter)
    errors: list[CapturedError] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)


class Recorder:
    """Builds a run's report from events. Thread-safe."""

    def __init__(self) -> None:
        self.report = RunReport()
        self._lock = threading.Lock()
        self._limits: dict[object, int] = {}
        self._listeners: list[object] = []
        self._seen: set[tuple[int, object]] = set()
        self._failures: list[tuple[BaseException | str, CapturedError]] = []

    def record(self, name: str, data: Mapping[str, Any]) -> None:
        """Add an event to the report."""
        report = self.report
        with self._lock:
            report.events[name] += 1
            match name:
                case "limit_checked":
                    self._note_limit(data)
                case "budget_checked" | "budget_settled":
                    report.budgets[data["budget"]] = data["available"]
                case "content_found":
                    report.found.update(data["found"])
                case "model_called":
                    report.usage += data["usage"]
                case "model_priced":
                    report.usage += Usage(cost=data["cost"], unpriced_calls=-1)
                case "error_captured":
                    report.errors.append(data["error"])
                case _:
                    pass

    def first_time(self, listener: object, item: object) -> bool:
        """Return whether a listener, or one equal to it, sees an item for the first time in this run."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)
            seen = (self._listeners.index(listener), item)
            is_new = seen not in self._seen
            self._seen.add(seen)
        return is_new

    def failed(self, error: BaseException | str, names: CapturedError) -> None:
        """Remember where an error comes from, for `failure`."""
        with self._lock:
            for at, (known, before) in enumerate(self._failures):
                if known is error:
                    if before.node == names.node:  # the next attempt raised the same object
                        self._failures[at] = (error, names)
                    return
            self._failures.append((error, names))

    def failure(self, error: BaseException | str) -> CapturedError | None:
        """Return where an error comes from, `None` if unknown."""
        with self._lock:
            return next((names for known, names in self._failures if known is error), None)

    def _note_limit(self, data: Mapping[str, Any]) -> None:
        state = LimitState(*(data[name] for name in LimitState.__slots__))
        which = (state.policy, state.limit, data.get("of"))
        place = self._limits.setdefault(which, len(self._limits))
        self.report.limits[place : place + 1] = [state]
