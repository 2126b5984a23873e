"""One run of a graph: its identity, its report, and how to stop it."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl, Runtime, get_runtime

from lg_prod_nodes.core.caller import tenant_of, text_or_none, user_of
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Bell, Clock, TimeLimit
from lg_prod_nodes.core.filters import Filters, RunContent
from lg_prod_nodes.core.report import Observer, Outcome, Recorder, RunReport

if TYPE_CHECKING:
    from lg_prod_nodes.core.saved import SavedThread


@dataclass(frozen=True, slots=True)
class Work:
    """What a run works on, as the checkpointer knows it, whatever the caller states.

    Attributes:
        origin: `"new"` work; work `"resumed"` where an earlier run stopped; work that an update of the thread's state
            `"edited"`; or steps `"repeated"` that wait for a person, although nobody answered.
        place: Identifies the point from which resumed or edited work continues.
    """

    origin: Literal["new", "resumed", "edited", "repeated"] = "new"
    place: str = ""


class Charges:
    """The charges and counts of one run.

    Attributes:
        executions: The current execution of each task, by LangGraph's task id.
        work: What the run works on.
    """

    def __init__(self) -> None:
        self.executions: dict[str, Any] = {}
        self.work = Work()
        self._lock = threading.Lock()
        self._charges: Counter[tuple[str, str, str]] = Counter()
        self._counted: dict[object, dict[object, int]] = {}

    def next(self, task: str, execution: str, what: str) -> str:
        """Return the id of the next charge in an execution of a task, see `Call.charge`."""
        with self._lock:
            self._charges[task, execution, what] += 1
            return f"{task}:{what}:{self._charges[task, execution, what]}"

    def count(self, series: object, item: object = None) -> int:
        """Return an item's number in a series of this run, from 1; `None` is a new item each time."""
        with self._lock:
            counted = self._counted.setdefault(series, {})
            return counted.setdefault(len(counted) if item is None else item, len(counted) + 1)


class Threads:
    """Functions of asynchronous calls in threads. Nobody can stop them, so they may outlast their calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[str | None] = Counter()
        self._waiting: list[tuple[str | None, Callable[[], object]]] = []

    @contextmanager
    def running(self, task: str | None) -> Generator[None]:
        """Note that a function of a task runs in a thread, for the block."""
        with self._lock:
            self._running[task] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[task] -= 1
                due = [act for of, act in self._waiting if not self._is_busy(of)]
                self._waiting = [(of, act) for of, act in self._waiting if self._is_busy(of)]
            for act in due:
                act()

    def then(self, task: str | None, act: Callable[[], object]) -> bool:
        """Do something when the threads of a task end, of all tasks for `None`; return whether any is running."""
        with self._lock:
            if is_busy := self._is_busy(task):
                self._waiting.append((task, act))
            return is_busy

    def _is_busy(self, task: str | None) -> bool:
        return bool(self._running[task] if task is not None else self._running.total())


class Run(RunControl):
    """A run, as seen by its policies.

    A `Run` is also LangGraph's `RunControl`, so the runtime carries it into every node and subgraph
    (`runtime.control`). To get the report beside the result, pass one in:

        run = Run()
        graph.invoke(inputs, config, control=run)
        run.report.usage.total_tokens

    Attributes:
        id: The caller's `config["run_id"]`, else a new UUID.
        graph: Name of the graph.
        thread_id: The conversation, `None` if the config names none.
        user_id: The user of the run, see `user_of`.
        tenant_id: The tenant that the user belongs to, from the same sources.
        is_claimed: Whether the client may have named its user: on a LangGraph Server that did not authenticate it.
        assistant_id: The running assistant of LangGraph Server.
        request_id: The request that started the run, from `configurable["request_id"]`.
        headers: Headers for outgoing requests, such as `traceparent`.
        recorder: Builds the report; its `report` is `run.report`.
        charges: The run's charges and counts.
        content: What the policies do with content that crosses the run's boundary.
        observers: The policies that listen to the run's events.
        clock: The clock of the run's policies.
        deadline: The run's deadline, `None` if there is none.
        bell: Rings when the run is asked to stop, which ends waits.
        attempts: The latest attempt of each task that may be retried.
        watch: The callback handler that counts the run's model calls.
        interrupted: Whether the run is paused for a person.
        answered: Whether a policy answered the run.
        saved: The run's thread, `None` if no checkpointer of its graph saves it, or the run may not write to it.
        stamp: The `run_id` in the metadata of the run's checkpoints, `None` for the caller's.
    """

    def __init__(self, control: RunControl | None = None) -> None:
        super().__init__()
        self._control, self._outer = control, cast(RunControl | None, None)
        self.id = str(uuid.UUID(bytes=os.urandom(16), version=4))
        self.graph = ""
        self.is_started = self.is_claimed = False
        self.thread_id: str | None = None
        self.user_id: str | None = None
        self.tenant_id: str | None = None
        self.assistant_id: str | None = None
        self.request_id: str | None = None
        self.headers: dict[str, str] = {}
        self.recorder = Recorder()
        self.charges = Charges()
        self.content = RunContent()
        self.observers: tuple[Observer, ...] = ()
        self.clock: Clock = SYSTEM_CLOCK
        self.deadline: TimeLimit | None = None
        self.bell = Bell()
        self.attempts: dict[str, object] = {}
        self.watch: object = None
        self.interrupted = self.answered = False
        self.saved: SavedThread | None = None
        self.stamp: str | None = None

    def start(self, graph: str, config: RunnableConfig, *, context: Any = None) -> None:
        """Start the run on a graph, with the caller's identity from the config."""
        configurable = config.get("configurable", {})
        if self.is_started:
            self._restart()
        self.is_started = True
        self.graph = graph
        self.id = str(config.get("run_id") or configurable.get("run_id") or self.id)
        self.thread_id = text_or_none(configurable.get("thread_id"))
        self.request_id = text_or_none(configurable.get("request_id"))
        self.user_id = user_of(config, context=context)
        self.tenant_id = tenant_of(config, context=context)
        self.assistant_id = text_or_none(configurable.get("assistant_id"))

    @cached_property
    def threads(self) -> Threads:
        """The functions of the run that are running in threads."""
        return Threads()

    def _restart(self) -> None:
        """Forget what belongs to the run before, except its report."""
        self.interrupted = self.answered = False
        self.deadline = None
        self.charges, self.content = Charges(), RunContent()
        self.attempts, self.watch = {}, None
        self.saved = self.stamp = None

    @classmethod
    def of_request(cls, server: str, clock: Clock) -> Run:
        """Return the run of a request to a server, with the calling node's user, trace, deadline and end."""
        run, outer = cls(), current_run()
        run.graph, run.clock, run.is_started = server, clock, True
        if outer is not None:
            run.user_id, run.tenant_id, run.thread_id = (
                outer.user_id,
                outer.tenant_id,
                outer.thread_id,
            )
            run.request_id, run.assistant_id = outer.request_id, outer.assistant_id
            run.headers, run.deadline = dict(outer.headers), outer.deadline
            run._outer, run.bell = (
                outer,
                outer.bell,
            )  # what drains the outer run ends this one's waits
        return run

    def under(self, control: RunControl) -> Run:
        """Return this run for a graph that is called within it under a control of its own.

        The control stops that graph alone. What stops this run stops the graph too, and both count together.
        """
        inner = copy(self)
        RunControl.__init__(inner)
        inner._control, inner._outer, inner.bell = control, self, Bell()
        self.bell.listen(inner.bell.ring)
        return inner

    @property
    def report(self) -> RunReport:
        """The run's report: names and numbers, never content."""
        return self.recorder.report

    def remaining(self) -> float | None:
        """Return the seconds until the run's deadline, negative after it; `None` if there is no deadline."""
        return None if self.deadline is None else self.deadline.remaining()

    @property
    def filtered(self) -> Filters:
        """The filters for texts that leave the run."""
        return Filters(self.content.filters)

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop at its next checkpoint. Waits of policies and pauses before retries end at once."""
        super().request_drain(reason)
        if self._control is not None:
            self._control.request_drain(reason)
        self.bell.ring()

    def drained(self) -> GraphDrained:
        """Return the exception for calls that end because the run was asked to stop."""
        return GraphDrained(self.drain_reason or "shutdown")

    @property
    def drain_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return super().drain_requested or any(c.drain_requested for c in self._obeyed)

    @property
    def drain_reason(self) -> str | None:
        """Why the run was asked to stop."""
        reasons = (super().drain_reason, *(control.drain_reason for control in self._obeyed))
        return next(filter(None, reasons), None)

    @property
    def _obeyed(self) -> list[RunControl]:
        return [c for c in (self._control, self._outer) if c is not None]

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return how the run ended, given how its stream ended: `"ok"` also if the run paused or was answered."""
        if outcome != "ok":
            return outcome
        return "interrupt" if self.interrupted else "rejected" if self.answered else "ok"


def current_run() -> Run | None:
    """Return the run of the calling node, tool or policy; `None` outside of a hardened graph."""
    return run_of(ambient_runtime())


def run_of(runtime: Runtime[Any] | None) -> Run | None:
    """Return the run that a runtime belongs to, if its graph is hardened."""
    control = getattr(runtime, "control", None)
    return control if isinstance(control, Run) else None


def run_for(
    config: RunnableConfig, runtime: Runtime[Any] | None, clock: Clock = SYSTEM_CLOCK
) -> Run:
    """Return the run that a node's call belongs to, or a new one if the graph is not hardened."""
    run = run_of(runtime) or Run()
    if not run.is_started:
        run.clock = clock
        run.start("", config, context=runtime.context if runtime is not None else None)
    return run


def attempt_of(runtime: Runtime[Any] | None) -> int:
    """Return the number of the node's current attempt, from 1."""
    info = runtime.execution_info if runtime is not None else None
    return info.node_attempt if info is not None else 1


def ambient_config() -> RunnableConfig:
    """Return the config of the running node, empty outside of a graph."""
    try:
        return get_config()
    except RuntimeError:
        return RunnableConfig()


def ambient_runtime() -> Runtime[Any] | None:
    """Return LangGraph's runtime of the running node, `None` outside of a graph."""
    try:
        runtime: object = get_runtime()
    except (RuntimeError, KeyError):
        return None
    return runtime if isinstance(runtime, Runtime) else None


def node_path(metadata: dict[str, Any]) -> str | None:
    """Return the node as a path through its subgraphs (`"research/search"`), from a config's metadata."""
    namespace = metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or ""
    names = [part.partition(":")[0] for part in namespace.split("|") if part and not part.isdigit()]
    return "/".join(names) or metadata.get("langgraph_node")


def task_ids(metadata: Mapping[str, Any]) -> list[str]:
    """Return LangGraph's ids of a node's task and the tasks around it, innermost first, from a config's metadata."""
    namespace = metadata.get("langgraph_checkpoint_ns") or metadata.get("checkpoint_ns") or ""
    if "|" not in namespace:
        _, _, task = namespace.partition(":")
        return [task] if task else []
    return [part.partition(":")[2] for part in reversed(namespace.split("|")) if ":" in part]
