"""Texts of which it is known what they hold: generated from a seed, with the exact place of every value.

Chats, tickets, logs, code, Markdown, tables and tool calls in JSON, also nested, are filled with values whose checksums
are right, and with what only looks like them: order numbers, timestamps, versions, file names, attributes, hashes.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import phonenumbers
from faker import Faker

Make = Callable[[random.Random], str]

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
LETTERS, HEX = string.ascii_letters + DIGITS, "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Label:
    """Where a value stands, and what it is."""

    start: int
    end: int
    entity: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and all that it holds."""

    text: str
    labels: tuple[Label, ...]
    kind: str


def labelled(number: int, seed: int = 0) -> Iterator[Labelled]:
    """So many texts."""
    rng = random.Random(seed)
    kinds = list(TEMPLATES)
    for at in range(number):
        kind = kinds[at % len(kinds)]
        yield filled(rng.choice(TEMPLATES[kind]), kind, rng)


def filled(template: str, kind: str, rng: random.Random) -> Labelled:
    """A template with a value in each of its slots."""
    parts, labels, length, at = list[str](), list[Label](), 0, 0
    for slot in re.finditer(r"<(\w+)>", template):
        parts.append(template[at : slot.start()])
        length += len(parts[-1])
        at = slot.end()
        value = MAKERS[slot[1]](rng)
        for _ in range(_depth(kind)):
            value = json.dumps(value, ensure_ascii=False)[1:-1]
        parts.append(value)
        if slot[1].isupper():
            labels.append(Label(length, length + len(value), entity_of(slot[1])))
        length += len(value)
    parts.append(template[at:])
    return Labelled("".join(parts), tuple(labels), kind)


def entity_of(slot: str) -> str:
    """The entity of a slot."""
    return NEEDY[slot][0] if slot in NEEDY else slot


def _depth(kind: str) -> int:
    return {"json": 1, "nested json": 2}.get(kind, 0)


def some(rng: random.Random, alphabet: str, length: int) -> str:
    """Random characters, among them at least one digit where there may be one."""
    made = rng.choices(alphabet, k=length)
    if not set(DIGITS).isdisjoint(alphabet) and set(DIGITS).isdisjoint(made):
        made[rng.randrange(length)] = rng.choice("23456789")
    return "".join(made)


def words(table: str) -> list[str]:
    """The words of a table that is written as a text."""
    return table.split()


def grouped(digits: str, sizes: Sequence[int], mark: str) -> str:
    """Digits in groups."""
    parts, at = list[str](), 0
    for size in sizes:
        parts.append(digits[at : at + size])
        at += size
    return mark.join(filter(None, [*parts, digits[at:]]))


# Cards

BRANDS: Sequence[tuple[tuple[str, ...], tuple[int, ...]]] = (
    (("4",), (16, 16, 16, 16, 13)),
    (("51", "52", "53", "54", "55"), (16,)),
    (("2221", "2300", "2450", "2699", "2720"), (16,)),
    (("34", "37"), (15,)),
    (("6011", "644", "649", "65"), (16,)),
    (("300", "305", "36", "38"), (14,)),
    (("3528", "3545", "3589"), (16,)),
    (("62",), (16, 19)),
    (("5018", "5038", "6304", "6759", "6763"), (12, 16)),
)


def check_digit(digits: str) -> str:
    """What makes Luhn's sum right."""
    total = 0
    for at, char in enumerate(reversed(digits)):
        value = int(char) * (2 if at % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card(rng: random.Random) -> str:
    prefixes, lengths = rng.choice(BRANDS)
    length = rng.choice(lengths)
    prefix = rng.choice(prefixes)
    digits = prefix + "".join(rng.choices(DIGITS, k=length - len(prefix) - 1))
    digits += check_digit(digits)
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(length, (4, 4, 4, 4))
    return rng.choice([digits, grouped(digits, sizes, " "), grouped(digits, sizes, "-")])


# Accounts

IBANS = {
    "DE": "n18",
    "GB": "a4n14",
    "FR": "n10c11n2",
    "NL": "a4n10",
    "ES": "n20",
    "IT": "a1n10c12",
    "BE": "n12",
    "CH": "n5c12",
    "AT": "n16",
    "PL": "n24",
    "SE": "n20",
    "NO": "n11",
    "DK": "n14",
    "FI": "n14",
    "IE": "a4n14",
    "PT": "n21",
    "CZ": "n20",
    "GR": "n7c16",
    "RO": "a4c16",
    "HU": "n24",
    "TR": "n5n1c16",
    "SA": "n2c18",
    "AE": "n3n16",
    "BR": "n8n5n10a1c1",
    "MT": "a4n5c18",
    "LU": "n3c13",
    "HR": "n17",
    "BG": "a4n4n2c8",
    "IL": "n3n3n13",
    "UA": "n6c19",
}


def iban(rng: random.Random) -> str:
    country, form = rng.choice(list(IBANS.items()))
    alphabets = {"n": DIGITS, "a": UPPER, "c": UPPER + DIGITS}
    account = "".join(
        "".join(rng.choices(alphabets[kind], k=int(size)))
        for kind, size in re.findall(r"([nac])(\d+)", form)
    )
    rest = int("".join(str(int(char, 36)) for char in f"{account}{country}00")) % 97
    whole = f"{country}{98 - rest:02}{account}"
    fours = " ".join(re.findall(".{1,4}", whole))
    return rng.choice([whole, whole, fours, fours, whole.lower(), fours.replace(" ", "-")])


def ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def bare_ssn(rng: random.Random) -> str:
    return ssn(rng).replace("-", rng.choice(["", " "]))


# Telephones

COUNTRIES = words(
    "US US US US CA GB GB DE FR ES IT NL BE CH AT SE NO DK FI PL CZ PT GR IE IN IN BR MX AU NZ JP KR CN SG ZA IL TR UA"
    " RU AE"
)


def number_of(rng: random.Random, region: str) -> phonenumbers.PhoneNumber:
    """A valid number of a region."""
    kinds = [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE]
    while True:
        example = phonenumbers.example_number_for_type(region, rng.choice(kinds))
        if example is None:
            continue
        digits = str(example.national_number)
        kept = rng.randint(3, 5)
        for _ in range(30):
            changed = int(digits[:kept] + "".join(rng.choices(DIGITS, k=len(digits) - kept)))
            number = phonenumbers.PhoneNumber(
                country_code=example.country_code,
                national_number=changed,
                italian_leading_zero=example.italian_leading_zero,
            )
            if phonenumbers.is_valid_number_for_region(number, region):
                return number


def international(rng: random.Random) -> str:
    number = number_of(rng, rng.choice(COUNTRIES))
    form = phonenumbers.PhoneNumberFormat
    written = phonenumbers.format_number(
        number, rng.choice([form.INTERNATIONAL, form.INTERNATIONAL, form.E164])
    )
    return rng.choice(
        [
            written,
            written,
            written.replace(" ", "-"),
            written.replace(" ", "."),
            written.replace("+", "00"),
        ]
    )


def american(rng: random.Random) -> str:
    digits = str(number_of(rng, "US").national_number)
    a, b, c = digits[:3], digits[3:6], digits[6:]
    tail = rng.choice(["", "", "", f" x{rng.randint(10, 9999)}", f" ext. {rng.randint(10, 999)}"])
    forms = (
        f"({a}) {b}-{c}",
        f"{a}-{b}-{c}",
        f"{a}.{b}.{c}",
        f"({a}){b}-{c}",
        f"1-{a}-{b}-{c}",
        f"{a} {b} {c}",
    )
    return rng.choice(forms) + tail


def national(rng: random.Random) -> str:
    number = number_of(rng, rng.choice(COUNTRIES))
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return rng.choice([written, written, re.sub(r"\D", "", written)])


def phone(rng: random.Random) -> str:
    return rng.choice([international, american])(rng)


def any_phone(rng: random.Random) -> str:
    return rng.choice([international, american, national, national])(rng)


# Addresses of the network

NEW_TLDS = words(
    "com com com org net io dev app ai co xyz tech cloud online de fr nl es it co.uk com.au co.jp eu ch se"
)


@cache
def fakers() -> list[Faker]:
    made = [Faker(locale) for locale in ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES")]
    for faker in made:
        faker.seed_instance(1)
    return made


@cache
def names() -> list[tuple[str, str]]:
    """Names of people in plain letters."""
    pairs = [(f.first_name(), f.last_name()) for f in fakers() for _ in range(60)]
    return [(a.lower(), b.lower()) for a, b in pairs if (a + b).isascii() and (a + b).isalpha()]


def host(rng: random.Random) -> str:
    word = rng.choice(names())[1] + rng.choice(["", "", "-labs", "hq", "24", "shop", "-it"])
    sub = rng.choice(["", "", "", "www.", "api.", "app.", "docs.", "mail.", "eu-west-1."])
    return f"{sub}{word}.{rng.choice(NEW_TLDS)}"


def email(rng: random.Random) -> str:
    first, last = rng.choice(names())
    local = rng.choice(
        [
            first,
            f"{first}.{last}",
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{first}+{last}",
            f"{last}{rng.randint(1, 99)}",
            f"o'{last}",
            f"{first}-{last}",
            f"{first}.{last}+tag",
            first.title(),
        ]
    )
    domain = rng.choice(
        [
            host(rng).removeprefix("www."),
            "gmail.com",
            "example.com",
            "outlook.com",
            "mail.example.co.uk",
        ]
    )
    return f"{local}@{rng.choice([domain] * 12 + ['corp.internal', 'localhost', 'mx01.lan'])}"


def path(rng: random.Random) -> str:
    parts = rng.choices(
        words(
            "users orders api v1 docs index.html a_b img.png 42 search guide intro-to-x report.pdf"
        ),
        k=3,
    )
    made = "/" + "/".join(parts[: rng.randint(0, 3)])
    return made + rng.choice(
        ["", "", "", "/", "?q=1&page=2", "#top", "?id=a%20b", "?ref=x.y", "/(v2)"]
    )


def url(rng: random.Random) -> str:
    scheme = rng.choice(["https", "https", "https", "http", "ftp", "wss"])
    authority = rng.choice(
        [host(rng)] * 12
        + [
            f"localhost:{rng.choice([3000, 8080, 5173])}",
            "backend:8000",
            f"{host(rng)}:8443",
            "[::1]:9000",
        ]
    )
    whole = f"{scheme}://{authority}"
    bare = host(rng)
    return rng.choice(
        [whole + path(rng)] * 4
        + [whole, f"www.{bare.removeprefix('www.')}{path(rng)}".rstrip("/"), f"{bare}{path(rng)}"]
        + [f"{rng.choice(names())[1]}.{rng.choice(['com', 'org', 'io', 'de', 'co.uk'])}"]
    ).replace("/(v2)", "/wiki/X_(v2)")


def ipv4(rng: random.Random) -> str:
    made = rng.choice(
        [
            f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"172.{rng.randrange(16, 32)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"{rng.choice([3, 52, 81, 193, 203])}."
            + ".".join(str(rng.randrange(1, 255)) for _ in range(3)),
            f"{rng.choice([3, 52, 81, 193, 203])}."
            + ".".join(str(rng.randrange(1, 255)) for _ in range(3)),
            rng.choice(["8.8.8.8", "1.1.1.1"]),
        ]
    )
    return made + rng.choice(["", "", "", "", "", f"/{rng.choice([8, 16, 24, 32])}"])


def ipv6(rng: random.Random) -> str:
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(8)]
    groups[0] = rng.choice(["2001", "2a02", "fe80", "fd12"])
    return rng.choice(
        [
            ":".join(groups),
            f"{groups[0]}:{groups[1]}::{groups[2]}",
            f"{groups[0]}::{groups[3]}:{groups[4]}",
            f"fe80::{groups[5]}:{rng.randrange(10, 99)}%eth0",
            f"{groups[0]}:{groups[1]}::/32",
            f"::ffff:10.0.{rng.randrange(9)}.7",
        ]
    )


def ip(rng: random.Random) -> str:
    return rng.choice([ipv4, ipv4, ipv4, ipv6])(rng)


def mac(rng: random.Random) -> str:
    mark = rng.choice(":-")
    return mark.join(some(rng, HEX, 2) for _ in range(6)).upper()


# Secrets. Prefixes are written in two parts, so that this file holds nothing that a scanner would take for a key.

KEYS: Sequence[tuple[str, str, int, str]] = (
    ("sk" + "-proj-", LETTERS, 120, ""),
    ("sk" + "-", LETTERS, 48, ""),
    ("sk" + "-ant-api03-", LETTERS, 93, "AA"),
    ("AK" + "IA", UPPER + "234567", 16, ""),
    ("AS" + "IA", UPPER + "234567", 16, ""),
    ("AI" + "za", LETTERS, 35, ""),
    ("gh" + "p_", LETTERS, 36, ""),
    ("gh" + "o_", LETTERS, 36, ""),
    ("gh" + "s_", LETTERS, 36, ""),
    ("github" + "_pat_", LETTERS, 82, ""),
    ("gl" + "pat-", LETTERS, 20, ""),
    ("xo" + "xb-1234567890-1234567890-", LETTERS, 24, ""),
    ("xo" + "xp-1234567890-1234567890-1234567890-", HEX, 32, ""),
    ("sk" + "_live_", LETTERS, 24, ""),
    ("rk" + "_live_", LETTERS, 24, ""),
    ("sk" + "_test_", LETTERS, 24, ""),
    ("wh" + "sec_", LETTERS, 32, ""),
    ("S" + "K", HEX, 32, ""),
    ("npm" + "_", LETTERS, 36, ""),
    ("pypi" + "-AgEIcHlwaS5vcmc", LETTERS, 100, ""),
    ("hf" + "_", LETTERS, 34, ""),
    ("da" + "pi", HEX, 32, ""),
    ("dop" + "_v1_", HEX, 64, ""),
    ("shp" + "at_", HEX, 32, ""),
    ("key" + "-", HEX, 32, ""),
    ("gs" + "k_", LETTERS, 52, ""),
    ("lsv2" + "_pt_", HEX, 32, "_0a1b2c3d4e"),
    ("hv" + "s.", LETTERS, 95, ""),
    ("NRAK" + "-", UPPER + DIGITS, 27, ""),
    ("gl" + "sa_", LETTERS, 32, "_1a2b3c4d"),
    ("lin" + "_api_", LETTERS, 40, ""),
    ("GOC" + "SPX-", LETTERS, 28, ""),
    ("dck" + "r_pat_", LETTERS, 27, ""),
)


def jwt(rng: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    header = part({"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"})
    return f"{header}.{part({'sub': str(rng.randrange(10**9)), 'name': 'x'})}.{some(rng, LETTERS + '-_', 43)}"


def key(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return rng.choice([jwt, sendgrid, telegram])(rng)
    prefix, alphabet, length, tail = rng.choice(KEYS)
    return f"{prefix}{some(rng, alphabet, length)}{tail}"


def sendgrid(rng: random.Random) -> str:
    return "SG" + f".{some(rng, LETTERS, 22)}.{some(rng, LETTERS, 43)}"


def telegram(rng: random.Random) -> str:
    return f"{rng.randrange(10**9, 10**10)}:A" + f"A{some(rng, LETTERS, 33)}"


def private_key(rng: random.Random) -> str:
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH "])
    body = "\n".join(some(rng, LETTERS + "+/", 64) for _ in range(6))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def password(rng: random.Random) -> str:
    word = rng.choice(names())[1].title()
    return rng.choice(
        [
            f"{word}{rng.randrange(10, 9999)}!",
            some(rng, LETTERS, 14),
            f"{word}_{some(rng, DIGITS, 3)}#x",
            some(rng, HEX, 24),
        ]
    )


def aws_secret(rng: random.Random) -> str:
    return some(rng, LETTERS + "+/", 40)


# What only looks like one


def order(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.randrange(10**9, 10**10)}",
            f"{rng.randint(111, 199)}-{some(rng, DIGITS, 7)}-{some(rng, DIGITS, 7)}",
            f"ORD-{rng.randrange(10**4, 10**5)}-{rng.randrange(1000, 9999)}",
            f"#{rng.randrange(10**5, 10**8)}",
            some(rng, DIGITS, 8),
        ]
    )


def timestamp(rng: random.Random) -> str:
    seconds = rng.randrange(1_500_000_000, 1_790_000_000)
    return rng.choice(
        [
            str(seconds),
            str(seconds * 1000 + 123),
            "2024-05-17T08:30:00Z",
            "20240517083000",
            f"{seconds}.123456",
        ]
    )


def version(rng: random.Random) -> str:
    a, b, c, d = (rng.randrange(30) for _ in range(4))
    return rng.choice(
        [
            f"v{a}.{b}.{c}",
            f"{a}.{b}.{c}",
            f"v{a}.{b}.{c}.{d}",
            f"{a}.{b}.{c}-rc.{d}",
            f"{a}.{b}.{c}.{d}-beta",
        ]
    )


def long_version(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(60)) for _ in range(4))


def file(rng: random.Random) -> str:
    stem = rng.choice(
        words("main index README test_api report deploy utils lib config notes archive photo model")
    )
    ending = rng.choice(
        words(
            "py rs sh md pl so zip js ts json toml yaml java cc ml ps mov ai app properties txt tar.gz"
        )
    )
    return f"{rng.choice(['', '', 'src/', './', 'tests/unit/'])}{stem}.{ending}"


def attribute(rng: random.Random) -> str:
    left = rng.choice(
        words(
            "response self user order config request df os event node item this data settings account logger"
        )
    )
    right = rng.choice(
        words(
            "status_code name id info to email link host date store live city page now is it in team run app dev zip"
        )
    )
    return f"{left}.{right}" + rng.choice(["", "", "", "()", ".value", "[0]"])


def package(rng: random.Random) -> str:
    return rng.choice(
        [
            "com.example.app",
            "org.apache.commons.io",
            "java.io.File",
            "System.Net.Http",
            "std::vector",
            "a::b",
            "ASP.NET",
            "node.js",
            "Socket.IO",
            "np.random.rand",
            "os.path.join",
            "torch.nn.Linear",
            "@types/node",
            "lodash@4.17.21",
        ]
    )


def digest(rng: random.Random) -> str:
    return some(rng, HEX, rng.choice([7, 32, 40, 64]))


def identifier(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def price(rng: random.Random) -> str:
    return rng.choice(
        [
            f"${rng.randrange(10, 9999)}.99",
            f"€{rng.randrange(1, 99)}.{rng.randrange(100, 999)},50",
            f"{rng.randrange(10, 99)} {rng.randrange(100, 999)} 000",
        ]
    )


def date(rng: random.Random) -> str:
    return rng.choice(
        [
            "2024-01-15",
            "15.01.2024",
            "01/15/2024",
            "15-01-2024 10:30:45",
            "2024/01/15 08:00",
            "Jan 15, 2024 10:30:00",
        ]
    )


def measure(rng: random.Random) -> str:
    return rng.choice(
        [
            "1,234,567",
            "3.14159265",
            "40.7128, -74.0060",
            "51.507351, -0.127758",
            "1024x768",
            "10:30:45.123",
            "192 kB",
            "12/34/56",
            "978-3-16-148410-0",
            "0-306-40615-2",
            "1/1/1",
            "5 + 1234567890 = 1234567895",
            "9400 1000 0000 0000 0000 00",
            "1.3.6.1.4.1",
            "127.0.0.1",
            "::1",
            "16:27:ac:00:11:22:33:44:55:66:77:88:99:aa:bb:cc",
            "10-20-30-40",
        ]
    )


def bad_card(rng: random.Random) -> str:
    digits = "4" + some(rng, DIGITS, 14)
    wrong = str((int(check_digit(digits)) + rng.randint(1, 9)) % 10)
    return rng.choice([digits + wrong, grouped(digits + wrong, (4, 4, 4, 4), " ")])


def tracking(rng: random.Random) -> str:
    return rng.choice(
        [
            f"1Z{some(rng, UPPER + DIGITS, 16)}",
            some(rng, DIGITS, 12).replace("5", "9", 1),
            f"JD{some(rng, DIGITS, 16)}",
            f"RR{some(rng, DIGITS, 9)}DE",
        ]
    )


def name(rng: random.Random) -> str:
    return rng.choice(names())[0].title()


MAKERS: dict[str, Make] = {
    "EMAIL_ADDRESS": email,
    "CREDIT_CARD": card,
    "IBAN_CODE": iban,
    "US_SSN": ssn,
    "PHONE_NUMBER": phone,
    "URL": url,
    "IP_ADDRESS": ip,
    "MAC_ADDRESS": mac,
    "SECRET": key,
    "order": order,
    "time": timestamp,
    "version": version,
    "four": long_version,
    "file": file,
    "attribute": attribute,
    "package": package,
    "digest": digest,
    "uuid": identifier,
    "price": price,
    "date": date,
    "measure": measure,
    "badcard": bad_card,
    "tracking": tracking,
    "name": name,
}

# Values that are what they are only by the words of their template.
NEEDY: dict[str, tuple[str, Make]] = {
    "PHONE_SAID": ("PHONE_NUMBER", any_phone),
    "SSN_SAID": ("US_SSN", bare_ssn),
    "PASSWORD": ("SECRET", password),
    "AWS_SECRET": ("SECRET", aws_secret),
    "PRIVATE_KEY": ("SECRET", private_key),
}
MAKERS.update({slot: make for slot, (_, make) in NEEDY.items()})

TEMPLATES: dict[str, Sequence[str]] = {
    "chat": (
        "hey, can you email me at <EMAIL_ADDRESS>? thanks!",
        "Hi <name>, my number is <PHONE_SAID>, call me after 5pm.",
        "Please call <PHONE_SAID> or write to <EMAIL_ADDRESS>.",
        "u can reach me on <PHONE_SAID> or whatsapp <PHONE_SAID>",
        "I paid with <CREDIT_CARD> but the charge of <price> shows up twice, order <order>",
        "card <CREDIT_CARD> exp 12/27 cvv 123",
        "My SSN is <SSN_SAID> and I was born on <date>.",
        "ssn <US_SSN>, dob <date>",
        "wire it to <IBAN_CODE> please. The reference is <order>.",
        "IBAN: <IBAN_CODE>, BIC: DEUTDEFF",
        "have you seen <URL>? it says the opposite",
        "Check out (<URL>), <URL> and <URL>.",
        "It's all on <URL>!!",
        "ping <IP_ADDRESS> works but <IP_ADDRESS> does not",
        "my home ip is <IP_ADDRESS>, is that bad?",
        "my password is <PASSWORD> can you log in for me",
        "the key is <SECRET>, don't share it",
        "Please use <SECRET> for the demo and delete it afterwards.",
        "I upgraded to <version> and now <file> fails with error 500 at <time>",
        "my password is wrong and the token expired, please send a new secret link",
        "Order <order> was placed on <date>, tracking <tracking>, total <price>.",
        "see chapter 1.2.3.4 and section 4.1.2.3, then version <four>",
        "why does <attribute> return None in <file>?",
        "Invoice number <order> of <date> over <price> is still open",
        "The room costs <price>, ISBN <measure>, ratio 16:9, 50% off",
        "is <badcard> a valid number? the checksum looks off",
        "ok.so what about <file>? i think <attribute> is None",
        "No worries <name>, see you at 10:30 on <date>, room 212 555 seats",
        "Bonjour, mon téléphone: <PHONE_SAID>, mail <EMAIL_ADDRESS>, merci",
        "Hallo, meine Telefonnummer ist <PHONE_NUMBER>, IBAN <IBAN_CODE>. Danke!",
    ),
    "ticket": (
        "Customer: <name>\nEmail: <EMAIL_ADDRESS>\nPhone: <PHONE_SAID>\nOrder: <order>\nIssue: cannot open <URL>",
        "From: <EMAIL_ADDRESS>\nTo: <EMAIL_ADDRESS>\nSubject: Re: order <order>\n\nTracking <tracking> is stuck.",
        "Account <IBAN_CODE> was debited <price> twice. Case <order>. Contact: <PHONE_SAID>",
        "Device <MAC_ADDRESS> got <IP_ADDRESS> from DHCP, firmware version <four>, serial <order>",
        "Steps: 1. go to <URL> 2. enter <CREDIT_CARD> 3. see error. Build <version>, commit <digest>",
        "Reporter: <name> <<EMAIL_ADDRESS>>\nRef: <uuid>\nSeen at: <time>\nAffected: <file>",
        "Fax: <PHONE_SAID> / Tel.: <PHONE_SAID> / Mobile: <PHONE_NUMBER>",
        "Ticket <order>: part no. <order>, invoice <order>, quote <measure>, due <date>",
        "Employee <name>, social security number <SSN_SAID>, account <IBAN_CODE>",
    ),
    "log": (
        '<IP_ADDRESS> - - [17/May/2024:08:30:00 +0000] "GET /users/42 HTTP/1.1" 200 1234 "<URL>" "Chrome/98.0.47.58"',
        "2024-05-17T08:30:00.123Z INFO request_id=<uuid> user=<EMAIL_ADDRESS> ip=<IP_ADDRESS> took 12ms",
        "<time> ERROR <attribute> failed in <file>:42 (trace <digest>)",
        "WARN sshd[1234]: Failed password for root from <IP_ADDRESS> port 52222 ssh2",
        "connect to <IP_ADDRESS> timed out after 30000 ms, retry 3/5",
        "level=info ts=<time> caller=<file>:101 msg=done order_id=<order> duration=0.123456789",
        "Authorization: Bearer <SECRET>",
        "export OPENAI_API_KEY=<SECRET>",
        "DB_PASSWORD=<PASSWORD>\nDB_HOST=db.internal\nDB_PORT=5432",
        "sms sent to <PHONE_NUMBER> status=delivered sid=<digest>",
        "user <uuid> bought <order> for <price> at <time> from build <version>",
        "dpkg: libfoo <four>-1ubuntu1 installed, nginx/<version> started, pid 12345",
        "eth0: <MAC_ADDRESS> inet6 <IP_ADDRESS> scope link",
        "allocated 1234567890 bytes in 17 blocks, epoch <time>, offset 9876543210",
        "charge failed for card <CREDIT_CARD> txn <uuid>",
    ),
    "code": (
        "from <package> import x\nresult = <attribute>\nprint(<attribute>, '<file>')",
        'requests.get("<URL>", headers={"Authorization": "Bearer <SECRET>"})',
        'client = Client(api_key="<SECRET>")  # rotate',
        "engine = create_engine('postgresql://app:<PASSWORD>@db/app')",
        'if ip == "<IP_ADDRESS>":\n    block(<attribute>)',
        "pip install foo==1.2.3.4 bar>=<version> && python <file>",
        "git checkout <digest> && git diff HEAD~2 -- <file>",
        'password = os.environ["DB_PASSWORD"]\ntoken = get_token(user.id)\nsecret = settings.SECRET_KEY',
        "def login(password: str, token: str | None = None, api_key: str = 'YOUR-API-KEY') -> bool: ...",
        "const x = <attribute>; const y = arr[1::2]; // see <file>",
        'aws_secret_access_key = "<AWS_SECRET>"',
        '#define VERSION "<version>"\nstd::map m; a::b n; x = 0.4111111111111111;',
        "curl <URL> -o <file>",
        "send_mail(to=\"<EMAIL_ADDRESS>\", cc=['<EMAIL_ADDRESS>'])",
        'key = """<PRIVATE_KEY>"""',
        "timeout = 1234567890  # ms\nORDER_ID = 2125550142\nMAX_TOKENS = 4096",
    ),
    "markdown": (
        "# Release <version>\n\n- fixes <file> ([docs](<URL>))\n- see `<attribute>` and **<URL>**",
        "| name | mail | phone |\n|---|---|---|\n| <name> | <EMAIL_ADDRESS> | <PHONE_NUMBER> |",
        "Contact us: <<EMAIL_ADDRESS>> · <PHONE_NUMBER> · <URL>",
        "```\n$ ssh root@<IP_ADDRESS>\n$ cat <file>\n```",
        "1.2.3.4 Introduction\n\n1.2.3.5 Scope of version <four>\n\nsee <package> in `<file>`",
        "> **Note**: `<SECRET>` is revoked, use your own key",
        "* IBAN `<IBAN_CODE>`\n* card *<CREDIT_CARD>*\n* id `<uuid>`",
    ),
    "table": (
        "id,name,email,ip\n1,<name>,<EMAIL_ADDRESS>,<IP_ADDRESS>\n2,<name>,<EMAIL_ADDRESS>,<IP_ADDRESS>",
        "order,date,total\n<order>,<date>,12.50\n<order>,<date>,1299.00",
        "<name>;<EMAIL_ADDRESS>;<PHONE_NUMBER>;<IBAN_CODE>;<date>",
        "<uuid>,<URL>,<EMAIL_ADDRESS>,<time>",
        "card,amount\n<CREDIT_CARD>,12.50\n<CREDIT_CARD>,8.99",
        "<name>\t<US_SSN>\t<PHONE_NUMBER>\t<version>",
    ),
    "json": (
        r'{"to": "<EMAIL_ADDRESS>", "subject": "Order <order>", "body": "Hi <name>,\n\nsee <URL>.\n<name>"}',
        r'{"name": "<name>", "phone": "<PHONE_SAID>", "email": "<EMAIL_ADDRESS>", "ssn": "<SSN_SAID>"}',
        r'{"order_id": "<order>", "created_at": "<time>", "version": "<four>", "file": "<file>", "id": "<uuid>"}',
        r'{"card_number": "<CREDIT_CARD>", "iban": "<IBAN_CODE>", "amount": 1299, "currency": "EUR"}',
        r'{"client_ip": "<IP_ADDRESS>", "user_agent": "Chrome/120.0.0.0", "url": "<URL>", "status": 200}',
        r'{"query": "select * from t where t.name = 1 and o.id = <time>", "path": "<file>", "hash": "<digest>"}',
        r'{"api_key": "<SECRET>", "password": "<PASSWORD>", "model": "gpt-4.1", "temperature": 0.7}',
        r'{"urls": ["<URL>", "<URL>"], "note": "call <PHONE_SAID>\nor mail\n<EMAIL_ADDRESS>"}',
        r'{"mobile": "<PHONE_SAID>", "fax": "<PHONE_SAID>", "tracking": "<tracking>", "timestamp": 1715934600}',
        r'{"pem": "<PRIVATE_KEY>", "host": "<IP_ADDRESS>", "port": 22}',
        r'{"code": "import os\nprint(<attribute>)", "token": "<SECRET>", "max_tokens": 1000000}',
    ),
    "nested json": (
        r'{"id": "call_<digest>", "function": {"name": "send", "arguments": "{\"to\": \"<EMAIL_ADDRESS>\"}"}}',
        r'{"arguments": "{\"phone\": \"<PHONE_SAID>\", \"url\": \"<URL>\", \"order\": \"<order>\"}"}',
        r'{"arguments": "{\"password\": \"<PASSWORD>\", \"ip\": \"<IP_ADDRESS>\", \"v\": \"<version>\"}"}',
        r'{"arguments": "{\"card\": \"<CREDIT_CARD>\", \"iban\": \"<IBAN_CODE>\", \"ts\": <time>}"}',
        r'{"arguments": "{\"code\": \"x = <attribute>\\nopen(<file>)\"}"}',
    ),
}
"""What the values stand in, by kind. Names in capitals are labelled."""
