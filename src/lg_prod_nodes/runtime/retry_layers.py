"""A warning for nodes whose calls are retried in more than one layer."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.retry import RunnableRetry
from langgraph.pregel import Pregel

from lg_prod_nodes.core.cautions import RetriesWarning
from lg_prod_nodes.runtime.langgraph import RunnableCallable

_MIDDLEWARE = {"ModelRetryMiddleware", "ToolRetryMiddleware"}
_MOST = 200


def warn_of_layers(name: str, node: Any, retries: Sequence[Any]) -> None:
    """Warn if more than one layer visibly retries what a node calls.

    Args:
        name: The node's name.
        node: Its runnable.
        retries: LangGraph's retry policies for it.
    """
    layers = [*(["RetryPolicy"] if retries else []), *dict.fromkeys(_layers(node))]
    if len(layers) > 1:
        warnings.warn(
            f"the calls of node {name!r} are tried again by {' and by '.join(layers)}, whose tries multiply; keep one",
            RetriesWarning,
            stacklevel=4,
        )


def _layers(node: Any) -> Iterator[str]:
    seen: dict[int, Any] = {}
    waiting = [node]
    while waiting and len(seen) < _MOST:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, RunnableRetry):
            yield "with_retry()"
        elif type(thing).__name__ in _MIDDLEWARE:
            yield type(thing).__name__
        elif isinstance(thing, BaseLanguageModel):
            times = getattr(thing, "max_retries", None)
            if isinstance(times, int) and times > 0:
                yield f"the model's max_retries={times}"
        waiting.extend(_inside(thing))


def _inside(thing: Any) -> Iterator[Any]:
    """The objects that a node's runnable or function refers to and may call."""
    if isinstance(thing, Pregel):  # its own nodes are checked separately
        return
    if isinstance(thing, RunnableCallable):
        yield from (thing.func, thing.afunc)
    elif isinstance(thing, RunnableBindingBase):
        yield thing.bound
    elif isinstance(thing, RunnableSequence):
        yield from thing.steps
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args)
    elif inspect.ismethod(thing):
        yield from (thing.__self__, thing.__func__)
    elif inspect.isfunction(thing):
        yield from _held(thing)
    elif isinstance(thing, (list, tuple)):
        yield from thing


def _held(function: Any) -> Iterator[Any]:
    """The values in a function's closure, and the globals that it names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, (BaseLanguageModel, RunnableBindingBase)):
            yield value
