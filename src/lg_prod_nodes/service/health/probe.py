"""One check at work: bounded in time, remembered for a while, never twice at once."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from lg_prod_nodes.core.clock import Clock
from lg_prod_nodes.service.health.checks import Check, CheckResult


@dataclass(frozen=True)
class Pace:
    """How checks are run.

    Attributes:
        timeout: Seconds after which a check that has not answered is down.
        slow: Seconds after which one that answers is degraded.
        max_age: Seconds for which an answer is given again.
        clock: Where the time comes from.
    """

    timeout: float
    slow: float
    max_age: float
    clock: Clock


class Question:
    """A check that was asked, and its answer when it comes."""

    def __init__(self, check: Check, pace: Pace) -> None:
        self.answer: Future[CheckResult] = Future()
        self.answer.set_running_or_notify_cancel()  # who no longer waits does not end it for others
        self._check, self._pace = check, pace
        self._began = self._ended = pace.clock.now()

    def seconds_left(self) -> float:
        """How long to wait for the answer."""
        return max(0.0, self._pace.timeout - self._seconds())

    def is_over(self) -> bool:
        """Whether the answer is too old, or came too late, to be given again."""
        if not self.answer.done():
            return False
        took = self._ended - self._began
        age = self._pace.clock.now() - self._ended
        return took > self._pace.timeout or age >= self._pace.max_age

    def result(self) -> CheckResult:
        """What is known now."""
        if self.answer.done():
            return self._check.weighed(self.answer.result())
        detail = f"no answer in {self._pace.timeout:g} s"
        return self._check.weighed(CheckResult("down", detail, self._seconds()))

    def ask(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Ask, and wait for the answer as long as it takes."""
        found = self._found(loop)
        self._ended = self._pace.clock.now()
        seconds = self._ended - self._began
        if found.status == "ok" and seconds > self._pace.slow:
            found = replace(found, status="degraded")
        self.answer.set_result(replace(found, seconds=seconds))

    def _seconds(self) -> float:
        return self._pace.clock.now() - self._began

    def _found(self, loop: asyncio.AbstractEventLoop | None) -> CheckResult:
        try:
            said = self._check.ask()
            if inspect.isawaitable(said):
                said = self._awaited(said, loop)
        except BaseException as error:  # whatever ends a check must not leave others waiting for it
            return CheckResult("down", type(error).__name__)
        if isinstance(said, CheckResult):
            return said
        return CheckResult("down" if said is False else "ok")

    def _awaited(self, said: Awaitable[Any], loop: asyncio.AbstractEventLoop | None) -> Any:
        answer = _within(self._pace.timeout, said)
        if loop is None:
            return asyncio.run(answer)
        return asyncio.run_coroutine_threadsafe(answer, loop).result()


class Probe:
    """Asks one check, in a thread of its own. Whoever asks meanwhile waits for the same answer."""

    def __init__(self, check: Check, pace: Pace) -> None:
        self._check, self._pace = check, pace
        self._lock = threading.Lock()
        self._question: Question | None = None

    def ask(self, loop: asyncio.AbstractEventLoop | None = None) -> Question:
        """Ask, unless the last answer is young or still to come.

        Args:
            loop: Where to await what the check returns, if it is awaitable; in a loop of its own without one.
        """
        with self._lock:
            if self._question is None or self._question.is_over():
                self._question = Question(self._check, self._pace)
                threading.Thread(
                    target=self._question.ask, args=[loop], name="health", daemon=True
                ).start()
            return self._question


async def _within(seconds: float, said: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await said
