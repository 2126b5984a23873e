"""How policies are run: one chain of coroutines, driven to its end by synchronous and asynchronous callers alike.

A policy may await only what it is handed (`handler`, `call.sleep`, `call.run_blocking`, a store's operation). For a
synchronous caller none of these ever suspends, so the coroutine ends in one step, with no event loop. A stream leaves
through the same coroutine: the innermost handler awaits `Chunk`s, which only the driver sees, so a policy that wraps a
run or a node as one awaitable also wraps it as a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Sequence
from contextvars import copy_context
from typing import Any, cast

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError

Wrap = Callable[[Call, Handler], Coroutine[Any, Any, Any]]


class Chunk:
    """One item of a stream on its way out: `await Chunk(item)` hands it to whoever reads the stream."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __await__(self) -> Generator[Chunk, None, None]:
        yield self


class _Relay:
    """Hands an event loop's own signal (a future, a bare yield) up to the task that runs us."""

    __slots__ = ("signal",)

    def __init__(self, signal: Any) -> None:
        self.signal = signal

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.signal)


class Watched:
    """A chain on its way, and whether a chunk of a stream has left it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.has_left = False
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, argument = self._coroutine.send, cast(Any, None)
        while True:
            try:
                signal = step(argument)
            except StopIteration as done:
                return done.value
            self.has_left = self.has_left or isinstance(signal, Chunk)
            try:
                argument = yield signal
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step, argument = self._coroutine.throw, error
            else:
                step = self._coroutine.send


async def act(wraps: Sequence[Wrap], call: Call, handler: Handler, at: int = 0) -> Any:
    """Send a call through the policies, the first one outermost, and on to the handler."""
    if at == len(wraps):
        return await handler(call)

    async def further_in(call: Call) -> Any:
        return await act(wraps, call, handler, at + 1)

    return await wraps[at](call, further_in)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a chain to its end without an event loop, for a synchronous caller.

    Raises:
        ConfigurationError: A policy awaited something that needs an event loop.
    """
    try:
        signal = coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise _foreign_await(signal)


def drive_stream(start: Callable[[], Coroutine[Any, Any, Any]]) -> Iterator[Any]:
    """Start a chain for a synchronous caller and yield the chunks that its innermost handler awaits.

    The chain runs in a context of its own, so that what policies bind (log context) does not leak to the reader
    between two chunks.
    """
    context = copy_context()
    coroutine = context.run(start)
    step, argument = coroutine.send, cast(Any, None)
    while True:
        try:
            signal = context.run(step, argument)
        except StopIteration:
            return
        if not isinstance(signal, Chunk):
            coroutine.close()
            raise _foreign_await(signal)
        try:
            yield signal.item
        except GeneratorExit:  # the reader stopped
            context.run(coroutine.close)
            raise
        except BaseException as error:
            step, argument = coroutine.throw, error
        else:
            step, argument = coroutine.send, None


async def drive_astream(start: Callable[[], Coroutine[Any, Any, Any]]) -> AsyncGenerator[Any, None]:
    """Start a chain in the running event loop and yield the chunks that its innermost handler awaits.

    A reader that stops early cancels the chain: `GeneratorExit` itself cannot pass through an `await` that has to wait
    for its clean-up.
    """
    context = copy_context()
    coroutine = context.run(start)
    step, argument = coroutine.send, cast(Any, None)
    abandoned = False
    while True:
        try:
            signal = context.run(step, argument)
        except StopIteration:
            return
        except asyncio.CancelledError:
            if abandoned:
                return
            raise
        try:
            if isinstance(signal, Chunk):
                yield signal.item
                result = None
            else:
                result = await _Relay(signal)
        except GeneratorExit:
            abandoned = True
            step, argument = coroutine.throw, asyncio.CancelledError()
        except BaseException as error:
            step, argument = coroutine.throw, error
        else:
            step, argument = coroutine.send, result


def _foreign_await(signal: object) -> ConfigurationError:
    return ConfigurationError(
        f"a policy awaited {type(signal).__name__} in a synchronous call; a policy may await only `handler`, "
        "`call.sleep`, `call.run_blocking` and its store. Put other work into `call.run_blocking`, or call the graph "
        "through its async methods."
    )
