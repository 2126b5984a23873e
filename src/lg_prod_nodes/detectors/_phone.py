"""Telephone numbers of all countries, told from the other numbers of a text by their form and the words before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from lg_prod_nodes.detectors._checked import (
    CheckedRecognizer,
    Span,
    char_at,
    is_escape,
    is_word,
    starts_apart,
)
from lg_prod_nodes.detectors._phone_words import (
    is_near_phone,
    names_other,
    names_phone,
    speaks_of_phone,
)

_VALID, _FORM, _SAID = 0.75, 0.6, 0.5

_MARKS = " \u00a0\u202f.()/\u2010\u2011\u2012\u2013-"
_RUN = re.compile(rf"[+(]{{0,2}}[0-9](?:[{_MARKS}]{{0,3}}[0-9])*")
_GROUP = re.compile(r"[0-9]+")
_EXTENSION = re.compile(
    r"(?:[ ,]{0,2}(?:x|ext\.?|extension)[ :.]{0,2})[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
_MOST_GROUPS, _MOST_SINGLES = 8, 3
_LEAST_DIGITS, _MOST_DIGITS = 7, 16

_REGIONS = (
    *("US", "GB", "DE", "FR", "IN", "BR", "IT", "ES", "NL", "PL", "SE", "CH", "AT", "BE", "IE", "AU", "NZ", "JP"),
    *("KR", "CN", "RU", "TR", "IL", "UA", "ZA", "MX", "PT", "GR", "CZ", "DK", "NO", "FI", "HU", "RO", "NG", "KE"),
    *("SG", "HK", "TW", "TH", "ID", "MY", "PH", "VN", "AE", "SA", "EG", "PK", "BD", "AR", "CL", "CO"),
)  # fmt: skip
"""The regions whose national numbers are known; numbers that begin with a plus are known of all."""

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

_OTHER_FORMS = (
    re.compile(r"(?:19|20)[0-9]{2}([ ./-])[0-3]?[0-9]\1[0-3]?[0-9](?: {1,2}[0-9 ]*)?"),
    re.compile(r"[0-3]?[0-9]([./-])[0-3]?[0-9]\1(?:19|20)?[0-9]{2}(?: {1,2}[0-9 ]*)?"),
    re.compile(r"[0-3]?[0-9] [01]?[0-9] (?:19|20)[0-9]{2}(?: {1,2}[0-9 ]*)?"),
    re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"),
    re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}"),
    re.compile(r"[+-]?[0-9]{1,3}\.[0-9]{3,}(?: {1,2}[+-]?[0-9]{1,3}\.[0-9]{3,})?"),
)
"""Dates with and without a time, IP addresses, social security numbers, decimals."""
_DECIMAL = _OTHER_FORMS[-1]
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}([ .\u00a0\u202f])[0-9]{3}(?:\1[0-9]{3})*")
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
            if run.end() - run.start() < 7:
                continue
            groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
            first, taken = 0, run.start()
            while first < len(groups):
                found = _longest(text, taken, groups, first, budget)
                if found:
                    yield found[0]
                    taken = found[0].end
                first = found[1] if found else first + 1


@dataclass
class _Budget:
    """How many numbers of a text may still be checked."""

    left: int

    def is_spent(self) -> bool:
        self.left -= 1
        return self.left < 0


@dataclass(frozen=True)
class _Candidate:
    """Groups of digits that stand together, and where the number before them ends."""

    text: str
    groups: Sequence[tuple[int, int]]
    start: int
    taken: int

    @property
    def end(self) -> int:
        return self.groups[-1][1]

    @cached_property
    def written(self) -> str:
        return self.text[self.start : self.end]

    @cached_property
    def digits(self) -> str:
        return "".join(self.text[start:end] for start, end in self.groups)

    @property
    def is_international(self) -> bool:
        if self.written.lstrip("(").startswith("+"):
            return True
        return bool(re.match(r"00[1-9]", self.written)) and not self.follows_digits

    @property
    def follows_digits(self) -> bool:
        """Whether it goes on a group of digits or of an account number, as in a card and an IBAN."""
        if self.taken == self.start - 1 or char_at(self.text, self.start - 1) not in (
            " ",
            "-",
            "\u00a0",
        ):
            return False
        return bool(re.search(r"[0-9A-Z]{3}$", self.text[max(0, self.start - 4) : self.start - 1]))


class _Plan(NamedTuple):
    """How numbers of a region look."""

    region: str
    country_code: int
    prefix: str
    form: re.Pattern[str]


def _longest(
    text: str, taken: int, groups: list[tuple[int, int]], first: int, budget: _Budget
) -> tuple[Span, int] | None:
    """The longest number that begins with a group, and the group after it."""
    start = _start(text, groups[first - 1][1] if first else taken, groups[first][0])
    if not _begins(text, start):
        return None
    for last in _last_groups(text, groups, first):
        candidate = _Candidate(text, groups[first : last + 1], start, taken)
        if not _ends(text, candidate.end) or _goes_on(candidate, groups[last + 1 : last + 2]):
            continue
        if score := _score(candidate, budget):
            extension = _EXTENSION.match(text, candidate.end)
            end = extension.end() if extension else candidate.end
            return Span(start, end, score), last + 1
    return None


def _last_groups(text: str, groups: list[tuple[int, int]], first: int) -> list[int]:
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
    if _EXTENSION.match(text, end):
        return True
    following, later = char_at(text, end), char_at(text, end + 1)
    if following == "/" and (later.isdigit() or later in "+("):
        return True
    if following and (is_word(following) or following in "%@°€$£"):
        return False
    return not (following and following in "./:-" and is_word(later))


def _goes_on(candidate: _Candidate, following: Sequence[tuple[int, int]]) -> bool:
    """Whether the next group of digits belongs to the same number, as far as marks tell."""
    if not following:
        return False
    between = candidate.text[candidate.end : following[0][0]]
    if between == "/":
        return "/" in candidate.written
    if between.strip(" \u00a0("):
        return True
    if candidate.written.startswith("+"):
        return False
    pairs = zip(candidate.groups, candidate.groups[1:], strict=False)
    inner = {candidate.text[one[1] : other[0]] for one, other in pairs}
    return between in inner and following[0][1] - following[0][0] < _LEAST_DIGITS


def _score(candidate: _Candidate, budget: _Budget) -> float:
    """How sure it is that a candidate is a telephone number; 0 if it is none."""
    place = candidate.text, candidate.start
    is_named = names_phone(*place)
    is_said = is_named or speaks_of_phone(*place)
    is_other = not is_said and names_other(*place)
    if candidate.is_international:
        return _score_of_international(candidate, is_said, is_other, budget)
    if any(form.fullmatch(candidate.written) for form in _OTHER_FORMS) or is_other:
        return 0
    if len(candidate.groups) == 1 and _TIME.fullmatch(candidate.digits) and not is_named:
        return 0
    if is_said:
        return _SAID if len(candidate.digits) < _MOST_DIGITS else 0
    if _NORTH_AMERICA.fullmatch(candidate.written):
        return _FORM
    return _score_of_national(candidate, is_near_phone(*place), budget)


def _score_of_international(
    candidate: _Candidate, is_said: bool, is_other: bool, budget: _Budget
) -> float:
    digits = candidate.digits
    number = "+" + (digits if "+" in candidate.written else digits.removeprefix("00"))
    if _DECIMAL.fullmatch(candidate.written):
        return 0
    if budget.is_spent() or _is_valid(number):
        return _VALID
    if _NORTH_AMERICA.fullmatch(candidate.written) or (is_said and len(number) > 8):
        return _FORM
    return _FORM if not is_other and len(number) > 10 and _is_possible(number) else 0


def _score_of_national(candidate: _Candidate, is_near: bool, budget: _Budget) -> float:
    written, digits = candidate.written, candidate.digits
    if not 8 <= len(digits) <= 12 or candidate.follows_digits:
        return 0
    is_clear = bool(_TRUNK.match(written) or _AMERICAN_BY_SPACES.fullmatch(written))
    if len(candidate.groups) == 1:
        is_clear = bool(_BARE_TRUNK.fullmatch(digits)) and digits not in _COUNTED
    elif _THOUSANDS.fullmatch(written):
        is_clear = False
    if not (is_clear or is_near) or re.match(r"[0-79][ .-]", written):
        return 0
    if budget.is_spent() or _is_valid_somewhere(digits):
        return _FORM if is_clear else _SAID
    return 0


def _is_valid(number: str) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _is_possible(number: str) -> bool:
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


def _is_valid_somewhere(digits: str) -> bool:
    import phonenumbers

    for plan in _plans():
        number = digits.removeprefix(plan.prefix) if plan.prefix else digits
        if plan.form.fullmatch(number):
            parsed = phonenumbers.PhoneNumber(
                country_code=plan.country_code,
                national_number=int(number),
                italian_leading_zero=number.startswith("0") or None,
            )
            if phonenumbers.is_valid_number_for_region(parsed, plan.region):
                return True
    return False


@cache
def _plans() -> tuple[_Plan, ...]:
    import phonenumbers

    plans = list[_Plan]()
    for region in _REGIONS:
        known = phonenumbers.PhoneMetadata.metadata_for_region(region)
        if known and known.general_desc and known.general_desc.national_number_pattern:
            form = re.compile(known.general_desc.national_number_pattern)
            plans.append(_Plan(region, known.country_code or 0, known.national_prefix or "", form))
    return tuple(plans)
