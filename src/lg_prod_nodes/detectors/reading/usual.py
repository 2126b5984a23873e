"""How characters in common use are read, so that one search can see a text as written and as read.

A character is read as itself, as one ASCII character, or not at all. The few that are read as several characters, and
those outside the blocks below, are `others`: a text with one of them must be read before it is searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Final, NamedTuple

from lg_prod_nodes.detectors.reading.folding import reading_of_character

Spans = tuple[tuple[int, int], ...]

_BLOCKS: Final = (
    *((0x80, 0x24F), (0x300, 0x36F), (0x370, 0x4FF), (0x590, 0x6FF), (0x900, 0xEFF), (0x10A0, 0x10FF)),
    *((0x1E00, 0x1EFF), (0x2000, 0x2069), (0x20A0, 0x20CF), (0x2190, 0x245F), (0x2500, 0x2775)),
    *((0x2794, 0x2BFF), (0x3000, 0x30FF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1F300, 0x1FAFF)),
)  # fmt: skip
"""Latin, Greek, Cyrillic, Hebrew, Arabic, the scripts of India and Southeast Asia, Georgian, marks and symbols, kana,
wide forms, emoji."""
_AS_WRITTEN: Final = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3))
"""Chinese characters and Korean syllables: too many to ask for each, and all of them are read as written."""
ELLIPSIS: Final = "\u2026"
"""The one character in everyday use that is read as several."""


class Usual(NamedTuple):
    """What characters beyond ASCII are read as, by code point.

    Attributes:
        as_ascii: Those that are read as one ASCII character, by that character's code.
        invisible: Those that are not read at all.
        others: Those of which this is unknown.
    """

    as_ascii: dict[int, Spans]
    invisible: Spans
    others: Spans


@cache
def usual_characters() -> Usual:
    """How characters in common use are read."""
    as_ascii: dict[int, list[tuple[int, int]]] = {}
    invisible, known = list[tuple[int, int]](), [*_AS_WRITTEN, (ord(ELLIPSIS), ord(ELLIPSIS))]
    for code in chain.from_iterable(range(first, last + 1) for first, last in _BLOCKS):
        reading = reading_of_character(chr(code))
        if len(reading) > 1:
            continue
        known.append((code, code))
        if not reading:
            invisible.append((code, code))
        elif reading.isascii():
            as_ascii.setdefault(ord(reading), []).append((code, code))
    read = {code: merge(spans) for code, spans in as_ascii.items()}
    return Usual(read, merge(invisible), _outside(merge(known)))


def merge(spans: Iterable[tuple[int, int]]) -> Spans:
    """Spans of code points in order, those that touch as one."""
    made: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if made and first <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(last, made[-1][1]))
        else:
            made.append((first, last))
    return tuple(made)


def _outside(known: Spans) -> Spans:
    """The code points beyond ASCII outside of these spans."""
    starts = [0x80, *(last + 1 for _, last in known)]
    ends = [*(first - 1 for first, _ in known), 0x10FFFF]
    return tuple(span for span in zip(starts, ends, strict=True) if span[0] <= span[1])
