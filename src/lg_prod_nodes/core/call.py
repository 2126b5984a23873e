"""One attempt of one call, as the policies around it see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
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
"""The rest of the chain: the inner policies, and at the end the call itself."""

P = ParamSpec("P")
T = TypeVar("T")


class PausedThread(Exception):
    """A call cannot be answered: its thread waits for a person, or its state has no field for a message."""


class Unrecoverable(GraphBubbleUp):
    """Carries an error that no policy recovers from past LangGraph's error handlers, to the boundary of the run.

    With a handler on a node, LangGraph would resume the handler and never the node. What bubbles up leaves the thread
    at the failed node, as an error does where there is no handler.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt of one call, as every policy around it sees it.

    Attributes:
        kind: What kind of call it is.
        name: The name of what is called: the graph, node, model or tool.
        input: What it is called with: the run's input, the state a node reads, a model's messages, a tool call.
        run: The run that the call belongs to, shared by all calls of it.
        config: The `RunnableConfig` of the call.
        runtime: LangGraph's runtime of the call, `None` before the graph has made one.
        node: The node that the call belongs to, `None` for a run.
        attempt: 1 for the first try of a node, 2 for its first retry, and so on.
        resumed: Whether a run only continues earlier work (`Command(resume=...)`, no input).
        blocking: Whether the caller is synchronous.
        prebuilt: Whether the call is a node made by `as_node`, through which the state passes.
        observers: The policies at this call that listen to events.
        texts: What the outer policies do with its content.
        request: What a model is asked for and has spent, `None` for other calls.
        answer_with: How the call is answered by a policy, `None` if it cannot be.
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
        """A call with these fields, in a fifth of the time of its frozen class's own `__init__`."""
        new = object.__new__(cls)
        vars(new).update(_DEFAULTS, **fields)
        return new

    def replace(self, **changes: Any) -> Call:
        """The same call with some attributes changed; the very same when nothing does."""
        if all(getattr(self, name) is value for name, value in changes.items()):
            return self
        if unknown := changes.keys() - vars(self).keys():
            raise TypeError(f"a call has no {', '.join(sorted(unknown))}")
        new = object.__new__(type(self))
        vars(new).update(vars(self), **changes)
        return new

    @property
    def task(self) -> str | None:
        """LangGraph's task that the call is an attempt of: the same over retries, resumption and re-runs after a crash.

        `None` for a root run, and outside of a graph.
        """
        info = self.runtime.execution_info if self.runtime is not None else None
        return f"{info.thread_id}:{info.task_id}" if info is not None else None

    @property
    def is_outermost(self) -> bool:
        """Whether the call is a whole run, and not one of a graph inside of another."""
        return self.kind == "run" and self.task is None

    @property
    def execution(self) -> str | None:
        """Which execution of its task the call belongs to: another one at each retry and after each resumption."""
        info = self.runtime.execution_info if self.runtime is not None else None
        return f"{info.node_first_attempt_time}:{info.node_attempt}" if info is not None else None

    def charge(self, what: str) -> str | None:
        """The identity of the next charge that this call makes for something.

        It is the same when the call's task runs again (a retry, a resumption, a re-run after a crash), and new for
        a fork, a replay and each `Send`: the n-th charge of a task's execution is the n-th of every other.

        Args:
            what: Tells charges of one call apart: the policy's name, whom it is for.

        Returns:
            `None` where nothing tells a call from its repetition: a run that its caller gave no `run_id`.
        """
        run, task = self.run, self.task
        if task is None:
            return run.charges.next(f"run:{run.id}", "", what) if run.is_named else None
        return run.charges.next(task, self.execution or "", what)

    @property
    def clock(self) -> Clock:
        """Where the run's policies take the time from."""
        return self.run.clock

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return self.clock.now()

    def remaining(self) -> float | None:
        """Seconds until the run's deadline, less than 0 when it is over; `None` without one."""
        return self.run.remaining()

    async def sleep(self, seconds: float) -> None:
        """Wait, in the way that suits the caller.

        Raises:
            DeadlineExceeded: The run's deadline would be over by then.
            GraphDrained: The run is asked to stop: it ends at its last checkpoint, from which it can go on.
            ShuttingDown: The run is asked to stop before it has begun.
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
        """Run a blocking function: here for a synchronous caller, else in a thread, off the event loop."""
        if self.blocking:
            return function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    async def answer(self, reply: Any) -> Any:
        """End the call with a reply instead of doing it.

        Args:
            reply: A text becomes a message (`AIMessage`, for a tool a `ToolMessage`); anything else is taken as the
                state update to make, or as the result itself for a model or tool.

        Returns:
            What the policy has to return.
        """
        if self.answer_with is None:
            raise TypeError(f"a call of kind {self.kind!r} cannot be answered")
        return await self.answer_with(self, reply)

    async def refuse(self, rejection: CallRejected, reply: Any = None) -> Any:
        """Refuse the call: answer it with a reply where there is one, else raise.

        A thread that waits for a person is never answered, since that would use up the interrupt: the refusal is
        raised, and the interrupt stays.

        Args:
            rejection: Why; raised unless there is a reply.
            reply: What `answer` takes, or a function of the rejection that gives it.

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
        """How the call ended, given what it raised."""
        outcome = outcome_of(error)
        return self.run.outcome(outcome) if self.kind == "run" else outcome

    def emit(self, name: str, *, once: object = None, **data: Any) -> None:
        """Emit an event to the run's report and to every policy that observes.

        Args:
            name: What happened.
            once: Identifies the event; whoever has seen it in this run does not see it again.
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
        except Exception as error:  # an observer that fails must not fail the user's run
            names = {"observer": type(observer).__name__, "error": type(error).__name__}
            self.run.recorder.record("observer_failed", names)


_DEFAULTS = {each.name: each.default for each in fields(Call) if each.default is not MISSING}


def outcome_of(error: BaseException | None) -> Outcome:
    """Name how a call ended. Control flow (interrupts, `Command` to a parent, draining) is not an error."""
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
