"""Runs one check: with a timeout, a cached result, and no overlapping calls."""

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
    """How checks run.

    Attributes:
        timeout: Seconds after which a check without a result is down.
        slow: Seconds after which a successful check is degraded.
        max_age: Seconds for which a result is cached.
        clock: The clock to use.
    """

    timeout: float
    slow: float
    max_age: float
    clock: Clock


class Question:
    """A running check, and its result once available."""

    def __init__(self, check: Check, pace: Pace) -> None:
        self.answer: Future[CheckResult] = Future()
        self.answer.set_running_or_notify_cancel()  # one caller must not cancel it for others
        self._check, self._pace = check, pace
        self._began = self._ended = pace.clock.now()

    def seconds_left(self) -> float:
        """Return how long to wait for the result."""
        return max(0.0, self._pace.timeout - self._seconds())

    def is_over(self) -> bool:
        """Return whether the result is too old, or came too late, to be reused."""
        if not self.answer.done():
            return False
        took = self._ended - self._began
        age = self._pace.clock.now() - self._ended
        return took > self._pace.timeout or age >= self._pace.max_age

    def result(self) -> CheckResult:
        """Return what is known now."""
        if self.answer.done():
            return self._check.weighed(self.answer.result())
        detail = f"no answer in {self._pace.timeout:g} s"
        return self._check.weighed(CheckResult("down", detail, self._seconds()))

    def ask(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run the check and wait for its result without a timeout."""
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
        except BaseException as error:  # other callers wait for a result
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
    """Runs one check in its own thread. Concurrent callers share the result."""

    def __init__(self, check: Check, pace: Pace) -> None:
        self._check, self._pace = check, pace
        self._lock = threading.Lock()
        self._question: Question | None = None

    def ask(self, loop: asyncio.AbstractEventLoop | None = None) -> Question:
        """Start the check, unless a result is fresh or pending.

        Args:
            loop: Where to await an awaitable result; by default, a new event loop.
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
