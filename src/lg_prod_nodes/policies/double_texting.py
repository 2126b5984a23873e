"""One run at a time on a thread, and what a second message does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, get_args

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from lg_prod_nodes.content.history import unanswered, with_messages_first
from lg_prod_nodes.core.advice import wrong_choice
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import (
    ConfigurationError,
    LeaseLost,
    RunInterrupted,
    ShuttingDown,
    StoreUnavailable,
    ThreadBusy,
)
from lg_prod_nodes.core.keys import Key, by_thread
from lg_prod_nodes.core.policy import Site
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.policies._admission import Admission
from lg_prod_nodes.stores.threads.store import HELD, End, Lease, Standing, Strategy, ThreadStore

_INTERRUPTED = "This tool call was interrupted before it gave a result. It may have had effects."


@dataclass(frozen=True)
class DoubleTexting(Admission):
    """Lets one run at a time use a thread, and decides what a second one does: LangGraph Server's `multitask_strategy`.

    Acts on runs and on `update_state`, for threads that a checkpointer saves. Subgraphs and graphs called in a node
    belong to their run. A thread that waits for a person is not busy. On LangGraph Server, which does this itself, the
    policy does nothing.

    With `"interrupt"` and `"rollback"`, the run that has the thread stops at once, in whichever worker it is:
    asynchronous nodes are cancelled, synchronous ones abandoned. Its caller gets `RunInterrupted`. Completed steps
    stay, and tool calls that got no answer are answered, so that the next model call is valid; `"rollback"` removes
    all that the run wrote.

    Args:
        strategy: What a run does while another has the thread: `"reject"`: it is refused. `"enqueue"`: it waits, first
            come, first served. `"interrupt"` and `"rollback"`: it ends the other one, and all that wait.
        by: The key of a thread: `by_thread` or any function of the call.
        allow: Strategies that a run may choose instead, by `configurable["multitask_strategy"]`.
        max_queue: How many runs may wait for a thread.
        max_wait: Seconds that a run waits for its thread; less if its deadline is nearer.
        reply: The answer to a refused run, instead of an exception: a string, or a function of the `ThreadBusy` that
            returns a string or a state update. It is not saved, as the thread is busy.
        store: Where leases are stored: a URL or a `ThreadStore`. Defaults to the database of `Production`, else memory,
            which knows the runs of this process only.
        shadow: Refuse, delay and end nobody; only emit `thread_busy`.
        name: The policy's name, for events and errors.
        store_down: What to do while the store cannot be reached: `"raise"` a `StoreUnavailable` error, or `"admit"`
            runs without a lease.

    Raises:
        ThreadBusy: The thread is busy, and the run may not wait, or not any longer. It is a `Busy`.
        RunInterrupted: Another run ended this one, or somebody cancelled it.
        LeaseLost: The worker was silent for longer than 4 seconds, and the thread passed to another run.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        ConfigurationError: While building, if a setting is invalid. At a run, if it chooses a strategy that it may not,
            or `"rollback"` with a checkpointer that cannot remove a run.

    Example:
        ```python
        DoubleTexting("enqueue", allow=["interrupt"], max_wait=30.0)
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "update", "node", "model", "tool"})
    single: ClassVar[bool] = True
    store_type = ThreadStore

    strategy: Strategy
    by: Key = field(default=by_thread, kw_only=True)
    allow: Collection[Strategy] = field(default=(), kw_only=True)
    max_queue: int = field(default=10, kw_only=True)
    max_wait: float = field(default=60.0, kw_only=True)
    reply: str | Callable[[ThreadBusy], Any] | None = field(default=None, kw_only=True)
    store: Secret | ThreadStore | None = field(default=None, kw_only=True, repr=False)
    shadow: bool = field(default=False, kw_only=True)
    name: str = field(default="DoubleTexting", kw_only=True)

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid setting."""
        yield from wrong_choice("strategy", self.strategy, get_args(Strategy))
        if isinstance(self.allow, str):
            yield f"allow is {self.allow!r}; give a list of strategies"
        for strategy in self.allow:
            yield from wrong_choice("allow", strategy, get_args(Strategy))
        if not isinstance(self.max_queue, int) or self.max_queue < 1:
            yield f"max_queue is {self.max_queue!r}; give a whole number, 1 or more"
        if not self.max_wait > 0:
            yield f"max_wait is {self.max_wait}; give seconds, more than 0"
        yield from super().problems()

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Runs, and what they call."""
        if site != "graph":
            raise ConfigurationError(
                "DoubleTexting is for a whole run; give it to harden(graph, [DoubleTexting(...)]) or to Production"
            )
        return self.kinds

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Hold the thread while the run goes on, and stop its calls when it is ended."""
        held = HELD.get()
        for outer in held.values():
            outer.stop.check()
        if call.kind not in ("run", "update"):
            return await self._inside(call, handler, [*held.values()])
        if call.run.saved is None:
            return await handler(call)
        name = self.key(call) or "*"
        if name in held:  # a step of the run that has the thread
            return await handler(call)
        lease = self.store_in_use.lease(name, run=call.run.id, thread_id=call.run.thread_id)
        try:
            standing = await self._enter(call, lease)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=self.name)
            if self.store_down == "raise":
                raise
            return await handler(call)
        if standing.state == "held":
            return await self._hold(call, handler, lease)
        return await self._without(call, handler, standing)

    async def _enter(self, call: Call, lease: Lease) -> Standing:
        """Get the thread, or wait for it."""
        strategy, start = self._strategy(call), call.now()
        standing = await self._ask(call, lease, "reject" if self.shadow else strategy)
        if standing.state != "waiting":
            return standing
        try:
            while standing.state == "waiting":
                left = start + self.max_wait - call.now()
                if left <= 0:
                    await self._leave(call, lease)
                    return standing._replace(state="busy")
                until_deadline = call.remaining()
                if until_deadline is not None:
                    left = min(left, max(until_deadline * 0.99, 0.001))
                await call.sleep(min(left, standing.again), lease.bell)
                standing = await self._ask(call, lease, "enqueue")
        except BaseException:
            await self._leave(call, lease)
            raise
        call.emit("call_delayed", policy=self.name, seconds=call.now() - start)
        return standing

    def _strategy(self, call: Call) -> Strategy:
        configurable = call.config.get("configurable", {})
        chosen: Strategy = configurable.get("multitask_strategy") or self.strategy
        if chosen != self.strategy and chosen not in self.allow:
            allowed = ", ".join(map(repr, dict.fromkeys((self.strategy, *self.allow))))
            raise ConfigurationError(
                f"a run chose a multitask_strategy that {self.name} does not allow; choose among {allowed}, or add it: "
                "DoubleTexting(..., allow=[...])"
            )
        if chosen == "rollback" and call.run.saved is not None:
            call.run.saved.check_forgets()
        return chosen

    async def _ask(self, call: Call, lease: Lease, strategy: Strategy) -> Standing:
        standing: Standing = await self.store_in_use.ask(
            lease, strategy, max_queue=self.max_queue, blocking=call.blocking
        )
        return standing

    async def _leave(self, call: Call, lease: Lease, *, finished: bool = True) -> End | None:
        try:
            end: End | None = await self.store_in_use.leave(
                lease, finished=finished, blocking=call.blocking
            )
        except StoreUnavailable:  # the store keeps trying for as long as this worker lives
            call.emit("store_unavailable", policy=self.name)
            return None
        return end

    async def _without(self, call: Call, handler: Handler, standing: Standing) -> Any:
        if self.shadow:
            call.emit("thread_busy", policy=self.name)
            return await handler(call)
        if standing.state == "ended":
            end = standing.end or "cancel"
            call.emit("run_interrupted", policy=self.name, action=end)
            raise RunInterrupted(end, started=False)
        call.run.saved = None
        return await call.refuse(ThreadBusy(standing.ahead, policy=self.name), self.reply)

    async def _hold(self, call: Call, handler: Handler, lease: Lease) -> Any:
        token = HELD.set({**HELD.get(), lease.name: lease})
        unlisten = lease.stop.listen(partial(_drain, call.run))
        call.run.stamp = lease.claim.id
        finished, result = False, None
        try:
            result = await handler(await self._cleaned(call, lease))
            finished = True
        except (
            GraphDrained,
            ShuttingDown,
        ):  # what ends a step, or a wait, of a run that was stopped
            finished = True
            if lease.stop.error is None:
                raise
            raise lease.stop.error from None
        except Exception:
            finished = True
            raise
        except (
            BaseException
        ):  # LangGraph leaves nodes behind if its caller is cancelled again and again, as by anyio
            lease.stop.pull(RunInterrupted("cancel", started=True))
            raise
        finally:
            unlisten()
            HELD.reset(token)
            end = await self._leave(call, lease, finished=finished)
            self._say(call, lease)
        if isinstance(lease.stop.error, LeaseLost):
            raise lease.stop.error
        if end == "rollback" and call.kind == "run":  # it ended at the very moment
            raise RunInterrupted(end, started=True)
        return result

    def _say(self, call: Call, lease: Lease) -> None:
        if isinstance(lease.stop.error, RunInterrupted):
            call.emit("run_interrupted", policy=self.name, action=lease.stop.error.action)
        elif lease.stop.error is not None:
            call.emit("lease_lost", policy=self.name)

    async def _cleaned(self, call: Call, lease: Lease) -> Call:
        """Clean up after runs that did not reach their end; return the call with what they left unanswered."""
        saved = call.run.saved
        if lease.ended and saved is not None:
            rolled = [id for id, end in lease.ended if end == "rollback"]
            if rolled:
                await saved.forget(rolled, blocking=call.blocking)
            if len(rolled) < len(lease.ended):
                if call.kind == "update":
                    return call
                if call.input is not None and not isinstance(call.input, Command):  # a new turn
                    state = await saved.state(blocking=call.blocking)
                    answers = unanswered(state, _INTERRUPTED)
                    call = (
                        call.replace(input=with_messages_first(call.input, answers))
                        if answers
                        else call
                    )
        lease.cleaned = True
        return call

    async def _inside(self, call: Call, handler: Handler, held: list[Lease]) -> Any:
        if call.kind != "node" or not held:
            return await handler(call)
        abandon = not {self.strategy, *self.allow}.isdisjoint(("interrupt", "rollback"))
        return await held[-1].stop.around(call, handler, abandon=abandon)


def _drain(run: Run) -> None:
    # This run only: the method of `Run` would also drain the caller's control.
    with suppress(Exception):
        RunControl.request_drain(run, "DoubleTexting")
        run.bell.ring()
