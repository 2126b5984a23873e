# pyright: reportPrivateUsage=false
"""LangGraph's retries of a guarded node: the user's decision, asked once, and the run's reasons to stop.

LangGraph calls `retry_on` after each failed attempt, and then pauses. A guarded node gets clones of its retry policies.
Their `retry_on` returns the user's answer, unless the run has a reason to stop: a policy gives up, the deadline would
pass during the pause, or a drain was requested. A pause ends early when the run's bell rings.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langgraph.types import RetryPolicy

from lg_prod_nodes.core.call import Call, Unrecoverable
from lg_prod_nodes.core.errors import DeadlineExceeded
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.runtime.langgraph import raises_past_handler, should_retry_on

_SLEEP = time.sleep  # if a test replaces it, the replacement is called
_TASK = re.compile(r"and id '([^']+)'")
"""LangGraph's note on an error that names the failed task."""


def _not_a_node(error: Exception, bubble: BaseException) -> None: ...


@dataclass(slots=True, weakref_slot=True)
class Attempt:
    """The latest attempt of a node's task; lives as long as its run.

    Attributes:
        run: The run that it belongs to.
        number: 1 for the first try, 2 for the first retry, and so on.
        blocking: Whether the graph is called synchronously.
        fail: Fails the task with an error that its error handler must not get.
        pauses: Whether LangGraph is about to pause after it.
        cancelled_itself: Whether the node raised a `CancelledError` of its own.
    """

    run: weakref.ref[Run]
    number: int
    blocking: bool
    fail: Callable[[Exception, BaseException], None] = _not_a_node
    pauses: bool = False
    cancelled_itself: bool = False


class Tries(Protocol):
    """Looks up failed attempts."""

    def failed(self, error: Exception) -> tuple[Attempt, Run] | None:
        """The attempt that failed with an error, and its run."""
        ...


class Fails(Protocol):
    """May replace a node's last error with one of its own."""

    def last_error(self, error: Exception) -> Exception:
        """The error that ends the node's attempts, as LangGraph gets it."""
        ...

    def gives_up(self, error: Exception) -> Exception | None:
        """The error that ends the node's attempts at once, whatever its retry policy says."""
        ...


class Attempts:
    """The latest attempts of a node's tasks, by LangGraph's task id."""

    def __init__(self) -> None:
        self._latest: weakref.WeakValueDictionary[str, Attempt] = weakref.WeakValueDictionary()

    def begin(self, call: Call) -> None:
        """Record an attempt."""
        info = call.runtime.execution_info if call.runtime is not None else None
        if info is None:
            return
        if (before := self._latest.get(info.task_id)) is not None:
            before.pauses = False
        attempt = Attempt(
            weakref.ref(call.run), call.attempt, call.blocking, raises_past_handler(call.config)
        )
        self._latest[info.task_id] = call.run.attempts[info.task_id] = attempt

    def cancelled_itself(self, call: Call) -> None:
        """Record that the latest attempt raised a `CancelledError` of its own, which LangGraph does not retry."""
        info = call.runtime.execution_info if call.runtime is not None else None
        if info is not None and (attempt := self._latest.get(info.task_id)) is not None:
            attempt.cancelled_itself = True

    def failed(self, error: Exception) -> tuple[Attempt, Run] | None:
        """The attempt that failed with an error, found by LangGraph's note on it, and its run."""
        for note in reversed(getattr(error, "__notes__", ())):
            if found := _TASK.search(note):
                attempt = self._latest.get(found[1])
                run = attempt.run() if attempt is not None else None
                return (attempt, run) if attempt is not None and run is not None else None
        return None


def guarded_retries(
    policies: Sequence[RetryPolicy], attempts: Tries, node: Fails
) -> list[RetryPolicy]:
    """Clones of a node's retry policies. A node without any gets one that never retries, so that LangGraph asks."""
    given = policies or (RetryPolicy(max_attempts=1, retry_on=()),)
    last = given[-1]
    return [
        _Pausable(*policy[:-1], _Decision(policy, attempts, node, is_last=policy is last))
        for policy in given
    ]


def task_retries(policies: Sequence[RetryPolicy], call: Call) -> list[RetryPolicy]:
    """Clones of the retry policies of a task that a node calls; its pauses end with the node's run."""
    return guarded_retries(policies, _OfTask(call), _Task())


class _OfTask:
    """The attempts of one task; LangGraph asks about each of them once."""

    def __init__(self, call: Call) -> None:
        self._run, self._blocking, self._number = call.run, call.blocking, 0

    def failed(self, error: Exception) -> tuple[Attempt, Run]:
        """The attempt that failed with an error, and its run."""
        self._number += 1
        return Attempt(weakref.ref(self._run), self._number, self._blocking), self._run


class _Task:
    """A task, whose attempts no policy can end early."""

    def gives_up(self, error: Exception) -> None:
        """Always `None`: nothing ends the attempts early."""

    def last_error(self, error: Exception) -> Exception:
        """The error, unchanged."""
        return error


class _Pausable(RetryPolicy):
    """A retry policy without a pause of its own once its `retry_on` has paused."""

    @property
    def max_interval(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 0.0 if self._decision.has_paused else self[2]

    @property
    def jitter(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self[4] and not self._decision.has_paused

    @property
    def _decision(self) -> _Decision:
        return cast(_Decision, self[5])


class _Decision:
    """The `retry_on` of a guarded node.

    Args:
        policy: The user's policy.
        attempts: The node's attempts.
        node: The node.
        is_last: Whether LangGraph asks no other policy after this one.
    """

    def __init__(self, policy: RetryPolicy, attempts: Tries, node: Fails, *, is_last: bool) -> None:
        self._policy, self._attempts, self._node = policy, attempts, node
        self._is_last = is_last
        self._here = threading.local()

    @property
    def has_paused(self) -> bool:
        """Whether the pause that LangGraph is about to make in this thread is already over."""
        return getattr(self._here, "paused", False)

    def __call__(self, error: Exception) -> bool:
        """Whether LangGraph retries the node after this error; raises any other error that ends its attempts."""
        self._here.paused = False
        failed = self._attempts.failed(error)
        if failed is None:
            return should_retry_on(self._policy, error)
        attempt, run = failed
        try:
            return self._decide(attempt, run, error)
        except Unrecoverable as carrier:
            attempt.fail(carrier.error, carrier)
            raise

    def _decide(self, attempt: Attempt, run: Run, error: Exception) -> bool:
        retries = not attempt.cancelled_itself and should_retry_on(self._policy, error)
        if (given_up := self._node.gives_up(error)) is not None:
            raise given_up from error
        if retries and attempt.number < self._policy.max_attempts:
            self._pause(attempt, run, error)
        elif retries or self._is_last:
            last = self._node.last_error(error)
            if last is not error:
                raise last from error
        return retries

    def _pause(self, attempt: Attempt, run: Run, error: Exception) -> None:
        seconds = _seconds(self._policy, attempt.number)
        if run.deadline is not None and seconds >= run.deadline.remaining():
            raise self._too_late(DeadlineExceeded(run.deadline.seconds), error)
        if run.drain_requested:
            raise run.drained()
        if not attempt.blocking:
            _wake_at_bell(attempt, run)
        elif time.sleep is _SLEEP:
            jitter = random.uniform(0, 1) if self._policy.jitter else 0.0
            if run.bell.wait(seconds + jitter):
                raise run.drained()
            self._here.paused = True

    def _too_late(self, refusal: DeadlineExceeded, error: Exception) -> Exception:
        refusal.__cause__ = error
        return self._node.last_error(refusal)


def _seconds(policy: RetryPolicy, attempt: int) -> float:
    """The minimum pause after an attempt, in seconds."""
    pause = policy.initial_interval * policy.backoff_factor ** (attempt - 1)
    return min(policy.max_interval, pause)


def _wake_at_bell(attempt: Attempt, run: Run) -> None:
    """End LangGraph's pause in the current task when the run's bell rings."""
    task = asyncio.current_task()
    if task is None:
        return
    attempt.pauses = True
    loop = task.get_loop()

    def wake() -> None:
        # The task waits for the timer of `asyncio.sleep`, which ends as if it had expired.
        waits_for: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
        if attempt.pauses and waits_for is not None and not waits_for.done():
            waits_for.set_result(None)

    def ring() -> None:
        with suppress(RuntimeError):  # the loop is closed, so nothing waits
            loop.call_soon_threadsafe(wake)

    run.bell.listen(ring)
