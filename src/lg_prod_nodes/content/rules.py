"""Rule sets for the walk in `walk.py`: what each use of it skips, changes and shows."""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

HIDDEN = "[SECRET]"
UNREADABLE = "[UNREADABLE]"

_SECRET_NAME = re.compile(
    r"(?:password|passwd|passphrase|passcode|pwd|secret|token|api[_-]?key|(?:access|private)[_-]?key|"
    r"credentials?|authori[sz]ation|bearer|cookie|(?:^|[_-])(?:pass|pin|cvv|cvc))$",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def names_a_secret(key: Any) -> bool:
    """Return whether a key indicates that its value is a secret."""
    return isinstance(key, str) and len(key) <= 80 and _SECRET_NAME.search(key) is not None


@dataclass(frozen=True)
class Rules:
    """How a walk treats values.

    Attributes:
        keys: How many of the enclosing keys are passed with a text.
        has_locations: Whether keys begin at the root, with the markers of `location.py`.
        has_paths: Whether indices count as keys and keys are not searched: for a walk that needs the path of each text.
        has_names: Whether keys of messages that hold only identifiers (`id`, `type`) are skipped.
        has_numbers: Whether integers of seven or more digits are searched.
        has_floats: Whether floats of that size are searched.
        trusts_ids: Whether numbers under keys such as `id` or `timestamp` are skipped.
        reads_binary: Whether bytes that are not UTF-8 are searched.
        hidden: Replaces any value under a key that indicates a secret; with `None`, such values are searched normally.
        unreadable: Replaces a text whose search fails; with `None`, the error is raised.
        show: Returns the mapping, list or text to walk instead of an object. With `None`, objects keep their type, and
            unknown objects are left unchanged.
        depth: The nesting level from which on values are walked in their text form.
    """

    keys: int = 3
    has_locations: bool = False
    has_paths: bool = False
    has_names: bool = True
    has_numbers: bool = True
    has_floats: bool = False
    trusts_ids: bool = True
    reads_binary: bool = False
    hidden: str | None = None
    unreadable: str | None = None
    show: Callable[[Any], Any] | None = None
    depth: int = 1_000_000


def plainly(value: Any) -> Any:
    """Convert an object to a mapping, list or text; fields excluded from its `repr` are left out."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, BaseModel):
        return {name: item for name, item in value.__repr_args__() if name is not None}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.repr]
        return {name: getattr(value, name, None) for name in names}
    return shown(value)


def shown(value: Any) -> str:
    """Return the text form of an object."""
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def field_names(value: Any) -> tuple[str, ...]:
    """Return the field names of a pydantic model or dataclass; empty for anything else."""
    if isinstance(value, BaseModel):
        return (*type(value).model_fields, *(value.model_extra or ()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


VALUES = Rules()
"""State, messages, arguments and results: the value keeps its shape, its texts change."""

LOCATED = Rules(keys=1_000_000, has_locations=True)
"""The same, for a change that depends on where a text is."""

PAYLOADS = Rules(keys=1_000_000, has_paths=True, has_names=False, has_numbers=False)
"""Streamed payloads: each text with its path."""

ERRORS = Rules(reads_binary=True, unreadable=UNREADABLE)
"""The parts of an exception, which must propagate in any case."""

LOGS = Rules(
    has_names=False,
    has_floats=True,
    trusts_ids=False,
    hidden=HIDDEN,
    unreadable=UNREADABLE,
    show=plainly,
    depth=9,
)
"""The values of a log entry: always converted to plain values."""
