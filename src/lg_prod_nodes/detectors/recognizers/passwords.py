"""Passwords and keys without a format of their own: where they stand tells what they are."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator

from lg_prod_nodes.detectors.recognizers.checked import Span, before, char_at, words

_BY_PLACE, _BY_NAME = 0.9, 0.7

_URL_PASSWORD = re.compile(
    r"://[^\s:/@?#\"'<>\[\]{}]{0,64}:([^\s/?,;\"'<>]{1,128})@(?=[A-Za-z0-9\[_.-])"
)
_BEARER = re.compile(
    r"(?:[Bb]earer|BEARER|[Aa]pi[Kk]ey|[Tt]oken)\s{1,3}([A-Za-z0-9_.~+/=-]{16,2000})"
)
_BASIC = re.compile(
    r"(?:[Aa]uthorization|AUTHORIZATION)\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?[Bb]asic\s{1,3}"
    r"([A-Za-z0-9+/]{6,400}={0,2})"
)
_USER_OPTION = re.compile(
    r"\s(?:-u|--user)[ =][\"']?[A-Za-z0-9_.@-]{1,64}:([^\s\"'$<>{}\[\]*]{4,128})(?=[\"'\s]|$)"
)

_STEM = re.compile(
    r"pass(?:word|wd|phrase|code|wort)?|pwd|contrase[nñ]a|mot[ _]de[ _]passe"
    r"|secret|token|jwt|credentials?|keys?",
    re.IGNORECASE,
)
"""What the names end in whose values are secrets; but for a number or `id`."""
_PASSWORDS = ("pass", "pwd", "contrase", "mot")
_OF_A_KEY = re.compile(
    r"(?:api|access|secret|private|account|auth|encryption|signing|master|license|service|client|app|bot|webhook|shared"
    r"|subscription|storage|admin|ssh|deploy)[ _.-]?$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(
    r"(?:page|next|cursor|csrf|xsrf|sync|continuation|max|min|stop|pad|eos|bos|num|total|public|primary|foreign|sort"
    r"|partition|cache|by)[ _.-]?$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"(?:[ _.-]?(?:key|id|value|[0-9]))?\\{0,3}[\"'`*]{0,2}\]?\s{0,3}"
    r"(?P<sign>:=|=>|[:=]|\bis:?(?=\s)|,(?=\s{0,2}[\"']))\s{0,3}"
    r"(?P<quote>\\{0,3}[\"'`])?(?P<value>[^\s\"'`<>\\]{4,400})",
    re.IGNORECASE,
)

_STAND_IN = re.compile(
    r"\*{3}|•{3}|[xX]{4}|\.{3}|…|^[$%@#]?[{(\[]|[{$]\{|^\$[A-Za-z_]|^%[A-Za-z_]|^@[a-z]|^/[a-z]+/|^~/|^\.{1,2}/|://"
    r"|(?<![A-Za-z0-9])(?:your|my|the|some|insert|enter|here|todo|none|null|undefined)(?![A-Za-z0-9])"
    r"|^your|^my(?=[A-Z_-])|example|sample|dummy|placeholder|change_?me|replace|redacted|hidden|masked|removed"
    r"|environ|getenv|process\.env|secrets?\.|settings\.|config\.|vault\.|self\.|os\.",
    re.IGNORECASE,
)
_PLAIN_WORDS = words(
    """
    access admin basic bearer bool boolean default email empty encrypted expired false hashed hidden incorrect int
    invalid letmein missing none null number object optional passphrase passwd password plaintext private protected
    public refresh required secret sessiontoken str string text token true undefined unknown username wrong
    """
)
_MARKS_AFTER = ".,;:?)]}"


def has_letters_and_digits(value: str) -> bool:
    """Whether it has both."""
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def entropy(value: str) -> float:
    """Bits for each character, by how often each stands in it."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def of_urls(text: str) -> Iterator[Span]:
    """Passwords in URLs."""
    if "://" not in text:
        return
    for found in _URL_PASSWORD.finditer(text):
        if not (_STAND_IN.match(found[1]) or set(found[1]) <= set("*x")):
            yield Span(*found.span(1), _BY_PLACE)


def of_headers(text: str) -> Iterator[Span]:
    """Keys, and names with passwords, in the headers of requests."""
    for found in _BEARER.finditer(text):
        if has_letters_and_digits(found[1]) and not _STAND_IN.match(found[1]):
            yield Span(*found.span(1), _BY_PLACE)
    for found in _BASIC.finditer(text):
        if _is_user_and_password(found[1]):
            yield Span(*found.span(1), _BY_PLACE)


def of_options(text: str) -> Iterator[Span]:
    """Names with passwords in the options of a command."""
    if " -u" in text or "--user" in text:
        for found in _USER_OPTION.finditer(text):
            yield Span(*found.span(1), _BY_PLACE)


def assigned(text: str) -> Iterator[Span]:
    """Values that are given to the name of a secret, such as `api_key`."""
    at = 0
    while stem := _STEM.search(text, at):
        at = stem.end()
        found = _VALUE.match(text, at)
        if found and _is_name(text, stem) and (span := _value(text, stem, found)):
            yield span
            at = span.end


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return False


def _is_name(text: str, stem: re.Match[str]) -> bool:
    ahead = before(text, stem.start(), 16)
    if stem[0].lower().startswith("key"):
        return bool(_OF_A_KEY.search(ahead)) and not _NO_SECRET.search(ahead)
    is_apart = not ahead[-1:].isalpha() or (ahead[-1].islower() and stem[0][0].isupper())
    is_compound = bool(_OF_A_KEY.search(ahead)) or ahead.lower().endswith(
        ("refresh", "session", "db")
    )
    return (is_apart or is_compound) and not _NO_SECRET.search(ahead)


def _value(text: str, stem: re.Match[str], found: re.Match[str]) -> Span | None:
    value, sign, quote = found["value"], found["sign"].lower(), (found["quote"] or "")[-1:]
    start, end = found.span("value")
    if quote and not re.compile(rf"\\{{0,3}}{quote}").match(text, end):
        return None
    if not quote:
        value = re.split(r"[,;&|]", value)[0].rstrip(_MARKS_AFTER)
        end = start + len(value)
    if (sign == "," and not quote) or (
        char_at(text, stem.start() - 1) == "[" and value.endswith("]")
    ):
        return None
    if len(value) < 6 or _STAND_IN.search(value) or value.lower() in _PLAIN_WORDS:
        return None
    if sign.startswith("is"):
        is_secret = has_letters_and_digits(value)
    elif stem[0].lower().startswith(_PASSWORDS):
        is_secret = _is_password(value, is_quoted=bool(quote))
    else:
        is_secret = _is_key(value, is_quoted=bool(quote))
    return Span(start, end, _BY_NAME) if is_secret else None


def _is_key(value: str, *, is_quoted: bool) -> bool:
    if not is_quoted and "(" in value:
        return False
    return len(value) > 7 and has_letters_and_digits(value) and entropy(value) > 2.8


def _is_password(value: str, *, is_quoted: bool) -> bool:
    """Whether someone would choose it: of a few kinds of characters, or a long word in quotes."""
    if not is_quoted and ("(" in value or re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)+", value)):
        return False  # a call, an attribute
    kinds = sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", "[0-9]", r"[^\w.-]"))
    if kinds == 1:
        return is_quoted and len(value) > 7 and value.isalpha() and entropy(value) > 2.5
    return entropy(value) > 2 and not re.fullmatch(r"[A-Za-z]?[a-z_]+", value)
