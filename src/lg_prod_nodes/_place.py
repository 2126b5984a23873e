"""Where models, tools, graphs and stores are called: inside of a node whose policies reach them.

A node's function calls them by itself, so nothing around the node can change what they get, or hold back what they
stream. So the methods of the classes through which every such call goes are *led*: they first look whether a guarded
node is running. If none is, and for every other graph, they do what they always did.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from lg_prod_nodes._engine import Wrap
from lg_prod_nodes.call import Call, TextFilter

T = TypeVar("T")

_SHELL = "_is_shell"


@dataclass(frozen=True, slots=True)
class Place:
    """Where models and tools are called: a call, and the policies around what it calls."""

    call: Call
    model: tuple[Wrap, ...] = ()
    tool: tuple[Wrap, ...] = ()
    changing: int = 0
    """How many of the policies around a model may change what it says."""
    content: tuple[Any, ...] = ()
    """The policies of the role `content`, for the graphs that are called."""
    filters: tuple[TextFilter, ...] = ()
    clean: Mapping[int, Any] | None = None
    """The messages of the node's input, which its policies have seen."""

    def inner(self, **changes: Any) -> Call:
        """The call of what is called here."""
        return self.call.replace(filters=self.filters, clean=self.clean, **changes)

    def buffers(self, call: Call) -> bool:
        """Whether a policy may change what a model says, and does not say how to change it piece by piece."""
        return len(call.filters) - len(self.filters) < self.changing


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def placed(place: Place) -> Generator[None]:
    """Be at a place inside of the block."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def lead(cls: type[Any], name: str, guarded: Callable[..., Any]) -> None:
    """Lead a method of a class through the place, where there is one.

    Args:
        cls: The class, for good.
        name: Its method.
        guarded: Gets the place, the method, and what that was called with.
    """
    native = getattr(cls, name)

    def led(self: Any, args: Any, kwargs: Any) -> Any:
        place = _PLACE.get()
        if place is None or _SHELL in getattr(self, "__dict__", ()):
            return native(self, *args, **kwargs)
        return guarded(place, native, self, *args, **kwargs)

    setattr(cls, name, wraps(native)(_alike(native, led)))


def _alike(native: Any, led: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the same kind, which others ask about: a function, a coroutine, a generator."""
    if inspect.iscoroutinefunction(native):

        async def awaited(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await led(self, args, kwargs)

        return awaited
    if inspect.isasyncgenfunction(native):

        async def agenerated(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with aclosing(led(self, args, kwargs)) as items:
                async for item in items:
                    yield item

        return agenerated
    if inspect.isgeneratorfunction(native):

        def generated(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from led(self, args, kwargs)

        return generated

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        return led(self, args, kwargs)

    return called


def shell(original: T) -> T:
    """A copy that is not led again, and may have methods of its own: what it is a copy of keeps its own state."""
    copied = copy(original)
    vars(copied)[_SHELL] = True
    return copied
