"""Encodes text in a small byte alphabet, so that google-re2 treats Unicode as the `regex` module does.

One byte stands for one character: an ASCII character for itself, any other for its class. So positions in the bytes are
positions in the text. re2 treats only ASCII as parts of words. If a text has other letters or digits, each character
becomes three bytes, and the outer two show re2 whether it is part of a word.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Final

import regex

WORD, DIGIT, SPACE, OTHER = 0x80, 0x81, 0x82, 0x83
FOLDS: Final = {"s": 0x84, "k": 0x85, "i": 0x86, "I": 0x87}
"""What a letter also matches if case is ignored: the long s, the Kelvin sign, the dotted I, the dotless i."""

ALL: Final = frozenset(range(0x88))
DIGITS: Final = frozenset({*range(0x30, 0x3A), DIGIT})
SPACES: Final = frozenset({*range(0x09, 0x0E), 0x20, SPACE})
WORDS: Final = frozenset(
    {*(code for code in range(0x80) if chr(code).isalnum()), 0x5F, WORD, DIGIT, *FOLDS.values()}
)
NOT_ASCII: Final = frozenset(range(0x80, 0x88))

_SINGLES: Final = {0x17F: 0x84, 0x212A: 0x85, 0x130: 0x86, 0x131: 0x87}
_KNOWN_CHARACTERS: Final = 1 << 16


class _Classes(dict[int, str]):
    """Caches the class of each character, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        if len(self) > _KNOWN_CHARACTERS:
            self.clear()
        self[code] = made = chr(code if code < 0x80 else _class_of(code))
        return made


def _class_of(code: int) -> int:
    char = chr(code)
    if code in _SINGLES:
        return _SINGLES[code]
    if _is(r"\d", char):
        return DIGIT
    if _is(r"\w", char):
        return WORD
    return SPACE if _is(r"\s", char) else OTHER


def _is(pattern: str, char: str) -> bool:
    return regex.match(pattern, char) is not None


_CLASSES: Final = _Classes()
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


def narrow(text: str) -> bytes:
    """Encode each character as one byte."""
    if text.isascii():
        return text.encode()
    return _NOT_ASCII.sub(_classes_of, text).encode("latin-1")


def _classes_of(run: re.Match[str]) -> str:
    return run[0].translate(_CLASSES)


def has_foreign_words(narrowed: bytes) -> bool:
    """Whether there are letters or digits outside ASCII."""
    return not narrowed.isascii() and len(narrowed.translate(None, _FOREIGN_WORDS)) < len(narrowed)


def wide(narrowed: bytes) -> bytes:
    """Encode each character as three bytes: the character between two that show whether it is part of a word."""
    return narrowed.decode("latin-1").translate(_wide_units()).encode("latin-1")


def narrow_set(codes: frozenset[int]) -> str:
    """A set of characters in re2's syntax."""
    return f"[{_ranges(sorted(codes))}]"


def wide_set(codes: frozenset[int]) -> str:
    """A set of characters in re2's syntax, for three bytes each."""
    return f"[a ][{_ranges(sorted(map(_inner, codes)))}][a ]"


_FOREIGN_WORDS: Final = bytes(WORDS & NOT_ASCII)


def _inner(code: int) -> int:
    """The middle byte: never `a`, a blank or part of a word, so that no match starts between characters."""
    return 0x80 | code if code < 0x80 else code - 0x7F


@cache
def _wide_units() -> dict[int, str]:
    def unit(code: int) -> str:
        edge = "a" if code in WORDS else " "
        return f"{edge}{chr(_inner(code))}{edge}"

    return {code: unit(code) for code in ALL}


def _ranges(codes: list[int]) -> str:
    parts: list[str] = []
    start = previous = -2
    for code in [*codes, sys.maxsize]:
        if code != previous + 1:
            if start >= 0:
                parts.append(rf"\x{start:02x}-\x{previous:02x}")
            start = code
        previous = code
    return "".join(parts)
