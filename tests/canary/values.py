"""Planted values: each unique, made from a seed, tied to one surface; the code holds none of them."""

from __future__ import annotations

import base64
import json
import random
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

_LETTERS = string.ascii_lowercase
_ALPHANUMERIC = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"

Random = random.Random


@dataclass(frozen=True)
class Planted:
    """A value, what it is, and the one surface that it is planted on."""

    value: str = field(repr=False)
    entity: str
    surface: str

    def __str__(self) -> str:
        return f"{self.entity} of {self.surface!r}"


def _some(rng: Random, letters: str, length: int) -> str:
    return "".join(rng.choice(letters) for _ in range(length))


def _email(rng: Random) -> str:
    local = f"{_some(rng, _LETTERS, 7)}.{_some(rng, _LETTERS, 5)}{rng.randint(10, 99)}"
    return f"{local}@{_some(rng, _LETTERS, 9)}.{rng.choice(('com', 'org', 'de', 'co.uk', 'io'))}"


_BRANDS = (
    ("4", 16, 4),  # Visa
    ("51", 16, 4),  # Mastercard
    ("2221", 16, 4),  # Mastercard's second series
    ("34", 15, 0),  # American Express
    ("6011", 16, 4),  # Discover
    ("3530", 16, 0),  # JCB
    ("36", 14, 0),  # Diners Club
)


def luhn(digits: str) -> int:
    """The check digit of a card's number without it."""
    doubled = [int(d) * (2 if at % 2 == 0 else 1) for at, d in enumerate(reversed(digits))]
    return -sum(d - 9 if d > 9 else d for d in doubled) % 10


def _card(rng: Random) -> str:
    prefix, length, group = rng.choice(_BRANDS)
    body = prefix + _some(rng, string.digits, length - len(prefix) - 1)
    number = body + str(luhn(body))
    separator = rng.choice((" ", "-", "")) if group else ""
    return separator.join(number[at : at + 4] for at in range(0, length, 4)) if group else number


_ACCOUNTS = (("DE", "d18"), ("FR", "d23"), ("NL", "a4d10"), ("GB", "a4d14"), ("ES", "d20"))


def _iban(rng: Random) -> str:
    country, form = rng.choice(_ACCOUNTS)
    body = "".join(
        _some(rng, string.ascii_uppercase if kind == "a" else string.digits, int(length))
        for kind, length in re.findall(r"([ad])(\d+)", form)
    )
    as_number = "".join(str(int(char, 36)) for char in f"{body}{country}00")
    whole = f"{country}{98 - int(as_number) % 97:02}{body}"
    return " ".join(re.findall(".{1,4}", whole)) if rng.random() < 0.5 else whole


def _phone(rng: Random) -> str:
    area, middle = rng.choice(("212", "415", "617", "312", "206")), rng.randint(200, 989)
    end = f"{rng.randint(0, 9999):04}"
    german = f"+49 30 {rng.randint(20000000, 89999999)}"
    british = f"+44 20 7946 {rng.randint(0, 9999):04}"
    forms = (f"+1 {area} {middle} {end}", f"+1{area}{middle}{end}", f"({area}) {middle}-{end}")
    return rng.choice((*forms, german, british))


def _ip(rng: Random) -> str:
    if rng.random() < 0.3:
        return f"2001:db8:{':'.join(f'{rng.randint(4096, 65535):x}' for _ in range(6))}"
    return f"{rng.randint(11, 99)}.{rng.randint(100, 255)}.{rng.randint(100, 255)}.{rng.randint(100, 255)}"


def _ssn(rng: Random) -> str:
    return f"{rng.randint(100, 665)}-{rng.randint(11, 99)}-{rng.randint(1000, 9899)}"


def _web_token(rng: Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": _some(rng, _ALPHANUMERIC, 20), "iat": rng.randint(10**9, 2 * 10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{_some(rng, _ALPHANUMERIC, 43)}"


def _pem(rng: Random) -> str:
    body = "\n".join(_some(rng, _ALPHANUMERIC + "+/", 64) for _ in range(3))
    kind = "RSA PRIVATE " + "KEY"
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


_SECRETS: Sequence[Callable[[Random], str]] = (
    lambda rng: "sk-" + "ant-api03-" + _some(rng, _ALPHANUMERIC, 60),
    lambda rng: "sk-" + "proj-" + _some(rng, _ALPHANUMERIC, 48),
    lambda rng: "AK" + "IA" + _some(rng, string.ascii_uppercase + string.digits, 16),
    lambda rng: "gh" + "p_" + _some(rng, _ALPHANUMERIC, 36),
    lambda rng: "gl" + "pat-" + _some(rng, _ALPHANUMERIC, 20),
    lambda rng: "xo" + "xb-" + _some(rng, string.digits, 12) + "-" + _some(rng, _ALPHANUMERIC, 24),
    lambda rng: "AI" + "za" + _some(rng, _ALPHANUMERIC, 35),
    lambda rng: "sk" + "_live_" + _some(rng, _ALPHANUMERIC, 24),
    lambda rng: "h" + "f_" + _some(rng, _ALPHANUMERIC, 34),
    lambda rng: "np" + "m_" + _some(rng, _ALPHANUMERIC, 36),
    _web_token,
    _pem,
)


def _secret(rng: Random) -> str:
    made = rng.choice(_SECRETS)(rng)
    return made if any(map(str.isdigit, made[4:])) else _secret(rng)


MAKERS: dict[str, Callable[[Random], str]] = {
    "EMAIL_ADDRESS": _email,
    "CREDIT_CARD": _card,
    "IBAN_CODE": _iban,
    "PHONE_NUMBER": _phone,
    "IP_ADDRESS": _ip,
    "US_SSN": _ssn,
    "SECRET": _secret,
}

_SENTENCES = {
    "EMAIL_ADDRESS": "Write to {} today.",
    "CREDIT_CARD": "Pay with the card {} please.",
    "IBAN_CODE": "My IBAN is {} indeed.",
    "PHONE_NUMBER": "My phone number is {} now.",
    "IP_ADDRESS": "The host has the IP address {} here.",
    "US_SSN": "The social security number is {} there.",
    "SECRET": "The API key is {} still.",
}

TERMS = ("aardwolf", "binturong", "colobus", "dunnart", "echidna", "fossa", "gerenuk", "hoatzin")


@cache
def _made(surface: str, entity: str) -> str:
    return MAKERS[entity](Random(f"canary/{surface}/{entity}"))


class Plants:
    """What is planted in one test, and where: its texts and values are to be found nowhere afterwards."""

    def __init__(self) -> None:
        self._planted: dict[tuple[str, str], Planted] = {}
        self.integers: set[int] = set()

    def __iter__(self) -> Iterator[Planted]:
        return iter(self._planted.values())

    def __len__(self) -> int:
        return len(self._planted)

    @property
    def surfaces(self) -> set[str]:
        return {planted.surface for planted in self}

    def value(self, surface: str, entity: str = "EMAIL_ADDRESS") -> str:
        """A value of an entity that is planted on a surface, the same each time."""
        return self.add(_made(surface, entity), entity, surface)

    def add(self, value: str, entity: str, surface: str) -> str:
        """Plant a value that is made elsewhere, such as another spelling."""
        self._planted[surface, entity] = Planted(value, entity, surface)
        return value

    def text(self, surface: str) -> str:
        """A text with a value of every entity."""
        return " ".join(
            sentence.format(self.value(surface, entity)) for entity, sentence in _SENTENCES.items()
        )

    def number(self, surface: str) -> int:
        """A card's number as an integer."""
        rng = Random(f"canary/{surface}/number")
        body = "4" + _some(rng, string.digits, 14)
        number = int(self.add(body + str(luhn(body)), "CREDIT_CARD", surface))
        self.integers.add(number)
        return number

    def json(self, surface: str) -> str:
        """A text with a value of every entity, as JSON."""
        said = {entity.split("_")[0].lower(): self.value(surface, entity) for entity in _SENTENCES}
        return json.dumps(said)
