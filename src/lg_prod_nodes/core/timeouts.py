"""Time out a call: asynchronous calls are cancelled, synchronous ones are abandoned in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, cast

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.clock import Clock
from lg_prod_nodes.core.engine import drive


class Cut(Exception):
    """The call timed out."""


async def cut_off(seconds: float, call: Call, handler: Handler) -> Any:
    """Make a call with a timeout in seconds.

    Raises:
        Cut: The call timed out. A synchronous call keeps running, and its result is discarded.
    """
    if call.blocking:
        return _in_thread(seconds, cast("Coroutine[Any, Any, Any]", handler(call)))
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(seconds, call, task)
    try:
        return await handler(call)
    except asyncio.CancelledError:
        if watch.end():
            raise Cut from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels a task after some seconds on its call's clock."""

    def __init__(self, seconds: float, call: Call, task: asyncio.Task[Any]) -> None:
        self._fired = False
        self._watched, self._before = task, task.cancelling()
        self._watching: asyncio.Task[None] | None = asyncio.create_task(
            self._watch(seconds, call.clock)
        )

    async def _watch(self, seconds: float, clock: Clock) -> None:
        await clock.asleep(seconds)
        self._fired = True
        self._watched.cancel()

    def end(self) -> bool:
        """Stop watching and undo a cancellation by this watch; return whether it was the only one."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None  # its error refers to its frame, and that to this watch
        if not self._fired:
            return False
        self._fired = False
        return self._watched.uncancel() <= self._before


def _in_thread(seconds: float, coroutine: Coroutine[Any, Any, Any]) -> Any:
    context, ended = copy_context(), threading.Event()
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(context.run(drive, coroutine))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    # Not from a pool, whose threads the process waits for when it exits.
    threading.Thread(target=work, name="lg_prod_nodes cut off", daemon=True).start()
    if not ended.wait(min(seconds, threading.TIMEOUT_MAX)):
        raise Cut
    if errors:
        raise errors[0]
    return results[0]
