"""One run of a graph: who it is for, what is known of it, how it is stopped."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl, Runtime, get_runtime

from lg_prod_nodes.core.caller import tenant_of, text_or_none, user_of
from lg_prod_nodes.core.charges import Charges
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Bell, Clock, TimeLimit
from lg_prod_nodes.core.filters import RunContent, through
from lg_prod_nodes.core.report import Observer, Outcome, Recorder, RunReport


class Run(RunControl):
    """A run as its policies see it.

    It is LangGraph's own `RunControl`, so it travels with the runtime into every node and subgraph
    (`runtime.control`), and a caller who wants the report beside the result passes one in:

        run = Run()
        graph.invoke(inputs, config, control=run)
        run.report.usage.total_tokens

    Attributes:
        id: The caller's `config["run_id"]`, else a new UUID.
        is_named: Whether the caller gave the id, so that the same id means the same run tried again.
        graph: Name of the graph.
        thread_id: The conversation, `None` without a checkpointer.
        user_id: The user whom the run is for, see `user_of`.
        tenant_id: The customer that the user belongs to, from the same sources.
        assistant_id: The assistant of LangGraph Server that runs.
        request_id: The request that caused the run, from `configurable["request_id"]`.
        headers: Headers for outgoing requests, such as `traceparent`.
        recorder: What is known of the run; its `report` is `run.report`.
        charges: What has been charged and counted.
        content: What the policies do with content that crosses the run's boundary.
        observers: The policies that listen to the run's events.
        clock: Where the run's policies take the time from.
        deadline: When the run has to end, `None` without one.
        bell: Rings when the run is asked to stop, and ends waits.
        attempts: The latest attempt of each task that may be retried.
        watch: The callback handler that counts the run's model calls.
        interrupted: Whether the run pauses for a person.
        answered: Whether a policy answered in the run's place.
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

    def start(self, graph: str, config: RunnableConfig, *, context: Any = None) -> None:
        """Bind the run to a graph and to what the config says of its caller."""
        configurable = config.get("configurable", {})
        self.is_started = True
        self.interrupted = self.answered = False
        self.deadline = None
        self.charges, self.content = Charges(), RunContent()
        self.attempts, self.watch = {}, None
        self.graph = graph
        given = config.get("run_id") or configurable.get("run_id")
        self.is_named = given is not None
        self.id = str(given or self.id)
        self.thread_id = text_or_none(configurable.get("thread_id"))
        self.request_id = text_or_none(configurable.get("request_id"))
        self.user_id = user_of(config, context=context)
        self.tenant_id = tenant_of(config, context=context)
        self.assistant_id = text_or_none(configurable.get("assistant_id"))

    @property
    def report(self) -> RunReport:
        """What is known of the run, by names and numbers."""
        return self.recorder.report

    def remaining(self) -> float | None:
        """Seconds until the run's deadline, less than 0 when it is over; `None` without one."""
        return None if self.deadline is None else self.deadline.remaining()

    def filtered(self, text: str) -> str:
        """A text as it may leave the run."""
        return through(self.content.filters, text)

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


def current_run() -> Run | None:
    """The run that the calling node, tool or policy is part of; `None` outside of a hardened graph."""
    return run_of(ambient_runtime())


def run_of(runtime: Runtime[Any] | None) -> Run | None:
    """The run that a runtime belongs to, if its graph is hardened."""
    control = getattr(runtime, "control", None)
    return control if isinstance(control, Run) else None


def run_for(
    config: RunnableConfig, runtime: Runtime[Any] | None, clock: Clock = SYSTEM_CLOCK
) -> Run:
    """The run that a node's call belongs to; one of its own where the graph is not hardened."""
    run = run_of(runtime) or Run()
    if not run.is_started:
        run.clock = clock
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
