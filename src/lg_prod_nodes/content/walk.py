"""The one walk over everything that carries content: messages, content blocks, tool calls, state, `Command`, `Send`.

What it is given is never mutated, but for exceptions, which are on their way already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
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
"""Seconds that a walk may hold up an event loop before a thread does it."""


def rewrite(
    value: T,
    change: Rewrite,
    *,
    clean: Mapping[int, Any] | None = None,
    seconds: float | None = None,
) -> T:
    """Apply `change` to every text inside of a value, keys of mappings and numbers of seven digits or more included.

    A number, and a text that is one, is given together with the keys that it stands under, as in `"phone: 2125550142"`,
    since they say what it is; a text under a key that names a secret as `"password": "..."`. What is JSON stays JSON.

    Args:
        value: A message, a state (mapping, pydantic model, dataclass), an update, a `Command`, `Send` or `Interrupt`,
            or any nesting of lists, tuples, sets and mappings of these.
        change: Gets a text, gives back the text to have in its place.
        clean: Messages to leave out, by identity, with their content.
        seconds: How long the walk may take, without limit by default.

    Returns:
        The same object when no text changed, else a copy with the changed texts.

    Raises:
        TakesLong: It would take longer.
        DetectionFailed: The value is nested too deeply to be searched.
    """
    return _rewritten(value, Walker(VALUES, _in_context(change), clean, seconds))  # type: ignore[no-any-return]


def texts(value: object, *, seconds: float | None = None) -> list[str]:
    """Every text inside of a value, in the order of the walk.

    Args:
        value: What `rewrite` takes.
        seconds: How long the walk may take, without limit by default.

    Raises:
        TakesLong: It would take longer.
    """
    found: list[str] = []

    def note(text: str, keys: Keys) -> str:
        found.append(text)
        return text

    Walker(VALUES, note, seconds=seconds).value(value)
    return found


def texts_by_path(value: object) -> dict[Keys, str]:
    """Every text inside of a value but the keys of mappings, by the keys, indices and fields that lead to it."""
    found: dict[Keys, str] = {}
    Walker(PAYLOADS, lambda text, path: found.setdefault(path, text)).value(value)
    return found


def with_text_at(value: T, path: Keys, text: str) -> T:
    """A value with another text at a path that it has."""
    return _rewritten(value, Walker(PAYLOADS, lambda old, at: text if at == path else old))  # type: ignore[no-any-return]


def if_quick(change: Rewrite, is_quick: Callable[[str], bool]) -> Rewrite:
    """The change, which raises `TakesLong` for a text whose search takes long."""

    def changed(text: str) -> str:
        if not is_quick(text):
            raise TakesLong
        return change(text)

    return changed


def walked(value: Any, change: Rewrite, rules: Rules) -> Any:
    """What a value becomes under a rule set."""
    return Walker(rules, _in_context(change)).value(value)


@contextmanager
def cleaned_errors(change: Rewrite) -> Generator[None]:
    """Clean what is raised inside of the block, in place: an exception is on its way already."""
    try:
        yield
    except Exception as error:
        cleaned = Walker(ERRORS, _in_context(change)).error(error)
        if cleaned is error:
            raise
        raise_again(cleaned)


def _in_context(change: Rewrite) -> Visit:
    """What a text becomes, given that the keys that it stands under may say what it is."""

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
    """What becomes of a text in JSON, where it would stand under its key."""
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
