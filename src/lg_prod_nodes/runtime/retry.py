# pyright: reportPrivateUsage=false
"""LangGraph's retries of a guarded node: the user's decision, asked once, and what the run has to say about it.

LangGraph asks `retry_on` after each failed attempt, and then pauses. A guarded node's policies are clones whose
`retry_on` answers for the user's, and adds what only the run knows: that a policy gives up, that the deadline would
pass during the pause, that the run is asked to stop. A pause ends early when the run's bell rings.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langgraph.types import RetryPolicy

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import DeadlineExceeded
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.runtime.langgraph import should_retry_on

_SLEEP = time.sleep  # who replaces it, as tests do, is asked
_TASK = re.compile(r"and id '([^']+)'")
"""How LangGraph notes on an error which task it failed."""


@dataclass(slots=True, weakref_slot=True)
class Attempt:
    """The latest attempt of a node's task; it lives as long as its run.

    Attributes:
        run: The run that it belongs to.
        number: 1 for the first try, 2 for the first retry, and so on.
        blocking: Whether the graph is called synchronously.
        pauses: Whether LangGraph pauses after it now.
    """

    run: weakref.ref[Run]
    number: int
    blocking: bool
    pauses: bool = False


class Tries(Protocol):
    """Knows the attempts that fail."""

    def failed(self, error: Exception) -> tuple[Attempt, Run] | None:
        """The attempt that failed with an error, and its run."""
        ...


class Fails(Protocol):
    """What may have an error of its own to raise in place of a node's last one."""

    def last_error(self, error: Exception) -> Exception:
        """The error that ends the node's attempts, as LangGraph gets it."""
        ...

    def gives_up(self, error: Exception) -> Exception | None:
        """What ends the node's attempts at once, whatever its retry policy says."""
        ...


class Attempts:
    """The latest attempts of a node's tasks, by LangGraph's id of the task."""

    def __init__(self) -> None:
        self._latest: weakref.WeakValueDictionary[str, Attempt] = weakref.WeakValueDictionary()

    def begin(self, call: Call) -> None:
        """Note an attempt."""
        info = call.runtime.execution_info if call.runtime is not None else None
        if info is None:
            return
        if (before := self._latest.get(info.task_id)) is not None:
            before.pauses = False
        attempt = Attempt(weakref.ref(call.run), call.attempt, call.blocking)
        self._latest[info.task_id] = call.run.attempts[info.task_id] = attempt

    def failed(self, error: Exception) -> tuple[Attempt, Run] | None:
        """The attempt that failed with an error, by what LangGraph noted on it, and its run."""
        for note in reversed(getattr(error, "__notes__", ())):
            if found := _TASK.search(note):
                attempt = self._latest.get(found[1])
                run = attempt.run() if attempt is not None else None
                return (attempt, run) if attempt is not None and run is not None else None
        return None


def guarded_retries(
    policies: Sequence[RetryPolicy], attempts: Tries, node: Fails
) -> list[RetryPolicy]:
    """Clones of a node's retry policies; one that never retries where it has none, so that LangGraph asks at all."""
    given = policies or (RetryPolicy(max_attempts=1, retry_on=()),)
    last = given[-1]
    return [
        _Pausable(*policy[:-1], _Decision(policy, attempts, node, is_last=policy is last))
        for policy in given
    ]


def task_retries(policies: Sequence[RetryPolicy], call: Call) -> list[RetryPolicy]:
    """Clones of the retry policies of a task that a node calls: its pauses end with its node's run."""
    return guarded_retries(policies, _OfTask(call), _Task())


class _OfTask:
    """The attempts of one task, each of which LangGraph asks about once."""

    def __init__(self, call: Call) -> None:
        self._run, self._blocking, self._number = call.run, call.blocking, 0

    def failed(self, error: Exception) -> tuple[Attempt, Run]:
        """The attempt that failed with an error."""
        self._number += 1
        return Attempt(weakref.ref(self._run), self._number, self._blocking), self._run


class _Task:
    """Policies have no say in how a task's attempts end."""

    def gives_up(self, error: Exception) -> None:
        """Nothing ends them early."""

    def last_error(self, error: Exception) -> Exception:
        """The error stays what it is."""
        return error


class _Pausable(RetryPolicy):
    """A policy whose pause is over when its `retry_on` has made it."""

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
    """`retry_on` of a guarded node.

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
        """Whether the pause that LangGraph is about to make in this thread has been made."""
        return getattr(self._here, "paused", False)

    def __call__(self, error: Exception) -> bool:
        """Whether LangGraph tries the node again after this error; raises what ends its attempts another way."""
        self._here.paused = False
        retries = should_retry_on(self._policy, error)
        failed = self._attempts.failed(error)
        if failed is None:
            return retries
        attempt, run = failed
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
    """How long LangGraph pauses at least after an attempt."""
    pause = policy.initial_interval * policy.backoff_factor ** (attempt - 1)
    return min(policy.max_interval, pause)


def _wake_at_bell(attempt: Attempt, run: Run) -> None:
    """End the pause that LangGraph makes in the running task when the run's bell rings."""
    task = asyncio.current_task()
    if task is None:
        return
    attempt.pauses = True
    loop = task.get_loop()

    def wake() -> None:
        # What the task waits for is the timer of `asyncio.sleep`: it ends as if it had run out.
        waits_for: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
        if attempt.pauses and waits_for is not None and not waits_for.done():
            waits_for.set_result(None)

    def ring() -> None:
        with suppress(RuntimeError):  # the loop is closed, so nothing waits
            loop.call_soon_threadsafe(wake)

    run.bell.listen(ring)
