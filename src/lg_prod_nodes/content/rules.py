"""Rule sets of the walk in `walk.py`: what each use of it skips, changes and shows."""

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
    """Whether a key says that the value under it is a secret."""
    return isinstance(key, str) and len(key) <= 80 and _SECRET_NAME.search(key) is not None


@dataclass(frozen=True)
class Rules:
    """How a walk treats what it meets.

    Attributes:
        keys: How many of the keys above a text are passed with it.
        has_paths: Whether places in sequences count as keys, and keys are not searched: for a walk that needs to know
            where each text stands.
        has_names: Whether keys that only name things in messages (`id`, `type`) are skipped.
        has_numbers: Whether integers of seven or more digits are searched.
        has_floats: Whether other numbers of that size are.
        trusts_ids: Whether a number under a key such as `id` or `timestamp` is not searched.
        reads_binary: Whether bytes that are not UTF-8 are searched.
        hidden: What replaces any value under a key that names a secret; `None` searches it like the rest.
        unreadable: What replaces a text whose search fails; `None` raises.
        show: Gives the mapping, list or text that is walked in place of an object; `None` keeps each object's type, and
            leaves alone what it does not know.
        depth: The level of nesting from which on a value is walked as the text that shows it.
    """

    keys: int = 3
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
    """An object as a mapping, a list or a text; a field that its `repr` leaves out stays out."""
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
    """The text that shows an object."""
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def field_names(value: Any) -> tuple[str, ...]:
    """The names of the fields of a pydantic model or dataclass; none for anything else."""
    if isinstance(value, BaseModel):
        return (*type(value).model_fields, *(value.model_extra or ()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


VALUES = Rules()
"""State, messages, arguments and results: the same value, with its texts changed."""

PAYLOADS = Rules(keys=1_000_000, has_paths=True, has_names=False, has_numbers=False)
"""What is written to a stream piece by piece: each text with its path."""

ERRORS = Rules(reads_binary=True, unreadable=UNREADABLE)
"""The parts of an exception, which is on its way and must get there."""

LOGS = Rules(
    has_names=False,
    has_floats=True,
    trusts_ids=False,
    hidden=HIDDEN,
    unreadable=UNREADABLE,
    show=plainly,
    depth=9,
)
"""The values of a log line: plain ones, whatever is logged."""
