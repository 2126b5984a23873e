"""Telephone numbers of all countries, told from the other numbers of a text by their form and the words before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_uppercase, digits

from lg_prod_nodes.detectors._checked import (
    CheckedRecognizer,
    Span,
    char_at,
    is_escape,
    is_word,
    starts_apart,
)
from lg_prod_nodes.detectors._phone_plans import is_possible, is_valid, is_valid_somewhere
from lg_prod_nodes.detectors._phone_words import Lead

_VALID, _FORM, _SAID = 0.75, 0.6, 0.5

_MARKS = " \u00a0\u202f.()/\u2010\u2011\u2012\u2013-"
_RUN = re.compile(rf"[0-9](?:[{_MARKS}]{{0,3}}[0-9])*")
_GROUP = re.compile(r"[0-9]+")
_Groups = Sequence[tuple[int, int]]
"""Where groups of digits begin and end."""
_ACCOUNT = frozenset(f"{digits}{ascii_uppercase}")
_EXTENSION = re.compile(
    r"(?:[ ,]{0,2}(?:x|ext\.?|extension)[ :.]{0,2})[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
_BEFORE_EXTENSION = tuple(" ,xXeE")
_MOST_GROUPS, _MOST_SINGLES = 8, 3
_LEAST_DIGITS, _MOST_DIGITS = 7, 16
_LEAST_SAID, _LEAST_POSSIBLE = 8, 10
"""The digits of an international number that is not in use, where words call it one, and where none do."""

_CHECKS = 400
"""How many numbers of a text are checked by their country's plan; after that, their form decides alone."""

_NORTH_AMERICA = re.compile(
    r"(?:\+?1[ .-]?|001[ .-])?(?:"
    r"\((?:[2-9][0-9]{2}|123)\)[ .-]?[0-9]{3}[ .-]?[0-9]{4}"
    r"|(?:[2-9][0-9]{2}|123)([.-])[0-9]{3}\1[0-9]{4}"
    r"|[2-9][0-9]{2}[/ ][2-9][0-9]{2}[-.][0-9]{4})"
)
"""The form of the North American plan, which is clear even where the number is not in use."""
_AMERICAN_BY_SPACES = re.compile(r"(?:1 )?[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}")
_TRUNK = re.compile(r"\(?0|\([1-9][0-9]{1,2}\)|8[ -]?\(|[1-9][1-9] 9[0-9]{4}-[0-9]{4}$")
"""How national numbers begin that are clear by their form: what is dialled first, an area in brackets, as in Brazil."""

_BARE_TRUNK = re.compile(r"0[1-9][0-9]{8,9}")
"""The digits of a national number that no amount, time or counted number begins like."""
_COUNTED = frozenset(["0123456789", "01234567890", "01234567891"])

_DECIMAL = r"[+-]?[0-9]{1,3}\.[0-9]{3,}(?: {1,2}[+-]?[0-9]{1,3}\.[0-9]{3,})?"
_OTHER_FORM = re.compile(
    r"(?:19|20)[0-9]{2}([ ./-])[0-3]?[0-9]\1[0-3]?[0-9](?: {1,2}[0-9 ]*)?"
    r"|[0-3]?[0-9]([./-])[0-3]?[0-9]\2(?:19|20)?[0-9]{2}(?: {1,2}[0-9 ]*)?"
    r"|[0-3]?[0-9] [01]?[0-9] (?:19|20)[0-9]{2}(?: {1,2}[0-9 ]*)?"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|[0-9]{3}-[0-9]{2}-[0-9]{4}"
    rf"|{_DECIMAL}"
)
"""Dates with and without a time, IP addresses, social security numbers, decimals."""
_DECIMALS = re.compile(_DECIMAL)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}([ .\u00a0\u202f])[0-9]{3}(?:\1[0-9]{3})*")
_COUNT_BEFORE = re.compile(r"[0-79][ .-]")
_TIME = re.compile(
    r"1[4-9][0-9]{8}(?:[0-9]{3})?|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9][0-9]{0,6}"
)


class PhoneRecognizer(CheckedRecognizer):
    """Telephone numbers: international ones, national ones by their form, and bare digits only where words say so."""

    ENTITY = "PHONE_NUMBER"
    GATES = (rf"[0-9](?:[{_MARKS}]{{0,3}}[0-9]){{6}}",)

    def find(self, text: str) -> Iterator[Span]:
        """Numbers in runs of digits, the longest first."""
        budget = _Budget(_CHECKS)
        for run in _RUN.finditer(text):
            start, end = run.span()
            if end - start >= _LEAST_DIGITS:
                groups = [group.span() for group in _GROUP.finditer(text, start, end)]
                yield from _numbers_of(text, groups, budget)


class _Budget:
    """How many numbers of a text may still be checked."""

    __slots__ = ("_left",)

    def __init__(self, checks: int) -> None:
        self._left = checks

    def is_spent(self) -> bool:
        self._left -= 1
        return self._left < 0


class _Candidate:
    """Groups of digits that stand together, and what goes before them."""

    __slots__ = ("digits", "groups", "lead", "start", "taken", "text", "written")

    def __init__(self, lead: Lead, text: str, taken: int, start: int, groups: _Groups) -> None:
        self.lead, self.text, self.taken = lead, text, taken
        self.start, self.groups = start, groups
        self.written = text[start : groups[-1][1]]
        self.digits = "".join([text[start:end] for start, end in groups])

    @property
    def is_international(self) -> bool:
        if self.written.lstrip("(").startswith("+"):
            return True
        starts = self.written.startswith("00") and "1" <= self.written[2:3] <= "9"
        return starts and not self.follows_digits

    @property
    def follows_digits(self) -> bool:
        """Whether it goes on a group of digits or of an account number, as in a card and an IBAN."""
        previous = char_at(self.text, self.start - 1)
        if self.taken == self.start - 1 or previous not in (" ", "-", "\u00a0"):
            return False
        group = self.text[max(0, self.start - 4) : self.start - 1]
        return len(group) == 3 and _ACCOUNT.issuperset(group)


def _numbers_of(text: str, groups: _Groups, budget: _Budget) -> Iterator[Span]:
    """The numbers of a run of digits."""
    first, end = 0, groups[-1][1]
    taken = _start_of_run(text, groups[0][0])
    while first < len(groups) and end - groups[first][0] >= _LEAST_DIGITS:
        if found := _longest(text, taken, groups, first, budget):
            span, first = found
            taken = span.end
            yield span
        else:
            first += 1


def _start_of_run(text: str, digits: int) -> int:
    """Where a run of digits begins, with the signs before it."""
    start = digits
    while start > max(0, digits - 2) and text[start - 1] in "+(":
        start -= 1
    return start


def _longest(
    text: str, taken: int, groups: _Groups, first: int, budget: _Budget
) -> tuple[Span, int] | None:
    """The longest number that begins with a group, and the group after it."""
    start = _start(text, groups[first - 1][1] if first else taken, groups[first][0])
    if not _begins(text, start):
        return None
    lead = Lead(text, start)
    for last in _last_groups(text, groups, first):
        end = groups[last][1]
        if not _ends(text, end) or _goes_on(text, start, groups, first, last):
            continue
        candidate = _Candidate(lead, text, taken, start, groups[first : last + 1])
        if score := _score(candidate, budget):
            extension = _extension(text, end)
            return Span(start, extension.end() if extension else end, score), last + 1
    return None


def _last_groups(text: str, groups: _Groups, first: int) -> list[int]:
    """The groups that may be the last of a number that begins with one, the last first."""
    found = list[int]()
    digits = singles = 0
    for at in range(first, min(first + _MOST_GROUPS, len(groups))):
        size = groups[at][1] - groups[at][0]
        digits += size
        singles += size == 1
        if digits > _MOST_DIGITS or singles > _MOST_SINGLES:
            break
        if digits >= _LEAST_DIGITS and not (
            first < at < len(groups) - 1
            and text[groups[at - 1][1] : groups[at][0]] == text[groups[at][1] : groups[at + 1][0]]
            and groups[at + 1][1] - groups[at + 1][0] < _LEAST_DIGITS
            and text[groups[first][0] - 1 : groups[first][0]] != "+"
        ):  # else the next group goes on in the same way
            found.append(at)
    return found[::-1]


def _start(text: str, least: int, digits: int) -> int:
    """Where a number begins: a plus or an opening bracket before its digits belongs to it."""
    start = digits
    while start > least and text[start - 1] in "+(":
        start -= 1
    if text[start] == "(" and ")" not in text[digits : digits + 7]:
        return start + 1
    return start


def _begins(text: str, start: int) -> bool:
    if not starts_apart(text, start):
        return False
    previous, earlier = char_at(text, start - 1), char_at(text, start - 2)
    if not previous or is_escape(text, start):
        return True
    if previous == "/" and earlier.isdigit():
        return True  # the next of a list
    return previous not in "#$€£%@^~" and not (previous in "./-)" and is_word(earlier))


def _ends(text: str, end: int) -> bool:
    following = char_at(text, end)
    if not following or _extension(text, end):
        return True
    later = char_at(text, end + 1)
    if following == "/" and (later.isdigit() or later in "+("):
        return True
    if is_word(following) or following in "%@°€$£":
        return False
    return not (following in "./:-" and is_word(later))


def _extension(text: str, end: int) -> re.Match[str] | None:
    return _EXTENSION.match(text, end) if char_at(text, end) in _BEFORE_EXTENSION else None


def _goes_on(text: str, start: int, groups: _Groups, first: int, last: int) -> bool:
    """Whether the group of digits after the last belongs to the same number, as far as marks tell."""
    if last + 1 == len(groups):
        return False
    end, following = groups[last][1], groups[last + 1]
    between = text[end : following[0]]
    if between == "/":
        return "/" in text[start:end]
    if between.strip(" \u00a0("):
        return True
    if text[start] == "+" or following[1] - following[0] >= _LEAST_DIGITS:
        return False
    return any(text[groups[at][1] : groups[at + 1][0]] == between for at in range(first, last))


def _score(candidate: _Candidate, budget: _Budget) -> float:
    """How sure it is that a candidate is a telephone number; 0 if it is none."""
    if candidate.is_international:
        return _score_of_international(candidate, budget)
    if len(candidate.digits) >= _MOST_DIGITS or _OTHER_FORM.fullmatch(candidate.written):
        return 0
    is_named = candidate.lead.names_phone()
    is_said = is_named or candidate.lead.speaks_of_phone()
    if not is_said and candidate.lead.names_other():
        return 0
    if len(candidate.groups) == 1 and not is_named and _TIME.fullmatch(candidate.digits):
        return 0
    if is_said:
        return _SAID
    if _NORTH_AMERICA.fullmatch(candidate.written):
        return _FORM
    return _score_of_national(candidate, budget)


def _score_of_international(candidate: _Candidate, budget: _Budget) -> float:
    written, digits = candidate.written, candidate.digits
    if _DECIMALS.fullmatch(written):
        return 0
    number = digits if "+" in written else digits.removeprefix("00")
    if budget.is_spent() or is_valid(number):
        return _VALID
    if _NORTH_AMERICA.fullmatch(written):
        return _FORM
    is_said = candidate.lead.names_phone() or candidate.lead.speaks_of_phone()
    if is_said and len(number) >= _LEAST_SAID:
        return _FORM
    if len(number) < _LEAST_POSSIBLE or (not is_said and candidate.lead.names_other()):
        return 0
    return _FORM if is_possible(number) else 0


def _score_of_national(candidate: _Candidate, budget: _Budget) -> float:
    written, digits = candidate.written, candidate.digits
    if not 8 <= len(digits) <= 12 or candidate.follows_digits:
        return 0
    is_clear = bool(_TRUNK.match(written) or _AMERICAN_BY_SPACES.fullmatch(written))
    if len(candidate.groups) == 1:
        is_clear = bool(_BARE_TRUNK.fullmatch(digits)) and digits not in _COUNTED
    elif _THOUSANDS.fullmatch(written):
        is_clear = False
    if _COUNT_BEFORE.match(written) or not (is_clear or candidate.lead.is_near_phone()):
        return 0
    if budget.is_spent() or is_valid_somewhere(digits):
        return _FORM if is_clear else _SAID
    return 0
