"""Recognizers of words and phrases, in languages with and without spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from lg_prod_nodes.detectors.reading.folding import folded
from lg_prod_nodes.detectors.reading.quick import has_escapes
from lg_prod_nodes.detectors.scan.presidio_import import load_presidio

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

UNSPACED: Final = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
"""Scripts without spaces between words (Chinese, Japanese, Thai, Lao, Tibetan, Burmese, Khmer), and Korean, whose
particles are attached to a word."""

_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
_IS_ARABIC = re.compile("[\u0621-\u06ff\u0750-\u077f]")
_IS_HEBREW = re.compile("[\u05d0-\u05ea]")
_ARABIC_BEFORE = (
    "(?:[\u0648\u0641]?(?:[\u0628\u0643]?\u0627\u0644|\u0644\u0644|[\u0628\u0643\u0644\u0633])"
    "|[\u0648\u0641])?"
)
_HEBREW_BEFORE = "[\u05d5\u05d4\u05d1\u05dc\u05de\u05e9\u05db]{0,3}"
"""Articles, conjunctions and prepositions that are written as part of the next word."""
_NOT_AFTER_A_WORD = rf"(?<![^\W{UNSPACED}])"
_NOT_BEFORE_A_WORD = rf"(?![^\W{UNSPACED}])"


class PlainOfTerms:
    """Recognizes short ASCII texts without any of the terms."""

    def __init__(self, terms: Iterable[str]) -> None:
        ways = "|".join(map(_bounded, _spellings(terms)))
        self._found = re.compile(ways, re.IGNORECASE).search

    def is_plain(self, text: str) -> bool:
        """Whether a text, as written and as read, holds none of the terms."""
        return text.isascii() and not has_escapes(text) and self._found(text) is None


def term_recognizers(terms: Mapping[str, Iterable[str]]) -> list[EntityRecognizer]:
    """Recognizers of whole words and phrases, by category.

    Matching ignores case, Unicode form and the amount of white space between the words of a phrase. In scripts without
    spaces between words, a term is also found inside longer ones.
    """
    load_presidio()
    from presidio_analyzer import Pattern, PatternRecognizer

    return [
        PatternRecognizer(
            supported_entity=category,
            patterns=[Pattern("terms", "|".join(map(_bounded, _spellings(words))), 1.0)],
        )
        for category, words in terms.items()
    ]


def _bounded(term: str) -> str:
    """The expression for a term as a whole word, as far as its script has words."""
    words = term.split()
    phrase = r"\s+".join(map(re.escape, words))
    if _IS_UNSPACED.match(words[0]):
        before = ""
    elif _IS_ARABIC.match(words[0]):
        before = _NOT_AFTER_A_WORD + _ARABIC_BEFORE
    elif _IS_HEBREW.match(words[0]):
        before = _NOT_AFTER_A_WORD + _HEBREW_BEFORE
    else:
        before = _NOT_AFTER_A_WORD
    after = "" if _IS_UNSPACED.search(term[-1]) else _NOT_BEFORE_A_WORD
    return f"{before}{phrase}{after}"


def _spellings(terms: Iterable[str]) -> Iterable[str]:
    """The terms as written and as read, with accents composed and decomposed."""
    found = dict[str, None]()
    for term in terms:
        reading = folded(term)
        for spelled in (term, *([reading.text] if reading else []), term.casefold()):
            for form in ("NFC", "NFD"):
                found[unicodedata.normalize(form, spelled)] = None
            found[spelled] = None
    return [spelled for spelled in found if spelled.strip()]
