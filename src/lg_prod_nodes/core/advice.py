"""Suggestions for misspelled names and wrong choices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches


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
