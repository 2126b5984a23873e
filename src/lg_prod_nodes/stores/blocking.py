"""Blocking steps in threads, for asynchronous callers who may be cancelled meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")


class BlockingStep(Generic[T]):
    """A step in a thread, and what undoes its outcome if nobody waits for it any more.

    Args:
        step: What to do.
        undo: Gives back what the step took; runs in a thread too, and handles its own failures.
    """

    def __init__(self, step: Callable[[], T], undo: Callable[[T], object] | None = None) -> None:
        self._step, self._undo = step, undo
        self._lock = threading.Lock()
        self._outcomes: list[T] = []
        self._is_left = False

    async def answer(self, threads: Executor | None = None) -> T:
        """The step's outcome. A cancelled caller does not wait for it, but the step runs to its end.

        Args:
            threads: Where the step runs, the event loop's own threads by default.
        """
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(threads, self._run)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            for outcome in self._leave():
                loop.run_in_executor(None, self._give_back, outcome)
            raise

    def _run(self) -> T:
        outcome = self._step()
        with self._lock:
            self._outcomes.append(outcome)
            is_left = self._is_left
        if is_left:
            self._give_back(outcome)
        return outcome

    def _leave(self) -> list[T]:
        """Note that nobody waits any more; the step's outcome, if it has ended well before."""
        with self._lock:
            self._is_left = True
            return list(self._outcomes)

    def _give_back(self, outcome: T) -> None:
        if self._undo is not None:
            self._undo(outcome)
