"""The single walk over all content: messages, content blocks, tool calls, state, `Command`, `Send`.

Input is never mutated, except for exceptions, which are already propagating.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from json import dumps, loads
from typing import Any, TypeVar

from lg_prod_nodes.content.rules import ERRORS, PAYLOADS, VALUES, Rules, names_a_secret
from lg_prod_nodes.content.walker import Keys, TakesLong, Visit, Walker
from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.core.tracebacks import raise_again

__all__ = [
    "QUICK",
    "Keys",
    "Rewrite",
    "TakesLong",
    "cleaned_errors",
    "if_quick",
    "rewrite",
    "texts",
    "texts_by_path",
    "walked",
    "with_text_at",
]

T = TypeVar("T")
Rewrite = Callable[[str], str]

_NUMBER = re.compile(r"[\d\s().+/-]{7,40}")
_KEY_CHARACTERS = 80

QUICK = 0.01
"""Seconds that a walk may block an event loop before it moves to a thread."""


def rewrite(
    value: T,
    change: Rewrite,
    *,
    clean: Mapping[int, Any] | None = None,
    seconds: float | None = None,
) -> T:
    """Apply `change` to every text in a value, including keys of mappings and numbers of seven or more digits.

    Keys tell what a value is. So a number, or a text that consists of one, is passed with its keys, as in `"phone:
    2125550142"`, and a text under a key that indicates a secret as `"password": "..."`. JSON stays valid.

    Args:
        value: A message, a state (mapping, pydantic model, dataclass), an update, a `Command`, `Send` or `Interrupt`,
            or any nesting of these in lists, tuples, sets and mappings.
        change: Returns the replacement for a text.
        clean: Messages to skip, by identity, with their content.
        seconds: Time limit of the walk; by default, none.

    Returns:
        The same object if no text changed, otherwise a copy with the changed texts.

    Raises:
        TakesLong: The walk would exceed `seconds`.
        DetectionFailed: The value is nested too deeply to search.
    """
    return _rewritten(value, Walker(VALUES, _in_context(change), clean, seconds))  # type: ignore[no-any-return]


def texts(value: object, *, seconds: float | None = None) -> list[str]:
    """Return every text in a value, in the order of the walk.

    Args:
        value: Anything that `rewrite` accepts.
        seconds: Time limit of the walk; by default, none.

    Raises:
        TakesLong: The walk would exceed `seconds`.
    """
    found: list[str] = []

    def note(text: str, keys: Keys) -> str:
        found.append(text)
        return text

    Walker(VALUES, note, seconds=seconds).value(value)
    return found


def texts_by_path(value: object) -> dict[Keys, str]:
    """Return every text in a value except keys of mappings, by its path of keys, indices and fields."""
    found: dict[Keys, str] = {}
    Walker(PAYLOADS, lambda text, path: found.setdefault(path, text)).value(value)
    return found


def with_text_at(value: T, path: Keys, text: str) -> T:
    """Return a value with the text at an existing path replaced."""
    return _rewritten(value, Walker(PAYLOADS, lambda old, at: text if at == path else old))  # type: ignore[no-any-return]


def if_quick(change: Rewrite, is_quick: Callable[[str], bool]) -> Rewrite:
    """Return a version of `change` that raises `TakesLong` for texts that are slow to search."""

    def changed(text: str) -> str:
        if not is_quick(text):
            raise TakesLong
        return change(text)

    return changed


def walked(value: Any, change: Rewrite, rules: Rules) -> Any:
    """Return a value rewritten under a rule set."""
    return Walker(rules, _in_context(change)).value(value)


class cleaned_errors:  # noqa: N801 - a context manager that reads as a verb
    """Clean exceptions raised inside the block, in place: they are already propagating."""

    __slots__ = ("_change",)

    def __init__(self, change: Rewrite) -> None:
        self._change = change

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            cleaned = Walker(ERRORS, _in_context(self._change)).error(error)
            if cleaned is not error:
                raise_again(cleaned)


def _in_context(change: Rewrite) -> Visit:
    """Return a visitor that passes the keys of a text along if they may tell what it is."""

    def visit(text: str, keys: Keys) -> str:
        if not keys:
            return change(text)
        if names_a_secret(keys[-1]):
            changed = _as_secret(change, keys[-1], text)
        elif not text[:1].isalpha() and _NUMBER.fullmatch(text):
            changed = _after(change, f"{' '.join(keys)[-_KEY_CHARACTERS:]}: ", text)
        else:
            return change(text)
        return change(text) if changed == text else changed

    return visit


def _after(change: Rewrite, before: str, text: str) -> str:
    changed = change(before + text)
    return changed[len(before) :] if changed.startswith(before) else text


def _as_secret(change: Rewrite, key: str, text: str) -> str:
    """Rewrite a text in JSON form, under its key."""
    changed = _after(change, f"{dumps(key)}: ", dumps(text, ensure_ascii=False))
    try:
        value = loads(changed)
    except ValueError:
        value = changed.strip('"')
    return value if isinstance(value, str) else changed


def _rewritten(value: Any, walk: Walker) -> Any:
    try:
        new = walk.value(value)
    except RecursionError:
        raise DetectionFailed("a value is nested too deeply to be searched") from None
    return new if walk.changes else value
