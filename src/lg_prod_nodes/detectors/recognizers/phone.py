"""Phone numbers of all countries, told from other numbers by their form and the words before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lg_prod_nodes.detectors.recognizers.checked import (
    NumberRecognizer,
    Span,
    char_at,
    is_escape,
    is_word,
)
from lg_prod_nodes.detectors.recognizers.digits import MARKS, Digits, by_shape, groups_of
from lg_prod_nodes.detectors.recognizers.phone_scores import (
    MOST_DIGITS,
    Candidate,
    ChecksLeft,
    Groups,
    is_inside,
    score,
)
from lg_prod_nodes.detectors.recognizers.phone_words import Lead

_OTHER = re.compile(
    r"[0-9]{17,}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
    r"|[0-9]{3}([ .-])[0-9]{2}\2[0-9]{4}"
)
"""Long identifiers, cards, IP addresses, social security numbers."""
_LIKE_A_DATE = re.compile(r"[0-9]{4}([./-])[0-9]{2}\1[0-9]{2}(?: [0-9]{2})?")
_DATE = re.compile(r"(?:19|20)[0-9]{2}.[01][0-9].[0-3][0-9](?: [0-9]{2})?")
_EXTENSION = re.compile(
    r"(?:[ ,]{0,2}(?:x|ext\.?|extension)[ :.]{0,2})[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
_LABEL_AFTER = re.compile(
    r"-(?:[Oo]ffice|[Ff]ax|[Mm]obile|[Cc]ell|[Hh]ome|[Ww]ork|[Dd]irect|[Dd]esk|[Tt]el)(?!\w)"
)
_NEVER_BEFORE = frozenset("#$€£%@^~./-)")
"""Characters that never precede a number; the last four may, unless they follow a word."""
_BEFORE_NUMBERS = (" ", "\n", '"', ":", "(", "=")
_AFTER_NUMBERS = ("", " ", ",", "\n", '"', ")")
_BEFORE_EXTENSION = tuple(" ,xXeE")
_MOST_GROUPS, _MOST_SINGLES = 8, 3
_LEAST_DIGITS = 7
_CHECKS = 400
"""How many numbers per text are checked against their country's plan; beyond that, the form alone decides."""


class PhoneNumbers(NumberRecognizer):
    """Phone numbers: international ones, national ones by their form, and bare digits only if words identify them."""

    ENTITY = "PHONE_NUMBER"
    GATES = (rf"[0-9](?:[{MARKS}]{{0,3}}[0-9]){{6}}",)

    def find_among(self, digits: Digits, text: str) -> Iterator[Span]:
        """The numbers in runs of digits, the longest first."""
        budget = ChecksLeft(_CHECKS)
        for start, end, shape in digits.judged(_shape_of):
            if not _is_other(text, start, end, shape):
                yield from _numbers_of(text, start, shape, budget)


class _Shape(NamedTuple):
    """What the marks in a run of digits allow, whatever the digits.

    Attributes:
        groups: The spans of its groups of digits.
        lasts: For each group, the possible last groups of a number that begins with it, in descending order.
        after_plus: The same for the first group, if a plus precedes it.
        is_other: Whether its form rules out phone numbers in any part of it.
        may_be_date: Whether it is a date by its form.
    """

    groups: Groups
    lasts: tuple[list[int], ...]
    after_plus: list[int]
    is_other: bool
    may_be_date: bool


@by_shape
def _shape_of(run: str) -> _Shape | None:
    groups = groups_of(run)
    lasts = tuple(_last_groups(run, groups, first, has_plus=False) for first in range(len(groups)))
    after_plus = _last_groups(run, groups, 0, has_plus=True)
    if not (after_plus or any(lasts)):
        return None
    return _Shape(
        groups,
        lasts,
        after_plus,
        is_other=_OTHER.fullmatch(run) is not None,
        may_be_date=_LIKE_A_DATE.fullmatch(run) is not None,
    )


def _is_other(text: str, start: int, end: int, shape: _Shape) -> bool:
    """Whether the form of a whole run of digits rules out phone numbers in any part of it."""
    if not (shape.is_other or shape.may_be_date) or char_at(text, start - 1) in ("+", "("):
        return False
    return shape.is_other or bool(_DATE.fullmatch(text, start, end))


def _numbers_of(text: str, at: int, shape: _Shape, budget: ChecksLeft) -> Iterator[Span]:
    """The phone numbers in a run of digits."""
    groups = [(start + at, end + at) for start, end in shape.groups]
    first = 0
    taken = _start_of_run(text, at)
    while first < len(groups):
        lasts = shape.lasts[first]
        if not first and text[at - 1 : at] == "+":
            lasts = shape.after_plus
        if lasts and (found := _longest(text, taken, groups, first, lasts, budget)):
            span, first = found
            taken = span.end
            yield span
        else:
            first += 1


def _start_of_run(text: str, digits: int) -> int:
    """Where a run of digits begins, including the signs before it."""
    start = digits
    while start > max(0, digits - 2) and text[start - 1] in "+(":
        start -= 1
    return start


def _longest(
    text: str, taken: int, groups: Groups, first: int, lasts: list[int], budget: ChecksLeft
) -> tuple[Span, int] | None:
    """The longest number that begins with a group, and the index of the group after it."""
    digits = groups[first][0]
    start = _start(text, groups[first - 1][1] if first else taken, digits)
    if not _begins(text, start) or (start == digits and is_inside(text, taken, start)):
        return None
    lead = Lead(text, start)
    for last in lasts:
        end = groups[last][1]
        if not _ends(text, end) or _goes_on(text, start, groups, first, last):
            continue
        candidate = Candidate(lead, text, taken, start, groups[first : last + 1])
        if certainty := score(candidate, budget):
            extension = _extension(text, end)
            return Span(start, extension.end() if extension else end, certainty), last + 1
    return None


def _last_groups(run: str, groups: Groups, first: int, *, has_plus: bool) -> list[int]:
    """The possible last groups of a number that begins with `first`, in descending order."""
    found = list[int]()
    digits = singles = 0
    for at in range(first, min(first + _MOST_GROUPS, len(groups))):
        size = groups[at][1] - groups[at][0]
        digits += size
        singles += size == 1
        if digits > MOST_DIGITS or singles > _MOST_SINGLES:
            break
        if digits >= _LEAST_DIGITS and (has_plus or not _repeats(run, groups, first, at)):
            found.append(at)
    return found[::-1]


def _repeats(text: str, groups: Groups, first: int, at: int) -> bool:
    """Whether a short group follows an inner group, separated by the same mark as before it."""
    if not first < at < len(groups) - 1:
        return False
    (_, before), (start, end), (following, last) = groups[at - 1 : at + 2]
    return last - following < _LEAST_DIGITS and text[before:start] == text[end:following]


def _start(text: str, least: int, digits: int) -> int:
    """Where a number begins, including a plus or an opening parenthesis before its digits."""
    start = digits
    if text[start - 1 : start] not in ("+", "("):
        return start
    while start > least and text[start - 1] in "+(" and text[start] != "(":
        start -= 1
    if text[start] == "(" and ")" not in text[digits : digits + 7]:
        return start + 1
    return start


def _begins(text: str, start: int) -> bool:
    previous = text[start - 1 : start]
    if previous in _BEFORE_NUMBERS or not start:
        return True
    if is_word(previous):
        return is_escape(text, start)
    if previous not in _NEVER_BEFORE:
        return True
    earlier = char_at(text, start - 2)
    if previous == "/" and earlier.isdigit():
        return True  # the next of a list
    return previous in "./-)" and not is_word(earlier)


def _ends(text: str, end: int) -> bool:
    following = text[end : end + 1]
    if following in _AFTER_NUMBERS or _extension(text, end):
        return True
    later = char_at(text, end + 1)
    if following == "/" and (later.isdigit() or later in "+("):
        return True
    if is_word(following) or following in "%@°€$£":
        return False
    if following == "-" and _LABEL_AFTER.match(text, end):
        return True
    return not (following in "./:-" and is_word(later))


def _extension(text: str, end: int) -> re.Match[str] | None:
    return _EXTENSION.match(text, end) if char_at(text, end) in _BEFORE_EXTENSION else None


def _goes_on(text: str, start: int, groups: Groups, first: int, last: int) -> bool:
    """Whether, judging by the marks, the number continues with the next group."""
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
