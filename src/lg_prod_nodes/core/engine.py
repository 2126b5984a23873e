"""The engine that runs policies: one chain of coroutines for synchronous and asynchronous callers alike.

A policy may await only what it is given (`handler`, `call.sleep`, `call.run_blocking`, a store's operation). For a
synchronous caller none of these ever suspends, so the coroutine finishes in one step, without an event loop. Streams
use the same coroutine: the innermost handler awaits a `Chunk`, or a whole `Flow` of items, which only the driver sees.
So a policy that wraps a run or node as one awaitable also wraps it as a stream.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.tracebacks import shorten

T = TypeVar("T")

Wrap = Callable[[Call, Handler], Coroutine[Any, Any, Any]]


class Chunk:
    """One item of a stream: `await Chunk(item)` delivers it to the reader."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __await__(self) -> Generator[Chunk, None, None]:
        yield self


class Flow:
    """A whole stream: `await Flow(items)` delivers its items to the reader without resuming the policies for each.

    Args:
        items: An iterable for a synchronous caller, an asynchronous iterable for an asynchronous one.
    """

    __slots__ = ("items",)

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self.items = items

    def __await__(self) -> Generator[Flow, None, None]:
        yield self


class _Relay:
    """Passes a signal of the event loop (a future, a bare yield) up to the task that runs the chain."""

    __slots__ = ("signal",)

    def __init__(self, signal: Any) -> None:
        self.signal = signal

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.signal)


class Watched:
    """A running chain that knows whether it has delivered an item of a stream."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.has_left = False
        self._steps = awaitable.__await__()

    def __await__(self) -> Generator[Any, Any, Any]:
        step, argument = self._steps.send, cast(Any, None)
        while True:
            try:
                signal = step(argument)
            except StopIteration as done:
                return done.value
            finally:
                argument = None  # an error would refer to this frame, and this frame to it
            if isinstance(signal, Flow):
                signal.items = _Noting(signal.items, self)
            elif isinstance(signal, Chunk):
                self.has_left = True
            try:
                argument = yield signal
            except GeneratorExit:
                self._steps.close()
                raise
            except BaseException as error:
                step, argument = self._steps.throw, error
            else:
                step = self._steps.send


class _Noting:
    """The items of a stream, which record their first delivery."""

    __slots__ = ("_items", "_watched")

    def __init__(self, items: Any, watched: Watched) -> None:
        self._items, self._watched = items, watched

    def __iter__(self) -> Iterator[Any]:
        self._items = iter(self._items)
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self._watched.has_left = True
        return item

    def __aiter__(self) -> AsyncIterator[Any]:
        self._items = aiter(self._items)
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._items)
        self._watched.has_left = True
        return item


def act(wraps: Sequence[Wrap], call: Call, handler: Handler) -> Awaitable[Any]:
    """Send a call through the policies, the first one outermost, to the handler."""
    return chained(wraps, handler)(call)


def chained(wraps: Sequence[Wrap], handler: Handler) -> Handler:
    """Return the policies, the first one outermost, and the handler inside them, as one handler."""
    for wrap in reversed(wraps):
        handler = _around(wrap, handler)
    return handler


def _around(wrap: Wrap, inner: Handler) -> Handler:
    return lambda call: wrap(call, inner)


def send(wraps: Sequence[Wrap], call: Call, handler: Handler) -> Any:
    """Run a call through the policies; return its result, or an awaitable for an asynchronous caller."""
    going = act(wraps, call, handler)
    return drive(going) if call.blocking else shortened(going)


async def shortened(awaitable: Awaitable[T]) -> T:
    """Run a chain for an asynchronous caller, with our frames removed from tracebacks."""
    try:
        return await awaitable
    except Exception as error:
        shorten(error)
        raise


def drive(awaitable: Awaitable[Any]) -> Any:
    """Run a chain without an event loop, for a synchronous caller.

    Raises:
        ConfigurationError: A policy awaited something that needs an event loop.
    """
    coroutine = cast("Coroutine[Any, Any, Any]", awaitable)
    try:
        signal = coroutine.send(None)
    except StopIteration as done:
        return done.value
    except Exception as error:
        shorten(error)
        raise
    coroutine.close()
    raise foreign_await(_awaited(signal))


def drive_stream(start: Callable[[], Awaitable[Any]]) -> Iterator[Any]:
    """Run a chain for a synchronous caller and yield the items that its innermost handler awaits.

    The chain runs in a context of its own, so that context variables bound by policies do not leak to the reader
    between two items.

    Raises:
        ConfigurationError: A policy awaited something that needs an event loop.
    """
    context = copy_context()
    coroutine = cast("Coroutine[Any, Any, Any]", context.run(start))
    step, argument = coroutine.send, cast(Any, None)
    while True:
        try:
            signal = context.run(step, argument)
        except StopIteration:
            return
        except Exception as error:
            shorten(error)
            raise
        finally:
            argument = None
        if not isinstance(signal, (Chunk, Flow)):
            coroutine.close()
            raise foreign_await(_awaited(signal))
        try:
            if isinstance(signal, Chunk):
                yield signal.item
            else:
                items = iter(cast("Iterable[Any]", signal.items))
                while (item := context.run(next, items, _END)) is not _END:
                    yield item
        except GeneratorExit:  # the reader stopped
            context.run(coroutine.close)
            raise
        except BaseException as error:
            step, argument = coroutine.throw, error
        else:
            step, argument = coroutine.send, None


async def drive_astream(  # noqa: C901 - one branch for each way a step ends
    start: Callable[[], Awaitable[Any]],
) -> AsyncGenerator[Any, None]:
    """Run a chain on the event loop and yield the items that its innermost handler awaits.

    A reader that stops early cancels the chain, since cleanup that awaits cannot run under `GeneratorExit`. A chain is
    cancelled once, however often its task is, so that it can end what it has begun.
    """
    context = copy_context()
    coroutine = cast("Coroutine[Any, Any, Any]", context.run(start))
    step, argument = coroutine.send, cast(Any, None)
    abandoned = is_cancelled = False
    while True:
        try:
            signal = context.run(step, argument)
        except StopIteration:
            return
        except asyncio.CancelledError:
            if abandoned:
                return
            raise
        except Exception as error:
            shorten(error)
            raise
        finally:
            argument = None
        result = None
        try:
            if isinstance(signal, Chunk):
                yield signal.item
            elif isinstance(signal, Flow):
                items = aiter(cast("AsyncIterable[Any]", signal.items))
                while True:
                    item = await InContext(context, anext(items, _END), cancelled_once=True)
                    if item is _END:
                        break
                    yield item
            elif is_cancelled:
                with _shielded():
                    result = await _Relay(signal)
            else:
                result = await _Relay(signal)
        except GeneratorExit:
            abandoned = is_cancelled = True
            step, argument = coroutine.throw, asyncio.CancelledError()
        except BaseException as error:
            is_cancelled = is_cancelled or isinstance(error, asyncio.CancelledError)
            step, argument = coroutine.throw, error
        else:
            step, argument = coroutine.send, result


_END: Any = object()


def _shielded() -> AbstractContextManager[object]:
    """Keep a cancelled scope of anyio from cancelling its task again at an await inside the block.

    Starlette has such a scope, which a client that leaves cancels. LangGraph could then end neither its nodes nor their
    models, and they would go on after their run. Scopes that the awaited code has opened for itself keep their effect.
    """
    anyio = sys.modules.get("anyio")  # no dependency; whoever has a scope has loaded it
    if anyio is None or anyio.current_effective_deadline() != -math.inf:
        return nullcontext()
    return anyio.CancelScope(shield=True)  # type: ignore[no-any-return]


class InContext:
    """An awaitable that runs each of its steps in a given context.

    Args:
        context: The context.
        awaitable: What to await in it.
        cancelled_once: Whether it is cancelled once only, however often a scope of anyio cancels its task.
    """

    __slots__ = ("_context", "_once", "_steps")

    def __init__(
        self, context: Context, awaitable: Awaitable[Any], *, cancelled_once: bool = False
    ) -> None:
        self._context, self._steps = context, awaitable.__await__()
        self._once = cancelled_once

    def __await__(self) -> Generator[Any, Any, Any]:
        run, step, argument = self._context.run, self._steps.send, cast(Any, None)
        is_cancelled = False
        while True:
            try:
                signal = run(step, argument)
            except StopIteration as done:
                return done.value
            finally:
                argument = None
            try:
                if is_cancelled:
                    with _shielded():
                        argument = yield signal
                else:
                    argument = yield signal
            except BaseException as error:
                is_cancelled = is_cancelled or (
                    self._once and isinstance(error, asyncio.CancelledError)
                )
                step, argument = self._steps.throw, error
            else:
                step = self._steps.send


def foreign_await(awaited: str, policy: str = "a policy") -> ConfigurationError:
    """Return the error for a policy that awaits something a synchronous caller cannot wait for."""
    return ConfigurationError(
        f"{policy} awaited {awaited} in a synchronous call; a policy may await only handler, call.sleep, "
        "call.run_blocking and its store. Write `await call.sleep(seconds)` for asyncio.sleep, put other work into "
        "`call.run_blocking(function)`, or call the graph through its async methods"
    )


def _awaited(signal: object) -> str:
    return "asyncio.sleep(0)" if signal is None else f"an asyncio {type(signal).__name__}"
