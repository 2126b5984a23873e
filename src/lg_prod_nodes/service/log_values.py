"""Plain log values without personal data or secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from structlog.typing import EventDict, WrappedLogger

from lg_prod_nodes.content.rules import LOGS
from lg_prod_nodes.content.walk import walked

Change = Callable[[str], str]

_SHORT, _REMEMBERED = 200, 4096

_IDS = frozenset({"run_id", "trace_id", "span_id"})
_ID = re.compile(r"(?=.*[a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,32})")
"""A random id that is new on every run. It contains a letter, so it cannot be a phone or card number."""


class LogValues:
    """A processor that reduces a log entry to plain values and redacts each one.

    Every value is searched. Objects, exceptions and bytes are searched in their text form. A value that cannot be
    searched is not logged.

    Args:
        change: Returns the redacted form of a text.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._clean: set[tuple[str, str]] = set()

    def __call__(self, logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
        """Return the redacted entry."""
        fresh = {key: value for key, value in event_dict.items() if not self._is_clean(key, value)}
        walked_items = iter(walked(fresh, self._change, LOGS).items())
        line: EventDict = {}
        for key, value in event_dict.items():
            new_key, new = next(walked_items) if key in fresh else (key, value)
            line[new_key] = new
            if new is value and type(value) is str and new_key is key:
                self._remember(key, value)
        return line

    def _is_clean(self, key: str, value: Any) -> bool:
        if type(value) is not str:
            return False
        return (key, value) in self._clean or (key in _IDS and _ID.fullmatch(value) is not None)

    def _remember(self, key: str, text: str) -> None:
        """Cache a text that was logged unchanged: most values of a log recur."""
        if len(text) <= _SHORT and key not in _IDS:
            if len(self._clean) >= _REMEMBERED:
                self._clean.clear()
            self._clean.add((key, text))


_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
"""Control characters that move the cursor, change colors or reorder text in a terminal."""
_OF_LINES = frozenset({"exception", "stack"})


def for_terminals(logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
    """A processor that escapes control characters, so no text can start another line or control the terminal.

    The lines of exceptions and stack traces are indented.
    """
    return {
        _escaped(key): value
        if type(value) is not str
        else _indented(value)
        if key in _OF_LINES
        else _escaped(value)
        for key, value in event_dict.items()
    }


def _indented(text: str) -> str:
    return "\n".join(f"  {_escaped(line)}" for line in text.split("\n"))


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
