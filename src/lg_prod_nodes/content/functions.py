"""Wraps synchronous and asynchronous functions without changing their signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

from lg_prod_nodes.content.walk import cleaned_errors, rewrite
from lg_prod_nodes.core.call import Call

T = TypeVar("T")
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def adapted(
    function: Callable[..., Any],
    *,
    inside: Callable[[], AbstractContextManager[Any]] = nullcontext,
    before: Callable[[tuple[Any, ...], dict[str, Any]], Arguments] = lambda a, k: (a, k),
    after: Callable[[Any], Any] = lambda result: result,
) -> Any:
    """Return a wrapper with the same signature.

    Args:
        function: The function to wrap.
        inside: Creates the context manager to call it in.
        before: Transforms the arguments.
        after: Transforms the result.
    """
    if is_async(function):

        @wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with inside():
                args, kwargs = before(args, kwargs)
                return after(await function(*args, **kwargs))

        return named_like(function, awaited)

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with inside():
            args, kwargs = before(args, kwargs)
            return after(function(*args, **kwargs))

    return named_like(function, called)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function, or an object with `__call__`, is a coroutine function."""
    call = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def named_like(function: Any, wrapper: T) -> T:
    """Name a wrapper like what it wraps: a `functools.partial` after its function, an object after its class."""
    if not hasattr(function, "__name__"):
        named = getattr(function, "func", type(function))
        cast(Any, wrapper).__name__ = getattr(named, "__name__", type(function).__name__)
    return wrapper


def filtered_function(function: Callable[..., Any], call: Call, **adaptions: Any) -> Any:
    """Return a function whose result and errors pass the filters of a call."""
    context = adaptions.pop("inside", nullcontext)

    @contextmanager
    def inside() -> Generator[None]:
        with cleaned_errors(call.texts.filtered), context():
            yield

    adaptions.setdefault("after", lambda result: rewrite(result, call.texts.filtered))
    return adapted(function, inside=inside, **adaptions)
