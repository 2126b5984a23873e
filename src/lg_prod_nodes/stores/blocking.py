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
        self._is_done = self._is_left = False

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
            if self._leave() and not asked.cancelled() and asked.exception() is None:
                loop.run_in_executor(None, self._give_back, asked.result())
            raise

    def _run(self) -> T:
        outcome = self._step()
        with self._lock:
            self._is_done, is_left = True, self._is_left
        if is_left:
            self._give_back(outcome)
        return outcome

    def _leave(self) -> bool:
        """Note that nobody waits any more; whether the step had ended before."""
        with self._lock:
            self._is_left = True
            return self._is_done

    def _give_back(self, outcome: T) -> None:
        if self._undo is not None:
            self._undo(outcome)
