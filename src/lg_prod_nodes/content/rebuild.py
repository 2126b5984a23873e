"""Copies of values with some parts replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from copy import copy
from typing import Any

from pydantic import BaseModel

from lg_prod_nodes.content.rules import field_names


def renamed(value: Mapping[Any, Any], names: Mapping[Any, Any], changed: Mapping[Any, Any]) -> Any:
    """Return a mapping with renamed keys; no two keys become equal."""
    items: dict[Any, Any] = {}
    for key, old in value.items():
        name = wanted = names.get(key, key)
        number = 2
        while name in items or (name is not key and name in value):
            name, number = f"{wanted} ({number})", number + 1
        items[name] = changed.get(key, old)
    try:
        new = copy(value)
        new.clear()  # type: ignore[attr-defined]
        new.update(items)  # type: ignore[attr-defined]
    except (TypeError, AttributeError):
        return items
    return new


def updated(value: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    """Return a mapping with updated values."""
    try:
        new = copy(value)
        new.update(changed)  # type: ignore[attr-defined]
    except (TypeError, AttributeError):
        return {**value, **changed}
    return new


def replaced(value: Any, changed: dict[str, Any]) -> Any:
    """Return an object with updated fields; the same object if none changed."""
    if not changed:
        return value
    if isinstance(value, tuple):
        return value._replace(**changed)  # type: ignore[attr-defined]
    if isinstance(value, BaseModel):
        return value.model_copy(update=changed)
    new = copy(value)  # `replace` would run `__init__` again
    for name, field in changed.items():
        object.__setattr__(new, name, field)
    return new


def with_items(value: Any, items: list[Any]) -> Any:
    """Return a collection of the same type with other items."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    if isinstance(value, deque):
        return deque(items, value.maxlen)
    return type(value)(items)


def hollow(value: Any) -> Any:
    """Return a copy of a self-referencing value, for `fill` to complete; `None` for an immutable collection."""
    if isinstance(value, (dict, list, set, deque)) or field_names(value):
        return copy(value)
    return None


def fill(copied: Any, new: Any) -> Any:
    """Fill a copy with the parts of a new value."""
    if isinstance(copied, (dict, set)):
        copied.clear()
        copied.update(new)
    elif isinstance(copied, (list, deque)):
        copied.clear()
        copied.extend(new)
    for name in field_names(copied):
        extra = getattr(copied, "model_extra", None) or {}
        if name in extra:
            extra[name] = new.model_extra[name]
        else:
            object.__setattr__(copied, name, getattr(new, name))
    return copied
