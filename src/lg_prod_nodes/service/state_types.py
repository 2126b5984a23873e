"""The classes that a graph's state may contain: those named by its schemas and its nodes' code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from types import FunctionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from pydantic import BaseModel
from typing_extensions import is_typeddict

_TOO_WIDE = (
    "abc",
    "builtins",
    "enum",
    "langchain_core.load",
    "langchain_core.runnables",
    "pydantic",
    "typing",
)
"""Modules of base classes that anything may subclass."""


def state_types(graph: Pregel[Any, Any, Any, Any]) -> frozenset[type]:
    """Return the state classes of a compiled graph and its subgraphs."""
    found: set[type] = set()
    seen: list[Any] = []
    for each in (graph, *(inner for _, inner in graph.get_subgraphs(recurse=True))):
        if isinstance(each, Pregel):
            _collect(_hints(each), found, seen)
    return frozenset(found)


def _hints(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    for channel in graph.channels.values():
        for name in ("ValueType", "UpdateType"):
            with suppress(Exception):  # a third-party channel may have none
                yield getattr(channel, name)
    if isinstance(graph, CompiledStateGraph):
        yield from graph.builder.schemas
        yield from (spec.input_schema for spec in graph.builder.nodes.values())
    for node in graph.nodes.values():
        for function in _functions(node.bound):
            yield from _named_by(function)


def _functions(runnable: Any) -> Iterator[Callable[..., Any]]:
    """Yield the functions of a node and of the tools it calls."""
    tools = getattr(runnable, "tools_by_name", None)
    holders = [runnable, *(tools.values() if isinstance(tools, dict) else ())]
    for holder in holders:
        for name in ("func", "afunc", "coroutine"):
            function = getattr(holder, name, None)
            if callable(function):
                yield inspect.unwrap(getattr(function, "func", function))


def _named_by(function: Callable[..., Any]) -> Iterator[Any]:
    """Yield the types that a function names in its signature or body, including tasks of the functional API."""
    yield from _safe_hints(function)
    if not isinstance(function, FunctionType):
        return
    with suppress(ValueError):  # a cell may still be empty
        variables = inspect.getclosurevars(function)
        for value in (*variables.nonlocals.values(), *variables.globals.values()):
            if isinstance(value, type):
                yield value
            elif type(value).__module__ == "langgraph.func":
                yield from _safe_hints(value.func)
            elif isinstance(schema := getattr(value, "schema", None), type):
                yield schema  # of `create_agent(response_format=...)`


def _collect(hints: Iterable[Any], found: set[type], seen: list[Any]) -> None:
    for hint in hints:
        if any(hint is known for known in seen):
            continue
        seen.append(hint)
        if isinstance(hint, type) and _holds_data(hint):
            found.add(hint)
        _collect(_inside(hint), found, seen)


def _inside(hint: Any) -> Iterator[Any]:
    """Yield the types that a type consists of."""
    if (origin := get_origin(hint)) is not None:
        yield origin
        yield from get_args(hint)
    elif isinstance(hint, TypeVar):
        yield from (hint.__bound__, *hint.__constraints__)
    elif (alias := getattr(hint, "__supertype__", getattr(hint, "__value__", None))) is not None:
        yield alias
    elif isinstance(hint, type) and (_holds_data(hint) or is_typeddict(hint)):
        yield getattr(hint, "__pydantic_generic_metadata__", {}).get("origin")
        yield from _safe_hints(hint)
        if not hint.__module__.startswith(_TOO_WIDE) and not is_typeddict(hint):
            yield from hint.__subclasses__()


def _holds_data(kind: type) -> bool:
    return (
        is_dataclass(kind)
        or hasattr(kind, "__attrs_attrs__")
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
        or issubclass(kind, (BaseModel, Enum))
        or hasattr(kind, "__get_validators__")
    )


def _safe_hints(thing: Any) -> list[Any]:
    with suppress(Exception):  # a forward reference may not resolve
        return list(get_type_hints(thing, include_extras=True).values())
    return list(getattr(thing, "__annotations__", {}).values())
