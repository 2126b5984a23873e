"""What the words before a number say of it: that it is a telephone number, that it may be one, that it is another."""

from __future__ import annotations

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

_OTHERS = words(
    """
    account acct amount asset balance barcode batch bic booking bug build bus bytes card case claim code commit
    confirmation contract coordinate coordinates count customer date device docket dossier ean ein employee epoch flight
    gtin hash iban iccid id ids imei imsi invoice isbn issn issue item job key lat latitude length licence license line
    lng lon longitude lot lpn member nino offset order page parcel part passport patient payment pid pin po policy port
    postal postcode price product quote range receipt ref reference release request reservation room routing row run
    score security seed serial session sha shipment size sku sn sort span ssn student sum tax ticket tid time timestamp
    tin total trace tracking transaction ts txn uid upc user uuid vat ver version vin waybill zip
    """
)

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


class Lead:
    """What the words before a number say of it; they are looked up when something is asked.

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
        """Whether what stands directly before a number calls it one, as in `phone:` and `mobile no.`."""
        if not self._said:
            return False
        said = without_last(self._said, _AFTER_NAMES, 2)
        if len(said) > 1 and (said[-1] in _NUMBERS or said[-1] in _PLACES):
            return said[-2] in _PHONES or said[-1] in _PHONES
        return bool(said) and said[-1] in _PHONES

    def speaks_of_phone(self) -> bool:
        """Whether a sentence leads to a number, as in `call me at` and `my number is`."""
        if not (said := without_last(self._said, _AFTER_CALLS)):
            return False
        if said[-1] in _CALLS:
            return True
        return len(said) > 1 and said[-1] in _NUMBERS and said[-2] in _WHOSE

    def names_other(self) -> bool:
        """Whether what stands directly before a number calls it something else, as in `order no.` and `"ts":`."""
        said = self._said
        if said and said[-1] in _OTHERS:
            return True
        said = without_last(said, _AFTER_OTHERS, 2)
        return bool(said) and said[-1] in _OTHERS

    def is_near_phone(self) -> bool:
        """Whether the line speaks of telephones shortly before."""
        return not _NEAR.isdisjoint(line_before(self._text, self._at)[-8:])
