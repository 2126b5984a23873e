"""Context words: a finding scores higher if one of its recognizer's words stands near it.

The results equal those of Presidio's `LemmaContextAwareEnhancer` with `WordEngine`. But a text is split only once, and
only if a finding may change.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

from lg_prod_nodes.detectors.reading.words import STOP_WORDS

_FACTOR = 0.35
_LEAST = 0.4
_WORDS_BEFORE = 5

_WORD = re.compile(r"\w+")
_NOT_SPACE = re.compile(r"\S")


class Surroundings:
    """The meaningful words of a text and their positions.

    Args:
        text: The text.
        given: Words treated as if they stood near every finding.
    """

    def __init__(self, text: str, given: Sequence[str] = ()) -> None:
        self._text = text
        self._given = [word.lower() for word in given]
        self._has: dict[tuple[str, ...], bool] = {}

    @cached_property
    def _words(self) -> tuple[list[str], list[int], list[int]]:
        found = [
            (lowered, match.start(), match.end())
            for match in _WORD.finditer(self._text)
            if (lowered := match[0].lower()).isalnum() and lowered not in STOP_WORDS
        ]
        return (
            [word for word, _, _ in found],
            [at for _, at, _ in found],
            [at for _, _, at in found],
        )

    def around(self, start: int) -> list[str]:
        """The words before a position, the one at or after it, and the given words."""
        words, starts, ends = self._words
        at = bisect_right(ends, start)
        is_here = at < len(words) and self._is_first_token(start, starts[at])
        return [*words[max(0, at - _WORDS_BEFORE - (not is_here)) : at + 1], *self._given]

    def _is_first_token(self, place: int, word: int) -> bool:
        if word <= place:
            return True
        found = _NOT_SPACE.search(self._text, place)
        return found is not None and found.start() == word

    def score(self, start: int, score: float, words: tuple[str, ...]) -> float:
        """The score of a finding, raised if one of these lowercase words is near it."""
        if score == 1 or not words or not self._may_have(words):
            return score
        near = self.around(start)
        if any(word in other for word in words for other in near):
            return min(max(score + _FACTOR, _LEAST), 1.0)
        return score

    def _may_have(self, words: tuple[str, ...]) -> bool:
        if words not in self._has:
            # Outside ASCII, a word and a text may lowercase differently.
            known = self._text.isascii() and not self._given
            lowered = self._text.lower() if known else ""
            self._has[words] = not known or any(word in lowered for word in words)
        return self._has[words]
