"""How likely digits are a phone number, by their form, their country's plan and the words before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase, digits
from typing import Final

from lg_prod_nodes.detectors.recognizers.checked import char_at
from lg_prod_nodes.detectors.recognizers.phone_plans import (
    is_possible,
    is_valid,
    is_valid_somewhere,
)
from lg_prod_nodes.detectors.recognizers.phone_words import Lead

Groups = Sequence[tuple[int, int]]
"""The spans of groups of digits."""

_VALID, _FORM, _SAID = 0.75, 0.6, 0.5
MOST_DIGITS: Final = 16
_LEAST_SAID, _LEAST_POSSIBLE = 8, 10
"""The minimum digits of an international number not in use, with and without words that call it one."""

_ACCOUNT = frozenset(f"{digits}{ascii_uppercase}")

_NORTH_AMERICA = re.compile(
    r"(?:\+?1[ .-]?|001[ .-])?(?:"
    r"\((?:[2-9][0-9]{2}|123)\)[ .-]?[0-9]{3}[ .-]?[0-9]{4}"
    r"|(?:[2-9][0-9]{2}|123)([.-])[0-9]{3}\1[0-9]{4}"
    r"|[2-9][0-9]{2}[/ ][2-9][0-9]{2}[-.][0-9]{4})"
)
"""The form of the North American plan, which is unmistakable even if the number is not in use."""
_AMERICAN_BY_SPACES = re.compile(r"(?:1 )?[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}")
_TRUNK = re.compile(
    r"\(?0|\([1-9][0-9]{1,2}\)|8[ -]?\("
    r"|[1-9][1-9] (?!20[0-9]{2}-)(?:9[0-9]{4}|[2-8][0-9]{3})-[0-9]{4}$|[2-9][0-9]{2}-[0-9]{7}$"
)
"""Beginnings that identify a national number: a trunk prefix, or an area code in parentheses or set apart."""

_BARE_TRUNK = re.compile(r"0[1-9][0-9]{8,9}")
"""The digits of a national number whose beginning rules out amounts, times and counts."""
_BARE_IN_PROSE = re.compile(
    r"[2-9][0-9]{2}[2-9][0-9]{6}|[6-9][0-9]{9}|[1-9][1-9]9[0-9]{8}|1[2-9][0-9]{9}|0[1-9][0-9]{7}"
)
"""The digits of numbers from North America, India, Brazil and China, and of a short one with a leading zero."""
_COUNTED_AFTER = re.compile(
    r" ?(?:[kKMG]?B\b|%|[a-z]{0,5}bytes?|bits?|ms|ns|us|seconds?|minutes?|hours?|days?|years?|rows?|records?|items?"
    r"|users?|people|tokens?|times|dollars?|euros?|USD|EUR|GBP|INR|tons?|units?|votes?|views?|km|miles?|meters?)(?!\w)"
    r"|0* ?[-+*/=<>] ?[0-9]"
)
_COUNTED = frozenset(["0123456789", "01234567890", "01234567891"])

_DECIMAL = r"[+-]?[0-9]{1,3}\.[0-9]{3,}(?: {1,2}[+-]?[0-9]{1,3}\.[0-9]{3,})?"
_OTHER_FORM = re.compile(
    r"(?:19|20)[0-9]{2}([ ./-])[0-3]?[0-9]\1[0-3]?[0-9](?: {1,2}[0-9 ]*)?"
    r"|[0-3]?[0-9]([./-])[0-3]?[0-9]\2(?:19|20)?[0-9]{2}(?: {1,2}[0-9 ]*)?"
    r"|[0-3]?[0-9] [01]?[0-9] (?:19|20)[0-9]{2}(?: {1,2}[0-9 ]*)?"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|[0-9]{3}([ .-])[0-9]{2}\3[0-9]{4}"
    r"|[0-9]{5}-[0-9]{3}"
    rf"|{_DECIMAL}"
)
"""Dates with and without a time, IP addresses, social security numbers, postal codes, decimals."""
_DECIMALS = re.compile(_DECIMAL)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}([ .\u00a0\u202f])[0-9]{3}(?:\1[0-9]{3})*")
_COUNT_BEFORE = re.compile(r"[1-79][ .-]|0[ .]")
_TIME = re.compile(
    r"1[4-9][0-9]{8}(?:[0-9]{3})?|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9][0-9]{0,6}"
)


class ChecksLeft:
    """The number of plan checks left for a text."""

    __slots__ = ("_left",)

    def __init__(self, checks: int) -> None:
        self._left = checks

    def is_spent(self) -> bool:
        """Use one check; returns whether none was left."""
        self._left -= 1
        return self._left < 0


class Candidate:
    """Adjacent groups of digits, and the text before them."""

    __slots__ = ("digits", "groups", "lead", "start", "taken", "text", "written")

    def __init__(self, lead: Lead, text: str, taken: int, start: int, groups: Groups) -> None:
        self.lead, self.text, self.taken = lead, text, taken
        self.start, self.groups = start, groups
        self.written = text[start : groups[-1][1]]
        self.digits = "".join([text[start:end] for start, end in groups])

    @property
    def is_international(self) -> bool:
        """Whether it begins with a plus, or with the digits dialled instead of one."""
        if self.written[0] in "+(":
            return self.written.lstrip("(").startswith("+")
        starts = self.written.startswith("00") and "1" <= self.written[2:3] <= "9"
        return starts and not self.follows_digits

    @property
    def follows_digits(self) -> bool:
        """Whether it continues a group of digits or of an account number, as in a card or an IBAN."""
        return bool(_group_before(self.text, self.taken, self.start))

    def is_named_otherwise(self) -> bool:
        """Whether the words before it name something else. Words for records count for bare digits only."""
        if len(self.groups) == 1:
            return self.lead.names_record()
        return self.lead.names_thing()


def _group_before(text: str, taken: int, start: int) -> str:
    """The end of the preceding group of digits or of an account number, unless a phone number ended there."""
    if taken == start - 1 or char_at(text, start - 1) not in (" ", "-", "\u00a0"):
        return ""
    group = text[max(0, start - 4) : start - 1]
    return group if len(group) == 3 and _ACCOUNT.issuperset(group) else ""


def is_inside(text: str, taken: int, start: int) -> bool:
    """Whether a group of digits is inside a longer number, no part of which is a phone number.

    Only a phone number's form could show otherwise: the word before is a group of digits, which gives no hint.
    """
    group = _group_before(text, taken, start)
    return group[1:].isdecimal() and not _NORTH_AMERICA.match(text, start)


def score(candidate: Candidate, budget: ChecksLeft) -> float:
    """The score of a candidate; 0 if it is not a phone number."""
    if candidate.is_international:
        return _score_of_international(candidate, budget)
    if len(candidate.digits) >= MOST_DIGITS or _OTHER_FORM.fullmatch(candidate.written):
        return 0
    is_named = candidate.lead.names_phone()
    is_said = is_named or candidate.lead.speaks_of_phone()
    if not is_said and candidate.is_named_otherwise():
        return 0
    if len(candidate.groups) == 1 and not is_named and _TIME.fullmatch(candidate.digits):
        return 0
    if is_said:
        return _SAID
    if _NORTH_AMERICA.fullmatch(candidate.written):
        return _FORM
    return _score_of_national(candidate, budget)


def _score_of_international(candidate: Candidate, budget: ChecksLeft) -> float:
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
    if len(number) < _LEAST_POSSIBLE or (not is_said and candidate.lead.names_record()):
        return 0
    return _FORM if is_possible(number) else 0


def _score_of_national(candidate: Candidate, budget: ChecksLeft) -> float:
    written, digits = candidate.written, candidate.digits
    if not 8 <= len(digits) <= 12 or candidate.follows_digits:
        return 0
    is_clear = bool(_TRUNK.match(written) or _AMERICAN_BY_SPACES.fullmatch(written))
    if len(candidate.groups) == 1:
        is_clear = _is_clear_when_bare(candidate)
    elif _THOUSANDS.fullmatch(written):
        is_clear = False
    if _COUNT_BEFORE.match(written) or not (is_clear or candidate.lead.is_near_phone()):
        return 0
    if budget.is_spent() or is_valid_somewhere(digits):
        return _FORM if is_clear else _SAID
    return 0


def _is_clear_when_bare(candidate: Candidate) -> bool:
    """Whether digits without marks are a phone number, by their plan and the sentence around them."""
    digits = candidate.digits
    if _BARE_TRUNK.fullmatch(digits):
        return digits not in _COUNTED
    if not _BARE_IN_PROSE.fullmatch(digits) or digits.endswith("0000"):
        return False
    end = candidate.groups[-1][1]
    return candidate.lead.is_in_prose() and not _COUNTED_AFTER.match(candidate.text, end)
