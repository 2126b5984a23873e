"""Surrogates: values of the same form as the originals, which belong to nobody.

Each form has a range that is reserved for tests, documentation or fiction, or that is never assigned. A surrogate is
drawn from it by a keyed digest of the value, so that the same value has the same surrogate in every process. A share of
the range passes a keyed check, and only such values are drawn. So surrogates recognize themselves.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from string import ascii_uppercase

_DOMAIN = "redacted.example.com"
_REMEMBERED = 65_536
_CHECKS = 16
"""One in so many values of a reserved range passes the check."""

_TEST_CARDS = {14: "360000", 15: "370000"}
_TEST_CARD = "400000"
_NORTH_AMERICAN = re.compile(r"\+?1[2-9]\d{2}[2-9]\d{6}|[2-9]\d{2}[2-9]\d{6}")
_FICTIONAL = re.compile(r"1?[2-9]\d{2}55501\d{2}")
_BENCHMARKS = int(IPv4Address("198.18.0.0"))
_DOCUMENTATION = int(IPv6Address("2001:db8::"))

Draw = Callable[[str, int], str]
"""Returns a value of the reserved range of a form: of the same shape as a value, drawn by a number."""


class Surrogates:
    """Surrogates of values under a key."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(key).digest()
        self._drawn: OrderedDict[int, str] = OrderedDict()

    def of(self, entity: str, value: str) -> str | None:
        """The surrogate of a value, `None` if its entity has no form."""
        if (draw := _FORMS.get(entity)) is None:
            return None
        name = self._hashed(f"{entity}:{value}")
        made = self._drawn.get(name)
        if made is None:
            drawn = (draw(value, self._number(entity, value, n)) for n in count())
            made = next(text for text in drawn if not text or self._passes(text))
            self._drawn[name] = made
            if len(self._drawn) > _REMEMBERED:
                self._drawn.popitem(last=False)
        return made or None

    def has_made(self, value: str) -> bool:
        """Whether a value is a surrogate."""
        return self._passes(value) and any(reserved(value) for reserved in _RESERVED)

    def kind_of(self, value: str) -> str | None:
        """The entity of a surrogate whose range is so small that different values may have the same."""
        kinds = {"PHONE_NUMBER": _is_phone, "IP_ADDRESS": _is_ip}
        return next((k for k, holds in kinds.items() if holds(value) and self._passes(value)), None)

    def _passes(self, text: str) -> bool:
        return self._number("check", text, 0) % _CHECKS == 0

    def _number(self, what: str, value: str, n: int) -> int:
        characters = "".join(filter(str.isalnum, value.casefold()))
        return self._hashed(f"{what}:{n}:{characters}")

    def _hashed(self, text: str) -> int:
        encoded = text.encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(encoded, key=self._key, digest_size=32).digest())


def _filled(shape: str, characters: str) -> str:
    """A text with its letters and digits replaced in order; empty if it has another number of them."""
    if sum(map(str.isalnum, shape)) != len(characters):
        return ""
    further = iter(characters)
    return "".join(next(further) if char.isalnum() else char for char in shape)


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


def _padded(number: int, length: int) -> str:
    return f"{number % 10**length:0{length}}" if length > 0 else ""


def _email(value: str, number: int) -> str:
    name = b32encode(number.to_bytes(32)[:10]).decode().lower()
    return f"{name[:12]}@{_DOMAIN}"


def _card(value: str, number: int) -> str:
    length = len(_digits(value))
    prefix = _TEST_CARDS.get(length, _TEST_CARD)
    digits = prefix + _padded(number, length - len(prefix) - 1)
    return _filled(value, digits + _luhn(digits))


def _luhn(digits: str) -> str:
    doubled = [int(char) * (2 - at % 2) for at, char in enumerate(reversed(digits))]
    return str(-sum(map(sum, map(divmod, doubled, [10] * len(doubled)))) % 10)


def _iban(value: str, number: int) -> str:
    compact = "".join(filter(str.isalnum, value))
    country, account = compact[:2].upper(), ""
    for at, char in enumerate(compact[4:]):
        number, rest = divmod(number, 260)
        drawn = (str(rest % 10), ascii_uppercase[rest % 26]) if at >= 4 else ("0", "X")
        account += drawn[not char.isdecimal()]
    spelled = "".join(str(int(char, 36)) for char in f"{account}{country}00")
    return _filled(value, f"{country}{98 - int(spelled) % 97:02}{account}")


def _phone(value: str, number: int) -> str:
    digits = _digits(value)
    if _is_north_american(value):
        areas = _area_codes()
        area = areas[number // 100 % len(areas)]
        return _filled(value, f"{digits[:-10]}{area}55501{_padded(number, 2)}")
    start = _unassigned(value)
    if len(digits) < start + 5:
        return ""
    return _filled(value, f"{digits[:start]}00{_padded(number, len(digits) - start - 2)}")


def _is_north_american(value: str) -> bool:
    return _NORTH_AMERICAN.fullmatch(re.sub(r"[^\d+]", "", value)) is not None


def _unassigned(value: str) -> int:
    """How many digits of a telephone number stay, before two zeros: the code of its country, or the first one."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    plain = re.sub(r"[^\d+]", "", value)
    code = re.match(r"(?:\+|00)([1-9]\d{2})", plain)
    if code is not None:
        for length in range(1, 4):
            if int(code[1][:length]) in COUNTRY_CODE_TO_REGION_CODE:
                return code.start(1) + length - plain.startswith("+")
    return 1


@cache
def _area_codes() -> tuple[str, ...]:
    """The area codes of North America, in each of which 555-0100 to 555-0199 are reserved for fiction."""
    from phonenumbers import PhoneNumber, is_valid_number

    return tuple(
        str(area)
        for area in range(200, 1000)
        if is_valid_number(PhoneNumber(country_code=1, national_number=area * 10**7 + 5550100))
    )


def _ssn(value: str, number: int) -> str:
    digits = _digits(value)
    return _filled(value, f"666{_padded(number, 6)}") if len(digits) == 9 else ""


def _ip(value: str, number: int) -> str:
    try:
        version = ip_address(value).version
    except ValueError:
        return ""
    if version == 4:
        return str(IPv4Address(_BENCHMARKS + number % 2**17))
    return str(IPv6Address(_DOCUMENTATION + number % 2**64))


_FORMS: dict[str, Draw] = {
    "CREDIT_CARD": _card,
    "EMAIL_ADDRESS": _email,
    "IBAN_CODE": _iban,
    "IP_ADDRESS": _ip,
    "PHONE_NUMBER": _phone,
    "US_SSN": _ssn,
}


def _is_email(value: str) -> bool:
    return value.lower().endswith(f"@{_DOMAIN}")


def _is_card(value: str) -> bool:
    digits = _digits(value)
    reserved = digits.startswith(_TEST_CARDS.get(len(digits), _TEST_CARD))
    return reserved and len(digits) >= 12 and digits[-1] == _luhn(digits[:-1])


def _is_iban(value: str) -> bool:
    compact = "".join(filter(str.isalnum, value))
    return re.fullmatch(r"[A-Z]{2}\d\d[0X]{4}[0-9A-Z]+", compact) is not None


def _is_phone(value: str) -> bool:
    digits = _digits(value)
    if _is_north_american(value):
        return _FICTIONAL.fullmatch(digits) is not None
    if any(map(str.isalpha, value)) or _is_card(value):
        return False
    return len(digits) >= 6 and digits.startswith("00", _unassigned(value))


def _is_ssn(value: str) -> bool:
    return re.fullmatch(r"666\D?\d\d\D?\d{4}", value) is not None


def _is_ip(value: str) -> bool:
    return value.startswith(("198.18.", "198.19.", "2001:db8:"))


_RESERVED = (_is_email, _is_card, _is_iban, _is_phone, _is_ssn, _is_ip)
