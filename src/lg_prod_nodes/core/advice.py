"""Suggestions for misspelled names and wrong choices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from math import ceil


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "choose") -> str:
    """Return a question that suggests the closest known name, or a list of all names if none is close.

    Args:
        name: The name that was given.
        known: The valid names.
        otherwise: The words before the list of all names.
    """
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known) or 'none'}"


def wrong_choice(name: str, given: object, choices: Collection[str]) -> Iterator[str]:
    """Yield a message if a setting is none of its choices."""
    if given not in choices:
        *most, last = map(repr, choices)
        yield f"{name} is {given!r}; choose {', '.join(most)} or {last}"


def duration(seconds: float) -> str:
    """Format seconds for people, rounded up: `"0.2 s"`, `"60 s"`, `"9 h 12 min"`, `"3 d 4 h"`."""
    if seconds < 10:
        return f"{ceil(seconds * 10) / 10:g} s"
    if seconds <= 120:
        return f"{ceil(seconds)} s"
    minutes = ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(*divmod(minutes, 60), "h", "min")
    return _two(*divmod(ceil(minutes / 60), 24), "d", "h")


def _two(large: int, small: int, unit: str, smaller_unit: str) -> str:
    return f"{large} {unit}" + (f" {small} {smaller_unit}" if small else "")
