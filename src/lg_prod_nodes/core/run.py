"""One run of a graph: whom it is for, and what the policies know of it."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl, Runtime, get_runtime

from lg_prod_nodes.core.call import through
from lg_prod_nodes.runtime.in_flight import Bell

if TYPE_CHECKING:
    from lg_prod_nodes.core.call import Clock, Fact, Observer, Outcome, TextFilter
    from lg_prod_nodes.core.error_class import ErrorClass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of model calls, and their price where it is known.

    Attributes:
        calls: Number of model calls.
        input_tokens: Tokens sent, cached ones included.
        output_tokens: Tokens received, reasoning included.
        cache_read_tokens: Part of `input_tokens` that the provider read from its cache.
        cache_write_tokens: Part of `input_tokens` that the provider wrote to its cache.
        reasoning_tokens: Part of `output_tokens` spent on reasoning.
        cost: Price in US dollars of the calls whose price is known.
        unpriced_calls: Number of calls whose price is not known.
        estimated_calls: Number of calls whose tokens the provider did not tell, so that they are estimated.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced_calls: int = 0
    estimated_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens sent and received."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Usage:
        """One call's usage from LangChain's `usage_metadata`; zero tokens where the provider reports none."""
        metadata = metadata or {}
        return cls(
            calls=1,
            unpriced_calls=1,
            input_tokens=metadata.get("input_tokens") or 0,
            output_tokens=metadata.get("output_tokens") or 0,
            cache_read_tokens=(metadata.get("input_token_details") or {}).get("cache_read") or 0,
            cache_write_tokens=(metadata.get("input_token_details") or {}).get("cache_creation")
            or 0,
            reasoning_tokens=(metadata.get("output_token_details") or {}).get("reasoning") or 0,
        )


@dataclass(frozen=True, slots=True)
class CapturedError:
    """An error by its names.

    Attributes:
        node: Which node failed, `None` where the run itself did.
        type: Name of the error's type.
        attempts: How often the node was tried.
        error_class: What the error means, see `ErrorClass`.
        checkpoint_id: The checkpoint of the run's own graph at which it happened, `None` without a checkpointer.
        checkpoint_ns: LangGraph's name of the place in graphs inside of it.
    """

    node: str | None
    type: str
    attempts: int
    error_class: ErrorClass = "unknown"
    checkpoint_id: str | None = field(default=None, compare=False)
    checkpoint_ns: str | None = field(default=None, compare=False)

    def names(self) -> dict[str, Any]:
        """What a state field may keep of it."""
        return {
            "node": self.node,
            "type": self.type,
            "attempts": self.attempts,
            "error_class": self.error_class,
        }


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a rate limit stood when it was last asked.

    Attributes:
        policy: Name of the policy.
        limit: The limit in words, such as `"10 per 1 second"`.
        quota: How many, or how much, it lets through in its window.
        window: Length of the window in seconds.
        remaining: How much is left.
        reset: Seconds until some of what was taken comes back.
    """

    policy: str
    limit: str
    quota: int
    window: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """Until when a run has to end.

    Attributes:
        seconds: How long it may take in all.
        ends: When that is over, as its clock's `now` tells.
        clock: Its clock.
    """

    seconds: float
    ends: float
    clock: Clock

    def remaining(self) -> float:
        """Seconds left, less than 0 when it is over."""
        return self.ends - self.clock.now()


@dataclass(slots=True)
class RunReport:
    """What the policies know of a run, while it goes on and after it.

    Attributes:
        outcome: How the run ended, `None` while it goes on.
        limits: How each rate limit stood when it was last asked, in the order in which they were first asked.
        budgets: What is available of each budget, in its own unit, as in `{"TokenBudget": 1200}`.
        usage: Tokens of the run's model calls.
        found: How often content of each entity or category was found.
        errors: The errors that reached the end of a node's attempts.
        facts: How often each fact was told.
    """

    outcome: Outcome | None = None
    limits: list[LimitState] = field(default_factory=list)
    budgets: dict[str, float] = field(default_factory=dict)
    usage: Usage = Usage()
    found: Counter[str] = field(default_factory=Counter)
    errors: list[CapturedError] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)


class Run(RunControl):
    """A run as its policies see it.

    It is LangGraph's own `RunControl`, so it travels with the runtime into every node and subgraph
    (`runtime.control`), and a caller who wants the report beside the result passes one in:

        run = Run()
        graph.invoke(inputs, config, control=run)
        run.report.usage.total_tokens

    Attributes:
        id: The caller's `config["run_id"]`, else a new UUID.
        is_named: Whether the caller gave the id, so that the same one means the same run tried again.
        graph: Name of the graph.
        thread_id: The conversation, `None` without a checkpointer.
        user_id: Whom the run is for, see `user_of`.
        tenant_id: The customer that the user belongs to, from the same places.
        assistant_id: The assistant of LangGraph Server that runs.
        request_id: The request that caused the run, from `configurable["request_id"]`.
        report: What the policies know.
        headers: What a policy wants handed on with outgoing requests, such as `traceparent`.
        filters: What the policies of the run make of texts that leave it.
        guards: The policies through which all passes that enters a graph's state, and that graph's place.
        saver: Tells the checkpointer of the run's thread from others, `None` without one.
        executions: Which execution of which task goes on, by LangGraph's id of the task.
        deadline: Until when the run has to end, `None` without one.
        bell: Rings when the run is asked to stop, and ends what waits.
    """

    def __init__(self, control: RunControl | None = None) -> None:
        super().__init__()
        self._control = control
        self.id = str(uuid.UUID(bytes=os.urandom(16), version=4))
        self.graph = ""
        self.is_started, self.is_named = False, False
        self.thread_id: str | None = None
        self.user_id: str | None = None
        self.tenant_id: str | None = None
        self.assistant_id: str | None = None
        self.request_id: str | None = None
        self.report = RunReport()
        self.headers: dict[str, str] = {}
        self.observers: tuple[Observer, ...] = ()
        self.filters: tuple[TextFilter, ...] = ()
        self.guards: list[tuple[object, str]] = []
        self.saver: int | None = None
        self.interrupted = False
        self.answered = False
        self.executions: dict[str, Any] = {}
        self.deadline: TimeLimit | None = None
        self.bell = Bell()
        self._failures: list[tuple[BaseException | str, CapturedError]] = []
        self._lock = threading.Lock()
        self._listeners: list[object] = []
        self._heard: set[tuple[int, object]] = set()
        self._charges: Counter[tuple[str, str, str]] = Counter()
        self._counted: dict[object, dict[object, int]] = {}
        self._limits: dict[object, int] = {}

    def start(self, graph: str, config: RunnableConfig, *, context: Any = None) -> None:
        """Bind the run to a graph and to what the config says of its caller."""
        configurable = config.get("configurable", {})
        self.is_started = True
        self.interrupted, self.answered = False, False
        self.deadline = None
        self.filters, self.guards = (), []
        self._charges.clear()
        self.executions.clear()
        self._counted.clear()
        self.graph = graph
        given = config.get("run_id") or configurable.get("run_id")
        self.is_named = given is not None
        self.id = str(given or self.id)
        self.thread_id = _text(configurable.get("thread_id"))
        self.request_id = _text(configurable.get("request_id"))
        self.user_id = user_of(config, context=context)
        self.tenant_id = tenant_of(config, context=context)
        self.assistant_id = _text(configurable.get("assistant_id"))

    def charge(self, task: str, execution: str, what: str) -> str:
        """The identity of the next charge for something in an execution of a task, see `Call.charge`."""
        with self._lock:
            self._charges[task, execution, what] += 1
            return f"{task}:{what}:{self._charges[task, execution, what]}"

    def count(self, series: object, item: object = None) -> int:
        """The number of an item in a series of this run, from 1; `None` is another one each time."""
        with self._lock:
            counted = self._counted.setdefault(series, {})
            return counted.setdefault(len(counted) if item is None else item, len(counted) + 1)

    def remaining(self) -> float | None:
        """Seconds until the run's deadline, less than 0 when it is over; `None` without one."""
        return None if self.deadline is None else self.deadline.remaining()

    def filtered(self, text: str) -> str:
        """A text as it may leave the run."""
        return through(self.filters, text)

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop at its next checkpoint; waits of policies and pauses before retries end at once."""
        super().request_drain(reason)
        if self._control is not None:
            self._control.request_drain(reason)
        self.bell.ring()

    def drained(self) -> GraphDrained:
        """What a call raises that ends because the run was asked to stop."""
        return GraphDrained(self.drain_reason or "shutdown")

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return super().drain_requested or (
            self._control is not None and self._control.drain_requested
        )

    @property
    def drain_reason(self) -> str | None:
        """Why the run was asked to stop."""
        return super().drain_reason or (self._control.drain_reason if self._control else None)

    def outcome(self, outcome: Outcome) -> Outcome:
        """How the run ended, given how its stream did: one that pauses, or is answered instead, ends it in order."""
        if outcome != "ok":
            return outcome
        return "interrupt" if self.interrupted else "rejected" if self.answered else "ok"

    def first_time(self, listener: object, fact: object) -> bool:
        """Whether a listener, or its equal, has not heard a fact of this run yet."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)
            hearing = (self._listeners.index(listener), fact)
            heard = hearing in self._heard
            self._heard.add(hearing)
        return not heard

    def failed(self, error: BaseException | str, names: CapturedError) -> None:
        """Remember where an error comes from, so that whoever sees it later can tell."""
        with self._lock:
            for at, (known, before) in enumerate(self._failures):
                if known is error:
                    if before.node == names.node:  # its next attempt raised the very same
                        self._failures[at] = (error, names)
                    return
            self._failures.append((error, names))

    def failure(self, error: BaseException | str) -> CapturedError | None:
        """Where an error comes from."""
        with self._lock:
            return next((names for known, names in self._failures if known is error), None)

    def record(self, fact: Fact) -> None:
        """Fold a fact into the report."""
        report, data = self.report, fact.data
        with self._lock:
            report.facts[fact.name] += 1
            match fact.name:
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

    def _note_limit(self, data: Mapping[str, Any]) -> None:
        state = LimitState(*(data[name] for name in LimitState.__slots__))
        which = (state.policy, state.limit, data.get("of"))
        place = self._limits.setdefault(which, len(self._limits))
        self.report.limits[place : place + 1] = [state]


def current_run() -> Run | None:
    """The run that the calling node, tool or policy is part of; `None` outside of a hardened graph."""
    return run_of(ambient_runtime())


def run_of(runtime: Runtime[Any] | None) -> Run | None:
    """The run that a runtime belongs to, if its graph is hardened."""
    control = getattr(runtime, "control", None)
    return control if isinstance(control, Run) else None


def run_for(config: RunnableConfig, runtime: Runtime[Any] | None) -> Run:
    """The run that a node's call belongs to; one of its own where the graph is not hardened."""
    run = run_of(runtime) or Run()
    if not run.is_started:
        run.start("", config, context=runtime.context if runtime is not None else None)
    return run


def attempt_of(runtime: Runtime[Any] | None) -> int:
    """Which try of its node this is, from 1."""
    info = runtime.execution_info if runtime is not None else None
    return info.node_attempt if info is not None else 1


def ambient_config() -> RunnableConfig:
    """The config of the node that is running, empty outside of a graph."""
    try:
        return get_config()
    except RuntimeError:
        return RunnableConfig()


def ambient_runtime() -> Runtime[Any] | None:
    """LangGraph's runtime of the node that is running, `None` outside of a graph."""
    try:
        runtime: object = get_runtime()
    except (RuntimeError, KeyError):
        return None
    return runtime if isinstance(runtime, Runtime) else None


def node_path(metadata: dict[str, Any]) -> str | None:
    """The node as a path through its subgraphs (`"research/search"`), from a config's metadata."""
    namespace = metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or ""
    names = [part.partition(":")[0] for part in namespace.split("|") if part and not part.isdigit()]
    return "/".join(names) or metadata.get("langgraph_node")


def task_ids(metadata: Mapping[str, Any]) -> list[str]:
    """LangGraph's ids of a node's task and of those around it, the innermost first, from a config's metadata."""
    namespace = metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or ""
    return [part.partition(":")[2] for part in reversed(namespace.split("|")) if ":" in part]


def user_of(
    config: RunnableConfig, *, runtime: Runtime[Any] | None = None, context: Any = None
) -> str | None:
    """Whom a call is for.

    The user that LangGraph Server authenticated comes first, since a client could claim any other. Without one, looks
    at `configurable["user_id"]`, `user_id` in the runtime context, and `metadata["user_id"]`.
    """
    configurable = config.get("configurable", {})
    authenticated = _authenticated(config, runtime)
    candidates = (
        getattr(authenticated, "identity", None),
        configurable.get("langgraph_auth_user_id"),
        *_named("user_id", config, runtime, context),
    )
    return _first_text(candidates)


def tenant_of(
    config: RunnableConfig, *, runtime: Runtime[Any] | None = None, context: Any = None
) -> str | None:
    """Which customer a call is for: `tenant_id` of the authenticated user, else where `user_of` looks too."""
    authenticated = _authenticated(config, runtime)
    if authenticated is not None:
        return _text(_member(authenticated, "tenant_id"))
    return _first_text(_named("tenant_id", config, runtime, context))


def _authenticated(config: RunnableConfig, runtime: Runtime[Any] | None) -> Any:
    """The user that LangGraph Server authenticated."""
    server = runtime.server_info if runtime is not None else None
    return server.user if server else config.get("configurable", {}).get("langgraph_auth_user")


def _named(
    name: str, config: RunnableConfig, runtime: Runtime[Any] | None, context: Any
) -> tuple[Any, ...]:
    """What a caller says of itself: in `configurable`, in the runtime context, in `metadata`."""
    context = runtime.context if runtime is not None and context is None else context
    return (
        config.get("configurable", {}).get(name),
        _member(context, name),
        (config.get("metadata") or {}).get(name),
    )


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    with suppress(
        KeyError
    ):  # LangGraph Server's users look attributes up in what they were made of
        return getattr(value, name, None)
    return None


def _first_text(candidates: Iterable[Any]) -> str | None:
    named = (str(candidate) for candidate in candidates if candidate is not None)
    return next((text for text in named if text), None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
