"""Where models, tools, graphs and stores are called: inside of a node whose policies reach them.

A node's function calls them by itself, so nothing around the node can change what they get, or hold back what they
stream. So the methods of the classes through which every such call goes are *led*: they first look whether a guarded
node is running. If none is, and for every other graph, they do what they always did.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakSet

from langchain_core.runnables.config import var_child_runnable_config

from lg_prod_nodes.core.call import Call, TextFilter
from lg_prod_nodes.core.engine import Wrap, act, drive

T = TypeVar("T")

_SHELL = "_is_shell"


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where models and tools are called: a call, and the policies around what it calls."""

    call: Call
    model: tuple[Wrap, ...] = ()
    tool: tuple[Wrap, ...] = ()
    changing: int = 0
    """How many of the policies around a model may change what it says."""
    metered: bool = False
    """Whether a policy around a model wants to know what a call spends."""
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

_OPEN: dict[Place, str] = {}
"""The places where something runs, with LangGraph's namespaces of them, for threads without the context."""


@contextmanager
def placed(place: Place) -> Generator[None]:
    """Be at a place inside of the block."""
    token = _PLACE.set(place)
    _OPEN[place] = _namespace(place.call.config.get("metadata"))
    try:
        yield
    finally:
        del _OPEN[place]
        _PLACE.reset(token)


def _namespace(metadata: Any) -> str:
    first = metadata[0] if isinstance(metadata, list) and metadata else metadata
    return first.get("langgraph_checkpoint_ns") or "" if isinstance(first, Mapping) else ""


def _place_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Place | None:
    """The place of the node whose config a call was given, or runs in: a bare thread has not got the context."""
    if not _OPEN:
        return None
    config = kwargs.get("config") or (args[1] if len(args) > 1 else None)
    if not isinstance(config, Mapping):
        config = var_child_runnable_config.get() or {}
    here = _namespace(kwargs.get("metadata")) or _namespace(config.get("metadata"))
    places = reversed(_OPEN.copy().items())
    return next(
        (place for place, name in places if name and f"{here}|".startswith(f"{name}|")), None
    )


def lead(cls: type[Any], name: str, guarded: Callable[..., Any]) -> None:
    """Lead a method of a class through the place, where there is one.

    Args:
        cls: The class, for good.
        name: Its method.
        guarded: Gets the place, the method, and what that was called with, the first argument by position.
    """
    native = getattr(cls, name)
    first = [*inspect.signature(native).parameters, ""][1]

    def led(self: Any, args: Any, kwargs: Any) -> Any:
        if _SHELL in getattr(self, "__dict__", ()):
            return native(self, *args, **kwargs)
        place = _PLACE.get() or _place_in(args, kwargs)
        if place is None:
            return native(self, *args, **kwargs)
        if first in kwargs:
            args = (kwargs.pop(first),)
        return guarded(place, native, self, *args, **kwargs)

    setattr(cls, name, wraps(native)(_alike(native, led)))


_LED: WeakSet[type[Any]] = WeakSet()


def lead_below(base: type[Any], methods: Mapping[str, Callable[..., Any]]) -> None:
    """Lead methods of a class, and of those below it that define them anew; each class once."""
    if base not in _LED:
        for name, guarded in methods.items():
            if inspect.isfunction(vars(base).get(name)):
                lead(base, name, guarded)
        _LED.add(base)
    for cls in base.__subclasses__():
        lead_below(cls, methods)


def send(wraps: Sequence[Wrap], call: Call, native: Callable[[Call], Any]) -> Any:
    """Send a call through policies, and on to what is called; a coroutine where that is one."""

    async def handler(call: Call) -> Any:
        given = native(call)
        return given if call.blocking else await given

    going = act(wraps, call, handler)
    return drive(going) if call.blocking else going


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
