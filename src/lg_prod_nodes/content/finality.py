"""Determines how much of a streamed text is final: no further text can make it part of an entity.

Most entities contain no white space, so text is final up to its last unfinished token. Before that token, the possible
beginning of a longer entity is held back too: groups of digits (cards, phone numbers), parts of an account number
(IBAN), words of a phrase. So the output does not depend on where the stream was split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from lg_prod_nodes.content.invisible import visible
from lg_prod_nodes.content.json_text import JsonText

HELD_BACK = 512
"""Maximum number of characters held back, and minimum number rescanned: no token or entity is longer."""

_BLOCK_HELD_BACK = 16_384
"""The same after the beginning of a long secret: a private key, a JSON Web Token."""
_PADDED_HELD_BACK = 4096
"""The same where most characters are invisible."""
_LONG = re.compile(r"-----BEGIN |eyJ[\w-]{8}")

CONTEXT = 128
"""How many preceding characters are scanned with a text, for context words and word boundaries."""

_SHOWS_ALL = re.compile(r"[^%&\\\x80-\U0010ffff]*").fullmatch
_BREAK = re.compile(r"[\s\"<>\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
"""Characters that end any entity of a single token."""
_LAST_BREAK = re.compile(rf"(?s:.*){_BREAK.pattern}")

_NUMBERS = re.compile(
    r"""(?:^|(?<=[\s"<>]))
    [^\s"<>]*(?:\d|[+(\[])[\d().+\-/*\#:,x\u2010-\u2015\u2212]*\s+
    (?:(?:[+(\[x]?\d[\d().+\-/*\#:,x\u2010-\u2015\u2212]*|[().+\-/*\#:,x\u2010-\u2015\u2212]+|(?:ext|extension)\.?:?)\s+)*$""",
    re.VERBOSE | re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))[A-Za-z]{2}\d{2}[A-Za-z0-9]{0,4}\W*\s(?:[A-Za-z0-9]{1,4}\W*\s)*$"
)
_LONGEST_ACCOUNT = 34
_WORD_OF_ITS_OWN = re.compile(r"[^\w\s]*(?!x\d|ext)[^\W\d]", re.IGNORECASE)
"""No number continues past such a word, except in an extension."""
_BLOCK = re.compile(r"-----BEGIN (?:(?!-----END [A-Z0-9 ]+-----)[\s\S])*\Z")
_SENTENCE = re.compile(r"[.!?\n]\s")
_WORD = re.compile(r"(?<!\w)\S")

_ESCAPE = r"[%&\\]"
_DIGITS = r"[\d+(]"
_SEVERAL = re.compile(r"[\d+(\[]|-----BEGIN")
"""What an entity of several tokens contains."""
_BEGINNINGS: Mapping[str, str] = {
    "CREDIT_CARD": _DIGITS,
    "IBAN_CODE": r"(?<![A-Za-z0-9])[A-Za-z](?:[A-Za-z](?:\d\w*)?)?$",
    "IP_ADDRESS": r"[\d:]|(?<!\w)[0-9A-Fa-f]{1,4}$",
    "PHONE_NUMBER": _DIGITS,
    "US_ITIN": _DIGITS,
    "US_SSN": _DIGITS,
}
"""What an unfinished ASCII token contains if it may begin an entity; for entities not listed, any token may."""

_OWN_PATTERN = 128
_MAY_MATCH_SPACE = re.compile(r"[ .]|\\[sWDnt]|\[\^")

_OPENING = re.compile(r"@|(?:\D*\d){6}|(?=\S*\d)(?=\S*[A-Za-z])\S{12}\Z")
"""What unfinished text contains that words of prose do not."""

Change = Callable[[str, str, str], str]
"""Returns the changed text, given the text, the text before it, and the changed form of that."""

IsPlain = Callable[[str], bool]
"""Whether the next text of a stream can skip the search unchanged; called with all texts in order."""


class Reach(Protocol):
    """How far an entity may extend past the end of a text."""

    def settled(self, text: str) -> int:
        """Return how many characters of a text are final."""
        ...

    def opens(self, text: str) -> bool:
        """Return whether the end of a text looks like the beginning of an entity."""
        ...


@dataclass(frozen=True)
class EntityReach:
    """How far named entities extend.

    Attributes:
        entities: Their names; empty for any.
        characters: Maximum length of an entity that may contain any white space.
        sentences: Whether detection needs whole sentences, as for names.
    """

    entities: frozenset[str] = frozenset()
    characters: int = 0
    sentences: bool = False

    def settled(self, text: str) -> int:
        """Return how many characters of a text are final."""
        if self.sentences:
            ends = [match.end() for match in _SENTENCE.finditer(text)]
            return ends[-1] if ends else 0
        last = cut = _last_break(text)
        if last and _SEVERAL.search(text, 0, last):
            cut = _begin_of_several(text, last)
        if self.characters:
            return min(cut, _last_break(text[: max(0, len(text) - self.characters)]))
        if (begins := self._begins) is None or cut < last:
            return cut
        token = text[last:]
        return cut if begins.search(token) or not token.isascii() else len(text)

    def opens(self, text: str) -> bool:
        """Return whether the end of a text has a symbol, digits or a length that words of prose do not have."""
        return _OPENING.search(text, self.settled(text)) is not None

    @cached_property
    def _begins(self) -> re.Pattern[str] | None:
        if not self.entities or self.entities - _BEGINNINGS.keys():
            return None
        return re.compile("|".join([_ESCAPE, *(_BEGINNINGS[name] for name in self.entities)]))


def _composed(term: str) -> str:
    return " ".join(unicodedata.normalize("NFC", term).lower().split())


class TermReach:
    """How far terms extend: only the end of a text that begins a term is held back."""

    def __init__(self, terms: Iterable[str]) -> None:
        normal = {_composed(term) for term in terms}
        self._beginnings = {term[:end] for term in normal for end in range(1, len(term) + 1)}
        self._words = max(len(term.split()) for term in normal)
        self._characters = 2 * max(map(len, normal)) + 2

    def settled(self, text: str) -> int:
        """Return how many characters of a text are final."""
        start = max(0, len(text) - self._characters)
        end = text[start:]
        if not end.isascii() or re.search(_ESCAPE, end):
            words = _first_of_words(text, _last_break(text), self._words - 1)
            return min(words, self._begun_anywhere(text, start))
        for match in _WORD.finditer(end):
            begun = " ".join(end[match.start() :].lower().split())
            ended = " " if end[-1].isspace() else ""
            if begun + ended in self._beginnings or (begun in self._beginnings and not ended):
                return start + match.start()
        return len(text)

    def _begun_anywhere(self, text: str, start: int) -> int:
        """Return where the end of a text begins a term, even inside a word: some scripts have no spaces."""
        for at in range(start, len(text)):
            if not text[at].isascii() and _composed(text[at:]) in self._beginnings:
                return at
        return len(text)

    def opens(self, text: str) -> bool:
        """Return whether the end of a text begins a term."""
        return self.settled(text) < len(text.rstrip())


def reach_of(
    entities: Iterable[str], recognizers: Iterable[object], *, sentences: bool = False
) -> Reach:
    """Return how far entities extend; a custom pattern that may match white space is limited to 128 characters."""
    patterns = [p for r in recognizers for p in getattr(r, "patterns", None) or ()]
    spaced = any(_MAY_MATCH_SPACE.search(pattern.regex) for pattern in patterns)
    return EntityReach(frozenset(entities), _OWN_PATTERN if spaced else 0, sentences)


class SettledStream:
    """Emits text as soon as it is final.

    Args:
        reach: How far entities extend.
        change: Rewrites a text.
        is_plain: Returns whether a text needs no rewriting.
        read: Removes invisible characters, which count neither as held back nor as context.
    """

    def __init__(
        self,
        reach: Reach,
        change: Change,
        is_plain: IsPlain = lambda text: False,
        read: Callable[[str], str] = visible,
    ) -> None:
        self._settled = reach.settled
        self._change = change
        self._is_plain = is_plain
        self._read = read
        self._pending = ""
        self._before = ""
        self._became = ""
        self._is_swallowing = False
        self._hides = False  # whether any invisible characters were written
        self._json = JsonText()

    @property
    def held(self) -> int:
        """The number of characters held back."""
        return len(self._pending)

    def feed(self, piece: str) -> str:
        """Add a piece; return the text that is ready to emit."""
        if self._is_swallowing:
            piece = self._swallow(piece)
        pending = self._pending = self._pending + piece
        if not pending:
            return ""
        cut = self._settled(pending)
        released = self._release(cut) if cut else ""
        if len(self._pending) <= HELD_BACK or not self._holds_much():
            return released
        return released + self._relieve()

    def flush(self) -> str:
        """Mark the end of the text; return the rest."""
        return self._release(len(self._pending)) if self._pending else ""

    def _release(self, cut: int) -> str:
        text, self._pending = self._pending[:cut], self._pending[cut:]
        plain = self._is_plain(text)
        changed = text if plain else self._change(text, self._before, self._became)
        self._hides = self._hides or not (plain or _SHOWS_ALL(text))
        is_same = changed is text and self._became is self._before
        self._before = self._end_of(self._before + text)
        self._became = self._before if is_same else self._end_of(self._became + changed)
        return self._json.feed(text, changed)

    def _end_of(self, text: str) -> str:
        """Return the context that a text provides for what follows it, measured in visible characters."""
        if not self._hides:
            return text[-CONTEXT:]
        shows_nothing = max(0, len(text) - len(self._read(text)))
        return text[-min(CONTEXT + shows_nothing, _PADDED_HELD_BACK) :]

    def _holds_much(self) -> bool:
        """Return whether more visible characters are held back than an entity can have."""
        is_padded = len(self._pending) <= _PADDED_HELD_BACK
        return not is_padded or len(self._read(self._pending)) > HELD_BACK

    def _relieve(self) -> str:
        """Emit half of a token longer than any entity; if an entity spans the cut, emit all and drop its rest."""
        if len(self._pending) <= _BLOCK_HELD_BACK and _LONG.search(self._pending):
            return ""
        shown = visible(self._pending)
        if len(shown) <= HELD_BACK < len(self._pending):
            self._pending = shown  # the padding would be emitted with it
            return ""
        half = len(self._pending) // 2
        if self._changes_across(half):
            self._is_swallowing = True
            return self._release(len(self._pending))
        return self._release(half)

    def _changes_across(self, at: int) -> bool:
        text = self._pending
        whole = self._change(text, self._before, self._became)
        first = self._change(text[:at], self._before, self._became)
        return whole != first + text[at:]

    def _swallow(self, piece: str) -> str:
        end = _BREAK.search(piece)
        if end is None:
            return ""
        self._is_swallowing = False
        return piece[end.start() :]


def _begin_of_several(text: str, end: int) -> int:
    """Return where an entity of several tokens that extends to `end` may begin; `end` if there is none."""
    while (begin := _begin_of_longer(text, end)) is not None:
        end = begin
        if _WORD_OF_ITS_OWN.match(text, end):
            break
    block = _BLOCK.search(text, 0, end)
    return block.start() if block else end


def _begin_of_longer(text: str, end: int) -> int | None:
    start = max(0, end - HELD_BACK)
    if number := _NUMBERS.search(text, start, end):
        return number.start()
    while account := _ACCOUNT.search(text, start, end):
        if sum(map(str.isalnum, account[0])) <= _LONGEST_ACCOUNT:
            return account.start()
        start = account.start() + 1
    return None


def _last_break(text: str) -> int:
    found = _LAST_BREAK.match(text)
    return found.end() if found else 0


def _first_of_words(text: str, end: int, words: int) -> int:
    """Return where the last N whole words before a position begin."""
    for _ in range(words):
        end = _last_break(text[:end].rstrip())
    return end
