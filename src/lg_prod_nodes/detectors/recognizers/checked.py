"""A recognizer that checks candidates against their context, and the helpers for such checks.

Checks look back at most 128 characters, and ahead to the end of the token. So a stream can be scanned piece by piece.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from string import ascii_letters, digits
from typing import Any, ClassVar, NamedTuple

from presidio_analyzer import Pattern, PatternRecognizer, RecognizerResult

from lg_prod_nodes.detectors.recognizers.digits import Digits

CERTAIN = 1.0
"""The score for a checksum, a published format or a complete address, which leave no other reading."""

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{1,64}[:_][0-9a-f]{6,64}\]")
_STARS = "****"

_DOUBLED = str.maketrans(digits, "0246813579")
_WORDS = frozenset(f"{ascii_letters}{digits}_")

REACH = 64
"""How far words before a position are read."""
_SIGNS = " \t\r\n\\\"'`*:=#|>([-"
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])|\d+")
_ASCII_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_BETWEEN_WORDS = {code: " " for code in range(0x80) if not chr(code).isalnum()}
_SHORTENED = (
    ["tel"],
    ["Tel"],
    ["TEL"],
    ["no"],
    ["No"],
    ["nr"],
    ["Nr"],
    ["mob"],
    ["Mob"],
    ["ph"],
    ["Ph"],
)


class Span(NamedTuple):
    """A position in a text, and its score."""

    start: int
    end: int
    score: float


class CheckedRecognizer(PatternRecognizer):
    """Finds one entity: its patterns select texts that may hold it, and `find` locates it.

    The patterns are a gate. They use no lookaround and no backreference, so google-re2 can compile them. If none of
    them matches, `find` finds nothing. Context words are part of `find`, so Presidio adds none.

    Presidio looks up its own recognizers by name among all subclasses, so no class here may share a name with one of
    them.
    """

    ENTITY: ClassVar[str]
    GATES: ClassVar[Sequence[str]]

    def __init__(self) -> None:
        name: str = type(self).__name__
        super().__init__(
            supported_entity=self.ENTITY,
            name=name,
            patterns=[Pattern(f"{name} {n}", gate, CERTAIN) for n, gate in enumerate(self.GATES)],
            global_regex_flags=re.DOTALL,
        )

    @abstractmethod
    def find(self, text: str) -> Iterable[Span]:
        """The positions of the entity, in linear time."""

    def find_behind(self, gates: Collection[int], text: str, digits: Digits) -> Iterable[Span]:
        """The positions of the entity in a text that only these gates match, given by number."""
        return self.find(text)

    def spans(
        self, text: str, gates: Collection[int] | None = None, digits: Digits | None = None
    ) -> list[Span]:
        """The positions of the entity, without earlier redactions.

        Args:
            text: The text.
            gates: The gates that match, if they are known.
            digits: The digits of the text, if other recognizers use them as well.
        """
        digits = digits or Digits(text)
        found = list(self.find(text) if gates is None else self.find_behind(gates, text, digits))
        if not found or (_STARS not in text and not _PLACEHOLDER.search(text)):
            return found
        return [span for span in found if not is_replaced(text, span.start, span.end)]

    def analyze(
        self,
        text: str,
        entities: list[str],
        nlp_artifacts: Any = None,
        regex_flags: int | None = None,
    ) -> list[RecognizerResult]:
        """The findings as Presidio results."""
        return [
            RecognizerResult(
                self.ENTITY,
                span.start,
                span.end,
                span.score,
                recognition_metadata={
                    RecognizerResult.RECOGNIZER_NAME_KEY: type(self).__name__,
                    RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                },
            )
            for span in self.spans(text)
        ]


class NumberRecognizer(CheckedRecognizer):
    """Finds one entity among the digits of a text."""

    def find(self, text: str) -> Iterable[Span]:
        """The positions of the entity, in linear time."""
        return self.find_among(Digits(text), text)

    def find_behind(self, gates: Collection[int], text: str, digits: Digits) -> Iterable[Span]:
        """The positions of the entity."""
        return self.find_among(digits, text)

    @abstractmethod
    def find_among(self, digits: Digits, text: str) -> Iterable[Span]:
        """The positions of the entity, given the digits of the text."""


def is_replaced(text: str, start: int, end: int) -> bool:
    """Whether a span is left from redaction: inside `[ENTITY:digest]`, or the last characters after a mask."""
    if text.endswith(_STARS, 0, start):
        return True
    opened = text.rfind("[", max(0, start - 132), start + 1)
    found = _PLACEHOLDER.match(text, opened) if opened >= 0 else None
    return found is not None and end <= found.end()


def is_word(char: str) -> bool:
    """Whether a character continues a word. Scripts without case are written without spaces, so theirs do not."""
    return char in _WORDS or (
        char > "\x7f" and char.isalnum() and (char.isdigit() or char.lower() != char.upper())
    )


def starts_apart(text: str, at: int) -> bool:
    r"""Whether a token may start here; the letter of an escape such as JSON's `\n` is not part of the next word."""
    return at == 0 or not is_word(text[at - 1]) or is_escape(text, at)


def is_escape(text: str, at: int) -> bool:
    r"""Whether an escape such as `\n` ends here."""
    return at > 1 and text[at - 2] == "\\" and text[at - 1] in "nrtbf"


def ends_apart(text: str, at: int) -> bool:
    """Whether a token may end here."""
    return at == len(text) or not is_word(text[at])


def is_fraction(text: str, start: int) -> bool:
    """Whether the digits continue a number or a word after a mark, as in `0.4111`, `+49 151` and in a UUID."""
    previous = char_at(text, start - 1)
    return previous == "+" or (previous in (".", "-") and is_word(char_at(text, start - 2)))


def char_at(text: str, at: int) -> str:
    """The character at a position; empty outside the text."""
    return text[at : at + 1] if at >= 0 else ""


def before(text: str, at: int, length: int = 64) -> str:
    """The text before a position."""
    return text[max(0, at - length) : at]


def words_before(text: str, at: int) -> list[str]:
    """The words before a position on its line, in lower case, ignoring signs such as `:`.

    The list is empty if a mark separates the words from the position, or if a number of two or more digits precedes it.
    Names as in code are split into words.
    """
    said = text[max(0, at - REACH) : at].rstrip(_SIGNS)
    if said[-2:].isdecimal() and len(said) > 1:
        return []
    if said.endswith(".") and _WORD.findall(said[-8:])[-1:] not in _SHORTENED:
        return []
    said = said.rstrip(".")
    if not said or not (said[-1].isalnum() or said[-1] == ")"):
        return []
    return _words_of(said)


def line_before(text: str, at: int, lines: int = 1) -> list[str]:
    """The words before a position on its line, in lower case; `lines` adds earlier lines."""
    near = text[max(0, at - REACH) : at]
    if "\n" in near:
        near = "\n".join(near.rsplit("\n", lines)[-lines:])
    return _words_of(near)


def _words_of(said: str) -> list[str]:
    """The words of a text, in lower case."""
    if not said.isascii():
        return [word.lower() for word in _WORD.findall(said)]
    if said.islower():
        found = said.translate(_BETWEEN_WORDS).split()
        if "".join(found).isalpha():
            return found
    return [word.lower() for word in _ASCII_WORD.findall(said)]


def without_last(given: list[str], fillers: frozenset[str], most: int = 4) -> list[str]:
    """The words without up to `most` filler words at the end."""
    end = len(given)
    while end and most and given[end - 1] in fillers:
        end, most = end - 1, most - 1
    return given if end == len(given) else given[:end]


def places(text: str, literals: Iterable[str]) -> list[int]:
    """Where literals occur in a text, in order."""
    found = list[int]()
    for literal in literals:
        at = text.find(literal)
        while at >= 0:
            found.append(at)
            at = text.find(literal, at + 1)
    return sorted(found)


def matches_before(
    text: str, pattern: re.Pattern[str], literals: Iterable[str], back: int
) -> Iterator[re.Match[str]]:
    """The matches of `pattern.finditer`, each of which has one of the literals `back` characters after its start.

    Searching for literals is many times faster than searching for an expression.
    """
    end = 0
    for place in places(text, literals):
        start = place - back
        if start >= end and (found := pattern.match(text, start)):
            yield found
            end = found.end()


def words(table: str) -> frozenset[str]:
    """The words of a table written as text."""
    return frozenset(table.split())


def luhn(number: str) -> bool:
    """Whether a number passes the Luhn check."""
    return (
        sum(map(int, number[-1::-2])) + sum(map(int, number[-2::-2].translate(_DOUBLED)))
    ) % 10 == 0
