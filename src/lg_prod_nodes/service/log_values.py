"""What a log line holds, as plain values without personal data and secrets."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from structlog.typing import EventDict, WrappedLogger

Change = Callable[[str], str]

HIDDEN = "[SECRET]"
UNREADABLE = "[UNREADABLE]"

_TELLS_NOTHING = 10**6
"""A number with fewer digits says nothing by itself."""
_DEEPEST = 8
_SHORT, _REMEMBERED = 200, 4096

_IDS = frozenset({"run_id", "trace_id", "span_id"})
_ID = re.compile(r"(?=.*[a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,32})")
"""An id that was made by chance, and is new on every run; one with a letter in it is no number."""

_PLAIN_KEY = re.compile("[A-Za-z_]{1,30}")
_SECRET_KEY = re.compile(
    r"(?:password|passwd|passphrase|passcode|pwd|secret|token|api_?key|(?:access|private)_?key|"
    r"credentials?|authori[sz]ation|bearer|cookie|(?:^|_)(?:pass|pin|cvv|cvc))$",
    re.IGNORECASE,
)


class LogValues:
    """A processor that leaves nothing but plain values in a line, each as a `Redact` lets it leave.

    No value goes by: objects, exceptions and bytes are searched as the text that would be shown of them. What cannot be
    searched is not shown.

    Args:
        change: Gives a text as it may leave.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._clean: set[tuple[str, str]] = set()

    def __call__(self, logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
        """The line as it may leave."""
        clean, line = self._clean, {}
        for key, value in event_dict.items():
            if type(value) is str and (key, value) in clean:
                line[key] = value
            else:
                line[self._key(key)] = self._top(key, value)
        return line

    def _top(self, key: str, value: Any) -> Any:
        is_id = key in _IDS and type(value) is str and _ID.fullmatch(value)
        new = value if is_id else self._value(value, key)
        if new is value and type(value) is str and self._key(key) is key:
            self._remember(key, value)
        return new

    def _remember(self, key: str, text: str) -> None:
        """Keep in mind what holds nothing, and was written already: most values of a log come again."""
        if len(text) <= _SHORT:
            if len(self._clean) >= _REMEMBERED:
                self._clean.clear()
            self._clean.add((key, text))

    def _value(self, value: Any, key: str = "", depth: int = 0) -> Any:
        kind = type(value)
        if kind is bool or value is None:
            return value
        if key and _SECRET_KEY.search(key):
            return HIDDEN
        if kind is int or kind is float:
            return self._number(value, key)
        if kind is str:
            return self._text(value, key)
        if depth < _DEEPEST:
            if isinstance(value, (list, tuple, set, frozenset)):
                return [self._value(item, key, depth + 1) for item in value]
            if (fields := _fields(value)) is not None:
                return self._mapping(fields, depth + 1)
        return self._text(_shown(value), key)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {
            self._key(key): self._value(item, key if isinstance(key, str) else "", depth)
            for key, item in value.items()
        }

    def _key(self, key: Any) -> str:
        if type(key) is str and _PLAIN_KEY.fullmatch(key):
            return key
        is_number = isinstance(key, (int, float))
        return str(self._number(key, "")) if is_number else self._text(_shown(key))

    def _number(self, value: float, key: str) -> Any:
        if -_TELLS_NOTHING < value < _TELLS_NOTHING:
            return value
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
        if self._text(text, key) != text:
            return self._text(text, key)
        return value if math.isfinite(value) else text

    def _text(self, text: str, key: str = "") -> str:
        try:
            changed = self._change(text)
            if changed != text:
                return changed
            return self._under(key, text) if key else text
        except (
            Exception
        ):  # a line that cannot be searched must neither pass nor fail the one who logs
            return UNREADABLE

    def _under(self, key: str, text: str) -> str:
        """What becomes of a number under its key, which says what it is."""
        if not text[:1].isdigit() and text[:1] not in "+(":
            return text
        before = f"{key}: "
        changed = self._change(before + text)
        return text if changed == before + text else changed.removeprefix(before)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """What an object is made of, as far as it shows that; a value alone is told better than one in a text."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return {name: item for name, item in value.__repr_args__() if name is not None}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in dataclasses.fields(value) if field.repr]
        return {name: getattr(value, name, None) for name in shown}
    return None


def _shown(value: Any) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
