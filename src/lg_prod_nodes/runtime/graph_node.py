"""A graph that is a node of another one: guarded as a node, and still a graph for whoever looks at it."""

from __future__ import annotations

from copy import copy
from functools import cache, update_wrapper
from typing import Any, cast

from lg_prod_nodes.runtime.node import GuardedNode

_GUARDED = "_lg_prod_nodes_node"


def guarded_graph(node: GuardedNode) -> Any:
    """A copy of a node's graph that runs as the guarded node does."""
    clone = copy(node.inner)
    vars(clone)[_GUARDED] = node
    clone.__class__ = _guarded_class(cast(Any, type(clone)))
    return clone


def is_guarded(bound: Any) -> bool:
    """Whether a node's runnable has policies around it already."""
    return isinstance(bound, GuardedNode) or _GUARDED in getattr(bound, "__dict__", ())


@cache
def _guarded_class(cls: Any) -> type[Any]:
    methods = {name: _guarded(name, getattr(cls, name)) for name in _DRIVEN}
    return type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__})


_DRIVEN = ("invoke", "ainvoke", "stream", "astream")
"""The methods by which LangGraph runs a node."""


def _guarded(name: str, native: Any) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        node = vars(self).get(_GUARDED)
        if node is None:  # a copy, which is a graph by itself
            return native(self, *args, **kwargs)
        return getattr(node, name)(*args, **kwargs)

    return update_wrapper(method, native)
