"""Texts in which nothing can be found, seen without a search: words of prose, where entities have digits and marks.

A stream asks about a few words at a time, where even a quick search costs more than the words.
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
"""Entities with a digit, a mark or a long token in them; a password after a word that announces it is the exception."""

_MARK = re.compile(r"[^\sA-Za-z,.;:!?'\"]|[.:](?=[^\s\"'])|[A-Za-z]{16}")
_ANNOUNCES = re.compile(
    "pass|pwd|pw|secret|token|key|auth|bearer|basic|cred|login|pin|user|sign|code"
)
"""What stands before a password."""
_UNFINISHED = len("secret") - 1


class PlainText:
    """Tells plain texts, where all entities that are looked for have marks."""

    def __init__(self, entities: Iterable[str]) -> None:
        self._can_be_judged = _MARKED.issuperset(entities)

    def stream(self) -> IsPlain | None:
        """What tells the plain texts of a stream, if they can be told."""
        return _PlainStream().is_plain if self._can_be_judged else None


class _PlainStream:
    """Remembers how long ago a password was announced, so that no text is looked at twice."""

    def __init__(self) -> None:
        self._end = ""
        self._announced = 0

    def is_plain(self, text: str) -> bool:
        """Whether nothing can be found in the next texts, which are whole tokens."""
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
