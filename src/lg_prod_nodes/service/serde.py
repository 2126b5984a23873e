"""Strict checkpoint serialization: a row may name only classes that the graph's state uses.

LangGraph's serializer imports and calls whatever a row names. Anyone who can write one row can run code in every
worker.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import langgraph.types
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import SecretBytes, SecretStr

from lg_prod_nodes.core import report, usage
from lg_prod_nodes.core.errors import ConfigurationError, UntrustedType

AllowedType = type | str
"""A class, or its location: `module:Name`."""

_BLOCKED: ContextVar[list[str] | None] = ContextVar("_BLOCKED", default=None)


class StrictSerializer(JsonPlusSerializer):
    """LangGraph's serializer, with an allowlist of the classes that a row may name.

    Args:
        allowed: Classes to allow besides messages, LangGraph's own types, and plain values.

    Raises:
        UntrustedType: From `loads_typed`, if a row names another class. That class is neither imported nor called.
    """

    def __init__(self, allowed: Iterable[AllowedType] = ()) -> None:
        super().__init__(allowed_msgpack_modules=sorted(_always() | names_of(allowed)))

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Deserialize a row."""
        with _noting_blocked() as blocked:
            value = super().loads_typed(data)
        if blocked:
            raise UntrustedType(blocked)
        return value


def serializer(
    serde: SerializerProtocol | None, allowed: Iterable[AllowedType]
) -> SerializerProtocol:
    """Return the caller's serializer, or a strict one that allows the given classes.

    Raises:
        ConfigurationError: Classes were given along with a serializer, or one is neither a class nor `module:Name`.
    """
    given = list(allowed)
    if serde is None:
        return StrictSerializer(given)
    if given:
        raise ConfigurationError(
            "allowed_types was given with serde, which has a list of its own; give one of them"
        )
    return serde


def names_of(allowed: Iterable[AllowedType]) -> set[tuple[str, ...]]:
    """Convert classes to the form of LangGraph's allowlist.

    Raises:
        ConfigurationError: One is neither a class nor `module:Name`.
    """
    return {_name_of(kind) for kind in allowed}


def _name_of(kind: AllowedType) -> tuple[str, ...]:
    if isinstance(kind, type):
        return kind.__module__, kind.__name__
    module, _, name = str(kind).strip().partition(":")
    if not (isinstance(kind, str) and module and name.isidentifier()):
        raise ConfigurationError(
            f"{kind!r} is allowed in checkpoints, and is no class; give the class, or 'module:Name'"
        )
    return module, name


def _always() -> set[tuple[str, ...]]:
    """Return the types that are always allowed: side-effect-free values of LangGraph and this library, and secrets."""
    kinds = [SecretBytes, SecretStr, importlib.import_module("langgraph.errors").NodeError]
    for module in (langgraph.types, report, usage):
        kinds += [kind for kind in vars(module).values() if _is_value(kind, module.__name__)]
    return names_of(kinds)


def _is_value(kind: Any, module: str) -> bool:
    is_here = isinstance(kind, type) and kind.__module__ == module
    return is_here and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"))


@contextmanager
def _noting_blocked() -> Generator[list[str]]:
    blocked: list[str] = []
    token = _BLOCKED.set(blocked)
    try:
        yield blocked
    finally:
        _BLOCKED.reset(token)


def _note(event: SerdeEvent) -> None:
    """Record a class that LangGraph blocked; LangGraph calls this for each."""
    blocked = _BLOCKED.get()
    if blocked is not None and event["kind"] in ("msgpack_blocked", "msgpack_method_blocked"):
        blocked.append(f"{event['module']}:{event['name']}")


register_serde_event_listener(_note)
