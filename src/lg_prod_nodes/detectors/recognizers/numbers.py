"""Payment card numbers and US social security numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    REACH,
    NumberRecognizer,
    Span,
    before,
    char_at,
    ends_apart,
    is_escape,
    is_fraction,
    is_word,
    line_before,
    luhn,
    starts_apart,
    words,
)
from lg_prod_nodes.detectors.recognizers.digits import Digits, Groups, by_shape, groups_of
from lg_prod_nodes.detectors.recognizers.iban import is_in_account
from lg_prod_nodes.detectors.recognizers.phone_words import Lead

_SAID, _FORM = 0.85, 0.5
_NO_MARKS = str.maketrans("", "", " .-")

_RUN = re.compile(r"[0-9](?=[0-9 \u00a0.-]{11})[0-9]*(?:[ \u00a0.-][0-9]+)*")
_LEAST_DIGITS, _MOST_DIGITS = 12, 19

_CARDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|220[0-4]\d{12,15}"  # Mir
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|095|[689]\d)\d{11,16}"  # Diners Club
    r"|35\d{14,17}|(?:2131|1800)\d{11}"  # JCB
    r"|6\d{15,18}"  # Discover, UnionPay, RuPay, Maestro
    r"|(?:50(?:18|20|38)|5[6-8]\d{2}|6304|6390|67\d{2}|0604)\d{8,15}"  # Maestro
    r"|8[12]\d{14,17}|9792\d{12}"  # UnionPay and RuPay, Troy
)
"""Issuers and lengths, by ISO/IEC 7812 and https://en.wikipedia.org/wiki/Payment_card_number."""

_SSN = re.compile(r"[0-9][0-9]{2}(?:([ .-]?)[0-9]{2}\1[0-9]{4}|[0-9]{2}-[0-9]{4}|-[0-9]{6})")
_SOCIAL = words("social socsec ssn ssns ss")
_SOCIAL_STEM = re.compile("ss|soc")
"""What these words have in common."""
_SAYS_SO = 6
"""How many words before bare digits may identify them as a social security number."""


_CARD_WORDS = words(
    "amex card cards cc credit debit diners discover jcb maestro mastercard pan visa"
)
_IDENTIFIERS = words("guid id ids key pid ref reference tid uid uuid")
_BAR_CODE = re.compile(
    r"(?:ean|gtin|upc|isbn|jan|itf)[ _-]?(?:8|1[0-4])[\"']{0,2}\s{0,2}[:=#]?\s{0,2}[\"']?$",
    re.IGNORECASE,
)
_MOST_OF_A_BARE_CARD, _LEAST_OF_CARDS_IN_USE = 16, 14
_UNION_PAY = "62"
"""Nearly all longer cards are UnionPay's; shorter ones are no longer issued. Many identifiers have these lengths."""


class CardNumbers(NumberRecognizer):
    """Payment card numbers of every issuer, 12 to 19 digits, with a Luhn check."""

    ENTITY = "CREDIT_CARD"
    GATES = ("[0-9](?:[ .\u00a0-]?[0-9]){11}",)

    def find_among(self, digits: Digits, text: str) -> Iterator[Span]:
        """The cards in runs of digits: whole groups, joined by one kind of mark."""
        for at, _, parts in digits.judged(_card_runs):
            for start, lasts in parts:
                cards = list(_cards(text, start + at, lasts))
                if cards and not is_in_account(text, start + at):
                    yield from (card for card in cards if not _is_identifier(text, card))


class SocialSecurityNumbers(NumberRecognizer):
    """US social security numbers; without marks between the groups, only after a word that names them."""

    ENTITY = "US_SSN"
    GATES = (r"[0-9]{3}[ .-]?[0-9]{2}[ .-]?[0-9]{4}", r"[0-9]{3}-[0-9]{6}")

    def find_among(self, digits: Digits, text: str) -> Iterator[Span]:
        """The numbers, by their groups or by the text before them."""
        for at, _, spans in digits.judged(_ssn_spans):
            for first, last, mark in spans:
                start, end = at + first, at + last
                if not _is_bounded(text, start, end):
                    continue
                number = text[start:end]
                if not _is_issued(number.translate(_NO_MARKS)):
                    continue
                if _names_number(text, start):
                    yield Span(start, end, _SAID)
                elif certainty := _by_form(number, mark, Lead(text, start)):
                    yield Span(start, end, certainty)


@by_shape
def _ssn_spans(shape: str) -> list[tuple[int, int, str]]:
    """Where a number may stand in a run of digits, and the mark between its groups."""
    return [(*found.span(), found[1]) for found in _SSN.finditer(shape)]


def _names_number(text: str, at: int) -> bool:
    """Whether a word before a position names a social security number."""
    said = text[max(0, at - REACH) : at].lower()
    return _SOCIAL_STEM.search(said) is not None and not _SOCIAL.isdisjoint(_words_near(text, at))


def _words_near(text: str, at: int) -> list[str]:
    """The words before a position on its line and the previous one, as in a form or below a column name."""
    return line_before(text, at, lines=2)[-_SAYS_SO:]


def _by_form(number: str, mark: str, lead: Lead) -> float:
    """The score of a number by its groups; 0 if the words before it name something else.

    A word that may introduce a phone number, such as `text`, may also be the name of a field.
    """
    if not mark or number.startswith("9") or lead.names_phone() or lead.names_thing():
        return 0.0
    return _SAID if mark == "-" and not lead.speaks_of_phone() else _FORM


def _is_identifier(text: str, card: Span) -> bool:
    """Whether bare digits are an identifier or a bar code, by their name, length and checksum."""
    digits = text[card.start : card.end]
    if not digits.isdigit() or not _CARD_WORDS.isdisjoint(_words_near(text, card.start)):
        return False
    lead = Lead(text, card.start)
    if _is_of_unusual_length(digits) and not lead.is_in_prose():
        return True
    if line_before(text, card.start) and (lead.names_thing() or lead.ends_in(_IDENTIFIERS)):
        return True
    return bool(_BAR_CODE.search(before(text, card.start, 24)))


def _is_of_unusual_length(digits: str) -> bool:
    if len(digits) > _MOST_OF_A_BARE_CARD:
        return not digits.startswith(_UNION_PAY)
    return len(digits) < _LEAST_OF_CARDS_IN_USE and _is_bar_code(digits)


def _is_bar_code(digits: str) -> bool:
    """Whether digits pass the GTIN check, as in EAN-13 and UPC-A."""
    weighed = sum(map(int, digits[-2::-1])) + 2 * sum(map(int, digits[-2::-2]))
    return (weighed + int(digits[-1])) % 10 == 0


class _Lasts(NamedTuple):
    """The groups of digits in a run, and with which of them a card may end, in descending order, for each of them."""

    groups: Groups
    lasts: list[list[int]]


@by_shape
def _card_runs(shape: str) -> list[tuple[int, _Lasts]]:
    """The parts of a run in which the marks allow cards, whatever the digits."""
    found = list[tuple[int, _Lasts]]()
    for run in _RUN.finditer(shape):
        groups = groups_of(run[0])
        lasts = [_last_groups(run[0], groups, first) for first in range(len(groups))]
        if any(lasts):
            found.append((run.start(), _Lasts(groups, lasts)))
    return found


def _last_groups(run: str, groups: Groups, first: int) -> list[int]:
    """The groups with which a card may end: whole ones of a usual length, joined by one kind of mark."""
    found, lengths, mark = list[int](), list[int](), ""
    for at in range(first, min(first + 8, len(groups))):
        start, end = groups[at]
        if at > first:
            mark = mark or run[start - 1]
            if run[start - 1] != mark:
                break
        lengths.append(end - start)
        if sum(lengths) > _MOST_DIGITS:
            break
        if sum(lengths) >= _LEAST_DIGITS and _may_be_groups_of_a_card(lengths):
            found.append(at)
    return found[::-1]


def _may_be_groups_of_a_card(lengths: list[int]) -> bool:
    is_even = all(2 < length < 8 for length in lengths) or sum(lengths) == 13
    return len(lengths) == 1 or (lengths[0] == 4 and is_even)


def _cards(text: str, at: int, run: _Lasts) -> Iterator[Span]:
    """The cards in a run of digits: the longest that begins with a group, and so on after it."""
    groups = [(start + at, end + at) for start, end in run.groups]
    first = 0
    while first < len(groups):
        last = _last_group(text, groups, first, run.lasts[first])
        if last is not None:
            yield Span(groups[first][0], groups[last][1], CERTAIN)
        first = first + 1 if last is None else last + 1


def _last_group(text: str, groups: Groups, first: int, lasts: list[int]) -> int | None:
    start = groups[first][0]
    if not lasts or not starts_apart(text, start) or is_fraction(text, start):
        return None
    for last in lasts:
        digits = "".join([text[start:end] for start, end in groups[first : last + 1]])
        if _is_card(digits) and _card_ends(text, groups, last):
            return last
    return None


def _is_card(digits: str) -> bool:
    return bool(_CARDS.fullmatch(digits)) and luhn(digits) and len(set(digits)) > 1


def _card_ends(text: str, groups: Groups, at: int) -> bool:
    end = groups[at][1]
    following = char_at(text, end)
    if following == "." and at + 1 < len(groups) and groups[at + 1][0] == end + 1:
        return False
    return ends_apart(text, end) and not (following == "-" and is_word(char_at(text, end + 1)))


def _is_issued(digits: str) -> bool:
    return (
        digits[:3] not in ("000", "666")
        and digits[3:5] != "00"
        and digits[5:] != "0000"
        and len(set(digits)) > 1
    )


def _is_bounded(text: str, start: int, end: int) -> bool:
    previous, following = char_at(text, start - 1), char_at(text, end)
    if not starts_apart(text, start) or not ends_apart(text, end):
        return False
    if (
        previous
        and previous in ".-/#$+"
        and (previous in "#$+" or is_word(char_at(text, start - 2)))
    ):
        return is_escape(text, start)
    if previous == " " and char_at(text, start - 2).isdigit() and char_at(text, start + 3) == " ":
        return False  # more groups of digits
    if following == " " and char_at(text, end + 1).isdigit() and char_at(text, start + 3) == " ":
        return False
    return not (following and following in ".-/" and is_word(char_at(text, end + 1)))
