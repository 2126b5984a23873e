"""International bank account numbers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from string import ascii_uppercase

from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    CheckedRecognizer,
    Span,
    ends_apart,
    is_fraction,
    starts_apart,
)

_IBAN_START = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])[0-9](?=[ \u00a0-]?[A-Za-z0-9])")
"""The check digits of an account; starting the search at digits makes it faster."""
_IBAN_MARKS = " \u00a0-"
_IBAN_VALUES = str.maketrans({char: str(at) for at, char in enumerate(ascii_uppercase, 10)})
_FORMS = """
    AD 8n12c AE 19n AL 8n16c AT 16n AZ 4a20c BA 16n BE 12n BG 4a6n8c BH 4a14c BR 23n1a1c BY 4c4n16c CH 5n12c
    CR 18n CY 8n16c CZ 20n DE 18n DJ 23n DK 14n DO 4c20n EE 16n EG 25n ES 20n FI 14n FK 2a12n FO 14n FR 10n11c2n
    GB 4a14n GE 2a16n GI 4a15c GL 14n GR 7n16c GT 24c HN 4a20n HR 17n HU 24n IE 4a14n IL 19n IQ 4a15n IS 22n
    IT 1a10n12c JO 4a4n18c KW 4a22c KZ 3n13c LB 4n20c LC 4a24c LI 5n12c LT 16n LU 3n13c LV 4a13c LY 21n
    MC 10n11c2n MD 20c ME 18n MK 3n10c2n MN 16n MR 23n MT 4a5n18c MU 4a19n3a NI 4a20n NL 4a10n NO 11n OM 3n16c
    PK 4a16c PL 24n PS 4a21c PT 21n QA 4a21c RO 4a16c RS 18n RU 14n15c SA 2n18c SC 4a20n3a SD 14n SE 20n SI 15n
    SK 20n SM 1a10n12c SO 19n ST 21n SV 4a20n TL 19n TN 20n TR 6n16c UA 6n19c VA 18n VG 4a16n XK 16n YE 4a4n18c
""".split()  # noqa: SIM905
"""The structure of each country's accounts after the check digits: digits (n), letters (a) or both (c), by the SWIFT
IBAN registry: https://www.swift.com/standards/data-standards/iban."""
_ALPHABETS = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
_ACCOUNTS = {
    country: re.compile(
        "[A-Z]{2}[0-9]{2}"
        + re.sub(r"(\d+)([nac])", lambda part: f"{_ALPHABETS[part[2]]}{{{part[1]}}}", form)
    )
    for country, form in zip(_FORMS[::2], _FORMS[1::2], strict=True)
}
_IBAN_LENGTHS = {
    country: 4 + sum(map(int, re.findall(r"\d+", form)))
    for country, form in zip(_FORMS[::2], _FORMS[1::2], strict=True)
}
_LONGEST_IBAN = 2 * max(_IBAN_LENGTHS.values())
_GROUPED = re.compile(r"[A-Za-z0-9]{4}(?:-[A-Za-z0-9]{4})*(?:-[A-Za-z0-9]{1,3})?")
"""Accounts grouped by hyphens, unlike UUIDs."""


class Ibans(CheckedRecognizer):
    """International bank account numbers in upper or lower case, checked by country, length and checksum."""

    ENTITY = "IBAN_CODE"
    GATES = ("[A-Za-z]{2}[0-9]{2}[ \u00a0-]?[A-Za-z0-9]",)

    def find(self, text: str) -> Iterator[Span]:
        """The accounts of exactly their country's length, whatever follows."""
        return (Span(start, end, CERTAIN) for start, end in _ibans(text))


def is_in_account(text: str, at: int) -> bool:
    """Whether a position is inside an account."""
    return any(start < at < end for start, end in _ibans(text, max(0, at - _LONGEST_IBAN), at + 2))


def _ibans(text: str, least: int = 0, most: int = sys.maxsize) -> Iterator[tuple[int, int]]:
    """The spans of accounts whose check digits are in a part of the text."""
    for found in _IBAN_START.finditer(text, least, min(len(text), most + 2)):
        if found.start() >= most:
            return
        start = found.start() - 2
        length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
        if length is None or not starts_apart(text, start) or is_fraction(text, start):
            continue
        end = _iban_end(text, start, length)
        if end is not None and ends_apart(text, end):
            yield start, end


def _iban_end(text: str, start: int, length: int) -> int | None:
    """Where an account that begins here ends, if its checksum is right."""
    account = text[start : start + length]
    if account.isascii() and account.isalnum():
        return start + length if len(account) == length and _is_account(account) else None
    account, marks, at = "", set[str](), start
    while len(account) < length and at < len(text):
        char = text[at]
        if char.isascii() and char.isalnum():
            account += char
        elif char in _IBAN_MARKS and text[at - 1] not in _IBAN_MARKS:
            marks.add(char)
        else:
            return None
        at += 1
    if len(account) < length or len(marks) > 1 or text[at - 1] in _IBAN_MARKS:
        return None
    if "-" in marks and not _GROUPED.fullmatch(text, start, at):
        return None
    return at if _is_account(account) else None


def _is_account(account: str) -> bool:
    account = account.upper()
    if not _ACCOUNTS[account[:2]].fullmatch(account):
        return False
    return int((account[4:] + account[:4]).translate(_IBAN_VALUES)) % 97 == 1
