"""Models, tools, retrievers and embeddings that policies reach without any patch.

`guard` copies the object it gets and gives the copy a subclass of the original's class. In the subclass, the methods
listed in `patches.py` look up the scope of each call.
"""

from __future__ import annotations

import inspect
from copy import copy
from functools import cache
from typing import Any, TypeVar, cast

import wrapt

from lg_prod_nodes.core.tracebacks import shorten
from lg_prod_nodes.runtime.model_shell import is_shell
from lg_prod_nodes.runtime.patches import Guarded, guarded_methods
from lg_prod_nodes.runtime.placement import Stack
from lg_prod_nodes.runtime.scope import Scope, current_scope

T = TypeVar("T")

_STACK = "_lg_prod_nodes_stack"


def is_reachable(thing: object) -> bool:
    """Whether an object is a LangChain model, tool, retriever or embeddings."""
    return not isinstance(thing, type) and bool(guarded_methods(cast(Any, type(thing))))


def reached(thing: T, stack: Stack) -> T:
    """A copy whose calls pass through its own policies, inside those of the calling node.

    Args:
        thing: A model, tool, retriever or embeddings.
        stack: Its own policies.
    """
    clone = copy(thing)
    cast(Any, clone).__class__ = _reached_class(cast(Any, type(thing)))
    vars(clone)[_STACK] = stack
    return clone


@cache
def _reached_class(cls: Any, /) -> Any:
    metaclass: Any = type(cls)
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    below = metaclass(cls.__name__, (cls,), names)
    for name, guarded in guarded_methods(cls).items():
        native = inspect.getattr_static(cls, name)
        setattr(below, name, wrapt.FunctionWrapper(native, _reaching(native, guarded)))
    return below


def _reaching(native: Any, guarded: Guarded) -> Any:
    first = [*inspect.signature(native).parameters, ""][1]
    blocking = not (inspect.iscoroutinefunction(native) or inspect.isasyncgenfunction(native))

    def call(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if is_shell(instance):
            return wrapped(*args, **kwargs)
        try:
            scope = _scope(instance, args, kwargs, blocking=blocking)
            if first in kwargs:
                args = (kwargs.pop(first), *args)
            return guarded(scope, native, instance, *args, **kwargs)
        except Exception as error:
            shorten(error)
            raise

    return call


def _scope(instance: Any, args: Any, kwargs: Any, *, blocking: bool) -> Scope:
    """The calling node's scope with the copy's own policies inside; a scope of its own if no node is calling."""
    stack: Stack = vars(instance)[_STACK]
    scope = current_scope(args, kwargs)
    if scope is None:
        call = stack.ambient_call(type(instance).__name__, None, blocking=blocking)
        return Scope(call, stack.inner)
    own = tuple(observer for observer in stack.observers if observer not in scope.call.observers)
    call = scope.call.replace(observers=(*scope.call.observers, *own))
    return Scope(call, scope.policies.around(stack.inner), outer=scope.outer)
