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
"""The check digits of an account; to begin with its digits makes the search faster."""
_IBAN_MARKS = " \u00a0-"
_IBAN_VALUES = str.maketrans({char: str(at) for at, char in enumerate(ascii_uppercase, 10)})
_IBAN_LENGTHS = {
    name: int(length)
    for length, names in (
        pair.split(":")
        for pair in [
            "15:NO",
            "16:BE",
            "18:DK,FK,FI,FO,GL,NL,SD",
            "19:MK,SI",
            "20:AT,BA,EE,KZ,LT,LU,MN,XK",
            "21:CH,HR,LI,LV",
            "22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA",
            "23:AE,GI,IL,IQ,OM,SO,TL",
            "24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG",
            "25:LY,PT,ST",
            "26:IS,TR",
            "27:BI,DJ,FR,GR,IT,MC,MR,SM",
            "28:AL,AZ,BY,CY,DO,GT,HN,HU,LB,NI,PL,SV",
            "29:BR,EG,PS,QA,UA",
            "30:JO,KW,MU,YE",
            "31:MT,SC",
            "32:LC",
            "33:RU",
        ]
    )
    for name in names.split(",")
}
_LONGEST_IBAN = 2 * max(_IBAN_LENGTHS.values())
"""Lengths by country, of the SWIFT IBAN registry: https://www.swift.com/standards/data-standards/iban."""


class IbanRecognizer(CheckedRecognizer):
    """International bank account numbers, in upper or lower case, checked by country, length and sum."""

    ENTITY = "IBAN_CODE"
    GATES = ("[A-Za-z]{2}[0-9]{2}[ \u00a0-]?[A-Za-z0-9]",)

    def find(self, text: str) -> Iterator[Span]:
        """Accounts of exactly their country's length, whatever follows."""
        return (Span(start, end, CERTAIN) for start, end in _ibans(text))


def is_in_account(text: str, at: int) -> bool:
    """Whether an account begins before a place and ends after it."""
    return any(start < at < end for start, end in _ibans(text, max(0, at - _LONGEST_IBAN), at + 2))


def _ibans(text: str, least: int = 0, most: int = sys.maxsize) -> Iterator[tuple[int, int]]:
    """Where accounts are whose check digits stand in a part of the text."""
    for found in _IBAN_START.finditer(text, least):
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
    """Where an account ends that begins here, if its sum is right."""
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
    return at if _is_account(account) else None


def _is_account(account: str) -> bool:
    moved = account[4:] + account[:4]
    return int(moved.upper().translate(_IBAN_VALUES)) % 97 == 1
