"""What the words before a number suggest: a phone number, perhaps one, or something else."""

from __future__ import annotations

import re

from lg_prod_nodes.detectors.recognizers.checked import (
    line_before,
    without_last,
    words,
    words_before,
)

_PHONES = words(
    """
    cell cellphone celular fax handy helpline hotline landline mob mobil mobile msisdn móvil pager ph phone phones
    portable rufnummer sms tel telefon telefone telefono telefonnummer teléfono telephone tél téléphone viber whatsapp
    """
)

_THINGS = words(
    """
    allocated amount balance barcode batch bic booking bought bug build bus bytes code commit confirmation
    contract coordinate coordinates count date device docket ean epoch flight gtin hash iban iccid imei imsi
    invoice isbn issn issue item job lat latitude length line lng lon longitude lot lpn offset order ordered
    page paid parcel part pin po port postal postcode price processed product purchased quantity quote range
    read receipt reservation room routing row rows run score seed serial session sha shipment size sku sn sold
    sort span sum ticket time timestamp total trace tracking transaction ts txn upc vat ver version vin waybill
    wrote zip
    """
)
"""Words whose numbers are never phone numbers, however they are written."""

_RECORDS = words(
    """
    account acct asset card case claim client contact customer dossier ein employee holder id ids key license licence
    member nino number passenger passport patient person pid policy ref reference release request security ssn student
    subscriber tax taxpayer tid tin uid user uuid
    """
)
"""Words for people and their records, whose bare digits may be an identifier or a phone number."""

_CALLS = words("call contact dial phone reach reachable ring text")
_WHOSE = words(
    "callback cell contact customer direct emergency her his home main my new office our their work your"
)
_NEAR = _PHONES | _CALLS
_NUMBERS = words("line no nr num number numbers")
_PLACES = words("cell day evening home mobile office work")
_AFTER_NAMES = words("are at is on was 1 2 3")
_AFTER_CALLS = words(
    "anytime at back directly her him is me now on tell them to today tomorrow under up us using via was"
)
_AFTER_OTHERS = words("code id ids is key ms no nr ns num number numbers ref s was")
_SENTENCE = 40
_LETTER = r"(?:[^\W\d_]|[^\x00-\x7F])"
_UNSPACED = r"[\u3040-\u9fff\uac00-\ud7af]"
_PROSE = re.compile(
    rf"{_LETTER}{{2}}[,.!?]? \(?$|{_LETTER}{{2}} {_LETTER}{{2,20}}: \(?$"
    rf"|{_UNSPACED}[(:,\u3000-\u303f\uff00-\uff1f]? ?$"
)
_LONGEST_PROSE = 26
"""The length of the longest match."""
_CODE = re.compile(r"[=<>{}\[\]_|;`\\$\"]")


class Lead:
    """What the words before a number suggest; they are read only when needed.

    Args:
        text: The text.
        at: Where the number begins.
    """

    __slots__ = ("_at", "_known", "_text")

    def __init__(self, text: str, at: int) -> None:
        self._text, self._at = text, at
        self._known: list[str] | None = None

    @property
    def _said(self) -> list[str]:
        if self._known is None:
            self._known = words_before(self._text, self._at)
        return self._known

    def names_phone(self) -> bool:
        """Whether the words directly before a number call it a phone number, as in `phone:` and `mobile no.`."""
        if not self._said:
            return False
        said = without_last(self._said, _AFTER_NAMES, 2)
        if len(said) > 1 and (said[-1] in _NUMBERS or said[-1] in _PLACES):
            return said[-2] in _PHONES or said[-1] in _PHONES
        return bool(said) and said[-1] in _PHONES

    def speaks_of_phone(self) -> bool:
        """Whether a sentence introduces a phone number, as in `call me at` and `my number is`."""
        if not self._said or not (said := without_last(self._said, _AFTER_CALLS)):
            return False
        if said[-1] in _CALLS:
            return True
        return len(said) > 1 and said[-1] in _NUMBERS and said[-2] in _WHOSE

    def names_thing(self) -> bool:
        """Whether the words directly before a number name a numbered thing, as in `order no.` and `"ts":`."""
        return self._names(_THINGS)

    def names_record(self) -> bool:
        """Whether they name such a thing or a personal record, as in `customer id`: bare digits are no phone number."""
        return self._names(_THINGS) or self._names(_RECORDS)

    def _names(self, known: frozenset[str]) -> bool:
        said = self._said
        if not said:
            return False
        if said[-1] in known:
            return True
        said = without_last(said, _AFTER_OTHERS, 2)
        return bool(said) and said[-1] in known

    def ends_in(self, known: frozenset[str]) -> bool:
        """Whether the word directly before a number is one of these."""
        return bool(self._said) and self._said[-1] in known

    def is_in_prose(self) -> bool:
        """Whether a sentence leads up to a number: words and a space, without signs of a field or of code."""
        lead = self._text[max(0, self._at - _SENTENCE) : self._at].rpartition("\n")[2]
        if _CODE.search(lead):
            return False
        return _PROSE.search(lead, max(0, len(lead) - _LONGEST_PROSE)) is not None

    def is_near_phone(self) -> bool:
        """Whether phones are mentioned shortly before on the line."""
        return not _NEAR.isdisjoint(line_before(self._text, self._at)[-8:])
