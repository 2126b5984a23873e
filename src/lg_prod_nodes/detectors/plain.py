"""Plain prose that needs no search, because every entity has digits, marks or long tokens.

A stream checks a few words at a time. Even a fast search would cost more than those words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lg_prod_nodes.content.finality import CONTEXT, IsPlain

_MARKED = frozenset(
    {
        *("CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN"),
        *("SECRET", "URL"),
    }
)
"""Entities that contain a digit, a mark or a long token; only a password after a word that announces it may not."""

_MARK = re.compile(r"[^\sA-Za-z,.;:!?'\"]|[.:](?=[^\s\"'])|[A-Za-z]{16}")
_ANNOUNCES = re.compile(
    "pass|pwd|pw|secret|token|key|auth|bearer|basic|cred|login|pin|user|sign|code"
)
"""Words that may announce a password."""
_UNFINISHED = len("secret") - 1
_UNPLAIN = re.compile(
    rf"[^\sa-z0-9,.;:!?'\"]|[.:](?=[^\s\"'])|[a-z0-9]{{16}}|(?:\d\D*){{7}}|{_ANNOUNCES.pattern}"
)
"""What a short text of lower case has if it holds an entity; the shortest without a mark is a number of 7 digits."""


class PlainText:
    """Recognizes plain text, provided that all wanted entities contain marks."""

    def __init__(self, entities: Iterable[str]) -> None:
        self._can_be_judged = _MARKED.issuperset(entities)

    def is_plain(self, text: str) -> bool:
        """Whether a short text can hold no finding."""
        return self._can_be_judged and not _UNPLAIN.search(text.lower())

    def stream(self) -> IsPlain | None:
        """A check for the pieces of one stream; `None` if these entities allow no such check."""
        return _PlainStream().is_plain if self._can_be_judged else None


class _PlainStream:
    """Tracks how long ago a password was announced, so that no text is read twice."""

    def __init__(self) -> None:
        self._end = ""
        self._announced = 0

    def is_plain(self, text: str) -> bool:
        """Whether the next piece, made of whole tokens, can hold no finding."""
        said = self._end + text.lower()
        self._end = said[-_UNFINISHED:]
        was_announced = self._announced > 0
        if _ANNOUNCES.search(said):
            self._announced = CONTEXT
            return False
        if was_announced:
            self._announced -= len(text)
            return False
        return not _MARK.search(text)
