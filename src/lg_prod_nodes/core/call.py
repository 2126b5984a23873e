"""The vocabulary of a policy: the call it sees, the clock it may use, the facts it may tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt
from langgraph.runtime import Runtime

from lg_prod_nodes.core.errors import CallRejected, DeadlineExceeded, ShuttingDown
from lg_prod_nodes.runtime.in_flight import Bell

if TYPE_CHECKING:
    from lg_prod_nodes.core.run import Run, Usage

Kind = Literal["run", "update", "node", "model", "tool"]
"""What kind of call a policy is asked about: a run of a graph, a caller's update of its state, a node, a model or
a tool."""

Outcome = Literal["ok", "error", "interrupt", "cancelled", "rejected", "drained"]

Handler = Callable[["Call"], Awaitable[Any]]
"""The rest of the way: the policies further in, and at the end the call itself."""

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """Where policies take the time from; a test hands in its own."""

    def now(self) -> float:
        """Seconds on a clock that never goes back, for durations."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this thread, until a bell rings at the latest."""
        ...

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this task, until a bell rings at the latest."""
        ...


class TextStream(Protocol):
    """A text that leaves piece by piece, as far as it is settled."""

    @property
    def held(self) -> int:
        """How many characters are held back."""
        ...

    def feed(self, piece: str) -> str:
        """Take the next piece; give back what may leave now, which can be nothing."""
        ...

    def flush(self) -> str:
        """Give back the rest: nothing follows."""
        ...


class TextFilter(Protocol):
    """What a policy makes of texts that leave a call by other ways than its result: streams, store, edges."""

    def __call__(self, text: str) -> str:
        """The text as it may leave."""
        ...

    def stream(self) -> TextStream:
        """A text of its own that leaves piece by piece."""
        ...

    def settled(self, text: str) -> int:
        """How many characters of a text are settled, whatever follows."""
        ...

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the beginning of something that must not leave."""
        ...


def through(filters: Sequence[TextFilter], text: str) -> str:
    """A text as it may leave through filters, the last one first."""
    for change in reversed(filters):
        text = change(text)
    return text


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.perf_counter()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this thread, until a bell rings at the latest."""
        if bell is None:
            time.sleep(seconds)
        else:
            bell.wait(seconds)

    async def asleep(self, seconds: float, bell: Bell | None = None) -> None:
        """Wait in this task, until a bell rings at the latest."""
        if bell is None:
            await asyncio.sleep(seconds)
        else:
            await bell.await_(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a policy tells: a decision, a finding, a cost. Holds names and numbers, never content."""

    name: str
    call: Call
    data: Mapping[str, Any]


class PausedThread(Exception):
    """A call cannot be answered: its thread waits for a person, or its state has no place for a message."""


class Unrecoverable(GraphBubbleUp):
    """Carries an error that no policy recovers from past LangGraph's error handlers, to the boundary of the run.

    With a handler on a node, LangGraph would resume the handler and never the node. What bubbles up leaves the thread
    at the failed node, as an error does where there is no handler.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Observer(Protocol):
    """Whoever wants to hear facts."""

    def observe(self, fact: Fact) -> None:
        """Take note of a fact; must neither block nor raise."""
        ...


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt of one call, as every policy on its way sees it.

    Attributes:
        kind: What is called.
        name: Its name: of the graph, node, model or tool.
        input: What it is called with: the run's input, the state a node reads, a model's messages, a tool call.
        run: The run that the call belongs to, shared by all calls of it.
        config: The `RunnableConfig` of the call.
        runtime: LangGraph's runtime of the call, `None` before the graph has made one.
        node: The node that the call belongs to, `None` for a run.
        attempt: 1 for the first try of a node, 2 for its first retry, and so on.
        resumed: Whether a run goes on with earlier work (`Command(resume=...)`, no input) rather than being new.
        blocking: Whether the caller is synchronous.
        filters: What the policies further out make of texts that leave by other ways than the result.
        originals: What a tool gets in place of tokens in its arguments.
        clean: The messages of the node's own input, which its policies have seen already, by identity.
        max_output_tokens: The most that a model is asked to say, `None` where it is not told.
        schemas: The tools that a model may call and the answers that it may give, or their schemas.
        spent: What the model calls of this call have spent, noted as each of them ends.
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
    clock: Clock = SYSTEM_CLOCK
    observers: tuple[Observer, ...] = ()
    filters: tuple[TextFilter, ...] = ()
    originals: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    clean: Mapping[int, Any] | None = field(default=None, repr=False)
    max_output_tokens: int | None = None
    schemas: tuple[Any, ...] = field(default=(), repr=False)
    spent: list[Usage] = field(default_factory=list, repr=False)
    answer_with: Callable[[Call, Any], Awaitable[Any]] | None = None

    def replace(self, **changes: Any) -> Call:
        """The same call with some attributes changed; the very same when nothing does."""
        if all(getattr(self, name) is value for name, value in changes.items()):
            return self
        if unknown := changes.keys() - vars(self).keys():
            raise TypeError(f"a call has no {', '.join(sorted(unknown))}")
        new = object.__new__(type(self))  # in a fifth of the time of `dataclasses.replace`
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
            return run.charge(f"run:{run.id}", "", what) if run.is_named else None
        return run.charge(task, self.execution or "", what)

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return self.clock.now()

    def filtered(self, text: str) -> str:
        """A text as it may leave the call, see `filters`."""
        return through(self.filters, text)

    def revealed(self, text: str) -> str:
        """A text with originals in place of their tokens, see `originals`."""
        for token, original in self.originals:
            text = text.replace(token, original)
        return text

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
        """Tell a fact to the run's report and to every policy that observes.

        Args:
            name: What happened.
            once: Tells the fact apart; who has heard it in this run does not hear it again.
            **data: Names and numbers, never content.
        """
        fact = Fact(name, self, data)
        if once is None or self.run.first_time(self.run, once):
            self.run.record(fact)
        told: list[Observer] = []
        for observer in (*self.observers, *self.run.observers):
            if observer not in told:
                told.append(observer)
                if once is None or self.run.first_time(observer, once):
                    self._tell(observer, fact)

    def _tell(self, observer: Observer, fact: Fact) -> None:
        try:
            observer.observe(fact)
        except Exception as error:  # an observer that fails must not fail the user's run
            names = {"observer": type(observer).__name__, "error": type(error).__name__}
            self.run.record(Fact("observer_failed", self, names))


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
