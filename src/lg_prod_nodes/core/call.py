"""One attempt of one call, as seen by the policies around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, ParamSpec, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt
from langgraph.runtime import Runtime

from lg_prod_nodes.core.clock import Clock
from lg_prod_nodes.core.errors import CallRejected, DeadlineExceeded, ShuttingDown
from lg_prod_nodes.core.filters import NO_TEXTS, Texts
from lg_prod_nodes.core.report import Event, Kind, Observer, Outcome
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.core.usage import CallRequest

Handler = Callable[["Call"], Awaitable[Any]]
"""The rest of the chain: the inner policies, then the call itself."""

P = ParamSpec("P")
T = TypeVar("T")


class PausedThread(Exception):
    """A call cannot be answered: its thread waits for a person, or its state has no `messages` field."""


class Unrecoverable(GraphBubbleUp):
    """Carries an error past LangGraph's error handlers to the boundary of the run, if no policy recovers from it.

    If a node has an error handler, LangGraph resumes the handler and never the node. An error that bubbles up leaves
    the thread at the failed node, as if there were no handler.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt of one call, as seen by every policy around it.

    Attributes:
        kind: The kind of call.
        name: The name of the graph, node, model or tool that is called.
        input: The run's input, the state a node reads, a model's messages, or a tool call.
        run: The run that the call belongs to, shared by all of its calls.
        config: The `RunnableConfig` of the call.
        runtime: LangGraph's runtime of the call, `None` before the graph has created it.
        node: The node that the call belongs to, `None` for a run.
        attempt: 1 for the first attempt of a node, 2 for its first retry, and so on.
        resumed: Whether a run only continues earlier work (`Command(resume=...)`, no input).
        blocking: Whether the caller is synchronous.
        prebuilt: Whether the call is a node made by `as_node`, which passes the state through.
        observers: The policies on this call that listen to events.
        texts: What the outer policies do with its content.
        request: What a model call asks for and has spent, `None` for other calls.
        answer_with: Answers the call on behalf of a policy, `None` if it cannot be answered.
    """

    kind: Kind
    name: str
    input: Any
    run: Run
    config: RunnableConfig = field(default_factory=RunnableConfig)
    runtime: Runtime[Any] | None = None
    node: str | None = None
    attempt: int = 1
    resumed: bool = False
    blocking: bool = False
    prebuilt: bool = False
    observers: tuple[Observer, ...] = ()
    texts: Texts = NO_TEXTS
    request: CallRequest | None = field(default=None, repr=False)
    answer_with: Callable[[Call, Any], Awaitable[Any]] | None = None

    @classmethod
    def made(cls, **fields: Any) -> Call:
        """Create a call, ten times as fast as the `__init__` of the frozen dataclass; the class holds the defaults."""
        new = object.__new__(cls)
        object.__setattr__(new, "__dict__", fields)
        return new

    def replace(self, **changes: Any) -> Call:
        """Return a copy with some attributes changed, or the call itself if none changes.

        Raises:
            TypeError: There is no such attribute.
        """
        if not _FIELDS.issuperset(changes):
            raise TypeError(f"a call has no {', '.join(sorted(changes.keys() - _FIELDS))}")
        for name, value in changes.items():
            if getattr(self, name) is not value:
                return type(self).made(**{**vars(self), **changes})
        return self

    @property
    def task(self) -> str | None:
        """LangGraph's task that the call belongs to: the same across retries, resumptions and re-runs after a crash.

        `None` for a root run, and outside of a graph.
        """
        info = self.runtime.execution_info if self.runtime is not None else None
        return f"{info.thread_id}:{info.task_id}" if info is not None else None

    @property
    def is_outermost(self) -> bool:
        """Whether the call is a whole run, not that of a nested graph."""
        return self.kind == "run" and self.task is None

    @property
    def execution(self) -> str | None:
        """The execution of its task that the call belongs to: a new one for each retry and resumption."""
        info = self.runtime.execution_info if self.runtime is not None else None
        return f"{info.node_first_attempt_time}:{info.node_attempt}" if info is not None else None

    def charge(self, what: str) -> str | None:
        """Return the id of the next charge, so that a call that runs again is charged once.

        The n-th charge has the same id in every execution of a task: a retry, a resumption, a re-run after a crash. A
        fork, a replay and each `Send` get new ids.

        Args:
            what: What is charged, such as the policy's name and the key.

        Returns:
            The id, or `None` if a repetition cannot be recognized: for a run whose caller gave no `run_id`.
        """
        run, task = self.run, self.task
        if task is None:
            return run.charges.next(f"run:{run.id}", "", what) if run.is_named else None
        return run.charges.next(task, self.execution or "", what)

    @property
    def clock(self) -> Clock:
        """The clock of the run's policies."""
        return self.run.clock

    def now(self) -> float:
        """Return seconds on a monotonic clock."""
        return self.clock.now()

    def remaining(self) -> float | None:
        """Return the seconds until the run's deadline, negative after it; `None` if there is no deadline."""
        return self.run.remaining()

    async def sleep(self, seconds: float) -> None:
        """Sleep, for synchronous and asynchronous callers alike.

        Raises:
            DeadlineExceeded: The run's deadline would pass meanwhile.
            GraphDrained: The run was asked to stop. It ends at its last checkpoint and can be resumed from there.
            ShuttingDown: The run was asked to stop before it began.
        """
        run = self.run
        if run.deadline is not None and seconds >= run.deadline.remaining():
            raise DeadlineExceeded(run.deadline.seconds)
        if not run.drain_requested:
            if self.blocking:
                self.clock.sleep(seconds, run.bell)
            else:
                await self.clock.asleep(seconds, run.bell)
        if run.drain_requested:
            raise ShuttingDown() if self.is_outermost else run.drained()

    async def run_blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function: directly for a synchronous caller, else in a thread, off the event loop."""
        if self.blocking:
            return function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    async def answer(self, reply: Any) -> Any:
        """Answer the call with a reply instead of making it.

        Args:
            reply: A string becomes a message (`AIMessage`, or `ToolMessage` for a tool). Anything else is the state
                update, or the result itself for a model or tool.

        Returns:
            The value that the policy has to return.

        Raises:
            TypeError: A call of this kind cannot be answered.
        """
        if self.answer_with is None:
            raise TypeError(f"a call of kind {self.kind!r} cannot be answered")
        return await self.answer_with(self, reply)

    async def refuse(self, rejection: CallRejected, reply: Any = None) -> Any:
        """Refuse the call: answer it if there is a reply, else raise the rejection.

        A thread that waits for a person is never answered, since that would consume the interrupt. The rejection is
        raised, and the interrupt stays pending.

        Args:
            rejection: The error to raise unless there is a reply.
            reply: A reply as for `answer`, or a function of the rejection that returns one.

        Returns:
            The value that the policy has to return.

        Raises:
            CallRejected: There is no reply, or the call cannot be answered.
        """
        if reply is not None and not self.resumed and self.answer_with is not None:
            with suppress(PausedThread):
                answer = await self.answer(reply(rejection) if callable(reply) else reply)
                self.emit("call_rejected", policy=rejection.policy, answered=True)
                return answer
        self.emit("call_rejected", policy=rejection.policy, answered=False)
        raise rejection

    def outcome(self, error: BaseException | None) -> Outcome:
        """Return how the call ended, given the exception that it raised."""
        outcome = outcome_of(error)
        return self.run.outcome(outcome) if self.kind == "run" else outcome

    def emit(self, name: str, *, once: object = None, **data: Any) -> None:
        """Emit an event to the run's report and to all observers.

        Args:
            name: The event's name.
            once: An identity for the event. The report and each observer get it once per run.
            **data: Names and numbers, never content.
        """
        run = self.run
        if once is None or run.recorder.first_time(run, once):
            run.recorder.record(name, data)
        if not (self.observers or run.observers):
            return
        event = Event(
            name,
            data,
            kind=self.kind,
            target=self.name,
            graph=run.graph,
            node=self.node,
            attempt=self.attempt,
            run_id=run.id,
            request_id=run.request_id,
        )
        notified: list[Observer] = []
        for observer in (*self.observers, *run.observers):
            if observer not in notified:
                notified.append(observer)
                if once is None or run.recorder.first_time(observer, once):
                    self._notify(observer, event)

    def _notify(self, observer: Observer, event: Event) -> None:
        try:
            observer.observe(event)
        except Exception as error:  # a failing observer must not fail the user's run
            names = {"observer": type(observer).__name__, "error": type(error).__name__}
            self.run.recorder.record("observer_failed", names)


_FIELDS = frozenset(each.name for each in fields(Call))


def outcome_of(error: BaseException | None) -> Outcome:
    """Return how a call ended. Control flow (interrupts, `Command` to a parent, draining) is not an error."""
    match error:
        case None:
            return "ok"
        case CallRejected():
            return "rejected"
        case GraphInterrupt():
            return "interrupt"
        case GraphDrained():
            return "drained"
        case Unrecoverable():
            return outcome_of(error.error)
        case GraphBubbleUp():
            return "ok"
        case Exception():
            return "error"
        case _:
            return "cancelled"
