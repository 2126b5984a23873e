"""Texts that are never findings, however they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from lg_prod_nodes.detectors.reading.folding import folded

_BETWEEN_DIGITS = re.compile(r"[\s()/-]")


class Allowed:
    """A set of allowed texts that ignores case, white space and Unicode form.

    For texts without letters, such as phone and card numbers, it also ignores spaces, hyphens, slashes and parentheses.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = frozenset(map(_normal, texts))

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and _normal(text) in self._texts


def _normal(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text)
    reading = folded(composed)
    plain = (reading.text if reading else composed).casefold()
    if any(map(str.isalpha, plain)):
        return " ".join(plain.split())
    return _BETWEEN_DIGITS.sub("", plain)
