"""Stops a run from any thread: asynchronous calls are cancelled, synchronous ones are abandoned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, cast

from lg_prod_nodes.core.call import Call, Handler, Unrecoverable
from lg_prod_nodes.core.engine import Chunk, Flow, foreign_await


class Stop:
    """Ends the calls of a run with an error, and lets no more begin.

    Attributes:
        error: Why the run was stopped, `None` while it was not.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._cuts: set[Callable[[], None]] = set()

    def pull(self, error: Exception) -> None:
        """Stop the run, once; what is called again later changes nothing."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            cuts = tuple(self._cuts)
        for cut in cuts:
            cut()

    def listen(self, cut: Callable[[], None]) -> Callable[[], None]:
        """Call a function when the run is stopped, at once if it was; return what ends that."""
        self._cuts.add(cut)
        if self.error is not None:
            cut()
        return lambda: self._cuts.discard(cut)

    def check(self) -> None:
        """Raise the error past LangGraph's retries and error handlers if the run was stopped.

        Raises:
            Unrecoverable: It was.
        """
        if self.error is not None:
            raise Unrecoverable(self.error) from None

    async def around(self, call: Call, handler: Handler, *, abandon: bool) -> Any:
        """Make a call that ends when the run is stopped.

        Args:
            call: The call.
            handler: The rest of the chain.
            abandon: Run a synchronous call in a thread of its own, so that it can be abandoned. Otherwise the run
                waits for it, and discards its result.
        """
        self.check()
        if not call.blocking:
            return await self._cancellable(call, handler)
        if not abandon:
            result = await handler(call)
        else:
            steps = cast("Coroutine[Any, Any, Any]", handler(call))
            items, result = self._abandonable(steps)
            if items:
                await Flow(items)
        self.check()
        return result

    async def _cancellable(self, call: Call, handler: Handler) -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        watch = _Cancellation(task)

        def cut() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(watch.cancel)

        self._cuts.add(cut)
        try:
            self.check()
            return await handler(call)
        except asyncio.CancelledError:
            if watch.end():
                self.check()
            raise
        finally:
            self._cuts.discard(cut)
            watch.end()

    def _abandonable(self, steps: Coroutine[Any, Any, Any]) -> tuple[list[Any], Any]:
        """What a call streams, and its result."""
        ended = threading.Event()
        work = _ThreadedCall(steps, ended)
        self._cuts.add(ended.set)
        try:
            # Not from a pool, whose threads the process waits for when it exits.
            threading.Thread(target=work.run, name="lg_prod_nodes node", daemon=True).start()
            if self.error is None:
                ended.wait()
            self.check()
        finally:
            self._cuts.discard(ended.set)
        if work.error is not None:
            raise work.error
        return work.items, work.result


class _Cancellation:
    """Cancels a task, and undoes that where the task goes on."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task, self._before = task, task.cancelling()
        self._fired = self._ended = False

    def cancel(self) -> None:
        if not self._ended:
            self._fired = True
            self._task.cancel()

    def end(self) -> bool:
        """Watch no longer; return whether this was the only cancellation."""
        self._ended = True
        if not self._fired:
            return False
        self._fired = False
        return self._task.uncancel() <= self._before


class _ThreadedCall:
    """A chain that runs in a thread of its own."""

    def __init__(self, steps: Coroutine[Any, Any, Any], ended: threading.Event) -> None:
        self._steps, self._ended, self._context = steps, ended, copy_context()
        self.items: list[Any] = []
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._context.run(self._drive)
        except BaseException as error:
            self.error = error
        finally:
            self._ended.set()

    def _drive(self) -> None:
        while True:
            try:
                signal = self._steps.send(None)
            except StopIteration as done:
                self.result = done.value
                return
            if isinstance(signal, Flow):
                self.items.extend(cast(Any, signal.items))
            elif isinstance(signal, Chunk):
                self.items.append(signal.item)
            else:
                self._steps.close()
                raise foreign_await(type(signal).__name__)
