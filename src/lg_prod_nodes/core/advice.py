"""What to say to somebody who misspelled a name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "choose") -> str:
    """A question that names the closest of the known names; without a close one, all of them.

    Args:
        name: What was given.
        known: The names that there are.
        otherwise: What to do, before the list of all.
    """
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(known) or 'none'}"
