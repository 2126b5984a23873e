"""A single google-re2 search that rules out expressions for a text, as written and as read at once.

The text is searched in UTF-8. Wherever an expression takes an ASCII character, here it also takes the characters that
are read as that one, such as full-width digits. So no reading has to be made of a text without findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

import re2

from lg_prod_nodes.detectors.reading.usual import ELLIPSIS, merge, usual_characters
from lg_prod_nodes.detectors.scan.alphabet import ALL, FOLDS, NOT_ASCII, SPACE

_END: Final = b"\0"
"""A byte that every search finds, unless re2 runs out of memory: then it finds nothing."""
_CLASS: Final = re.compile(r"\[(?:\\.|[^\]\\])*\]", re.DOTALL)
_EXACT: Final = {
    SPACE: (
        *((0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
        *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
    ),
    FOLDS["s"]: ((0x17F, 0x17F),),
    FOLDS["k"]: ((0x212A, 0x212A),),
    FOLDS["I"]: ((0x131, 0x131),),
    FOLDS["i"]: ((0x130, 0x130),),
}
"""The characters of the small classes beyond ASCII; those of the others are not told apart."""
_MEMORY: Final = 32 << 20


class Candidates(NamedTuple):
    """What a text may match.

    Attributes:
        numbers: The expressions that may match it, as written or as read.
        is_read_otherwise: Whether it has characters whose reading the search does not know: the text as read may match
            other expressions.
    """

    numbers: frozenset[int]
    is_read_otherwise: bool


class Prefilter:
    """A single search that rules out expressions for a text.

    Args:
        needed: For each expression, alternatives of which it needs one, made of classes as by `alphabet.narrow_set`;
            `None` if it may match any text.
    """

    def __init__(self, needed: Sequence[Sequence[str] | None]) -> None:
        self._always = {at for at, ways in enumerate(needed) if ways is None}
        self._all = Candidates(frozenset(range(len(needed))), is_read_otherwise=True)
        self._owners: list[int] = [-1, -1]
        self._set = re2.Set.SearchSet(_options())
        self._set.Add(_END)
        self._set.Add(_read_otherwise())
        for at, ways in enumerate(needed):
            self._add(at, ways or ())
        self._none = Candidates(frozenset(self._always), is_read_otherwise=False)
        self._is_whole = _compiles(self._set)

    def _add(self, at: int, ways: Sequence[str]) -> None:
        try:
            for way in ways:
                self._set.Add(_CLASS.sub(lambda found: _widened(found[0]), way))
                self._owners.append(at)
        except re2.error:  # too large for re2
            self._always.add(at)

    def among(self, text: str) -> Candidates:
        """What a text may match."""
        if ELLIPSIS in text:
            text = f"{text}\n{text.replace(ELLIPSIS, '...')}"
        try:
            encoded = text.encode() + _END
        except UnicodeEncodeError:  # half a surrogate
            return self._all
        found = self._set.Match(encoded) if self._is_whole else None
        if not found or 0 not in found:
            return self._all
        if len(found) == 1:
            return self._none
        numbers = self._always.union(self._owners[at] for at in found if at > 1)
        return Candidates(frozenset(numbers), 1 in found)


@cache
def _widened(written: str) -> str:
    """A class of the narrow alphabet, widened to the characters that are read as one of it."""
    return _of_class(frozenset(code for code in ALL if re.match(written, chr(code), re.DOTALL)))


@cache
def _of_class(codes: frozenset[int]) -> str:
    usual = usual_characters()
    in_ascii = [(code, code) for code in codes - NOT_ASCII]
    beyond = codes & NOT_ASCII
    if not beyond.issubset(_EXACT):
        return f"(?:{_set_of([*in_ascii, (0x80, 0x10FFFF)])}{_set_of(usual.invisible)}*)"
    read = [usual.as_ascii.get(code, ()) for code in codes]
    return _set_of(chain(in_ascii, *read, *map(_EXACT.__getitem__, beyond)))


@cache
def _read_otherwise() -> str:
    """What a text has whose reading is unknown, or runs together what is apart."""
    usual = usual_characters()
    visible = _set_of(chain([(0, 0x7F)], *usual.as_ascii.values()))
    return rf"{_set_of(usual.others)}|(?:\A|{visible}){_set_of(usual.invisible)}"


def _set_of(spans: Iterable[tuple[int, int]]) -> str:
    merged = merge(spans)
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in merged) + "]"


def _compiles(made: Any) -> bool:
    try:
        made.Compile()
    except re2.error:  # too large together
        return False
    return True


def _options() -> Any:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MEMORY
    return options
