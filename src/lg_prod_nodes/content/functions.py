"""Functions of the same signature, synchronous or not, with something around them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

from lg_prod_nodes.content.walk import cleaned_errors, rewrite
from lg_prod_nodes.core.call import Call

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def adapted(
    function: Callable[..., Any],
    *,
    inside: Callable[[], AbstractContextManager[Any]] = nullcontext,
    before: Callable[[tuple[Any, ...], dict[str, Any]], Arguments] = lambda a, k: (a, k),
    after: Callable[[Any], Any] = lambda result: result,
) -> Any:
    """A function of the same signature.

    Args:
        function: What to call.
        inside: Makes the context that it is called in.
        before: What becomes of the arguments.
        after: What becomes of the result.
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with inside():
                args, kwargs = before(args, kwargs)
                return after(await function(*args, **kwargs))

        return awaited

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with inside():
            args, kwargs = before(args, kwargs)
            return after(function(*args, **kwargs))

    return called


def filtered_function(function: Callable[..., Any], call: Call, **adaptions: Any) -> Any:
    """A function whose result and errors are filtered as what leaves a call is."""
    context = adaptions.pop("inside", nullcontext)

    @contextmanager
    def inside() -> Generator[None]:
        with cleaned_errors(call.texts.filtered), context():
            yield

    adaptions.setdefault("after", lambda result: rewrite(result, call.texts.filtered))
    return adapted(function, inside=inside, **adaptions)
