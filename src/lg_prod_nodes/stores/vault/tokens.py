"""Tokens: what stands in a text for a value that is in the vault, such as `[EMAIL_ADDRESS_k3f9q2ab]`."""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

TOKEN = re.compile(r"\[[A-Z0-9][A-Z0-9_]{0,63}_[a-z2-7]{8,52}\]")
"""Recognises what looks like a token; whether it is one, the vault knows."""

_OPENS = r"\\{0,8}\[|%5B|&(?:\x2391|\x23x5b|lsqb|lbrack);|\\u005b"
_CLOSES = r"\\{0,8}\]|%5D|&(?:\x2393|\x23x5d|rsqb|rbrack);|\\u005d"
_LINE = r"\\{0,8}_|%5F"
_DIGEST = "|".join(f"[a-z2-7]{{{length}}}" for length in (8, 16, 32, 52))
_SPELLED = re.compile(
    rf"""(?P<opens>{_OPENS})
    (?P<name>[A-Z0-9](?:[A-Z0-9]|{_LINE}){{0,120}})(?:{_LINE})(?P<digest>{_DIGEST})
    (?P<closes>{_CLOSES})""",
    re.VERBOSE | re.IGNORECASE,
)
"""The same, as models write it: escaped for Markdown or JSON, percent-encoded, as HTML, in the other case."""
_MAY_SPELL = re.compile(r"\[|%5B|&|\\u005b", re.IGNORECASE)
_BEGUN = r"(?:%5?|\\{1,8}(?:u0{0,2}5?)?|&[#A-Z0-9]{0,6})"
_UNFINISHED = re.compile(
    rf"(?:(?:{_OPENS})(?:[A-Z0-9_\\]|%5F){{0,180}}{_BEGUN}?|{_BEGUN})\Z",
    re.IGNORECASE,
)
"""The end of a text that may go on as a token."""

_URL = re.compile(r"[/?=:]\S{0,2000}\Z")

_SHORTEST, _LONGEST = 8, 52  # base32 characters: 40 bits, and all 256 of a digest


def token_of(entity: str, digest: bytes, level: int) -> str:
    """The token of a value, by its digest.

    Args:
        entity: What the value is.
        digest: The value's name under its subject's key.
        level: How often a shorter one turned out to be another value's; each time it doubles.
    """
    length = min(_SHORTEST << level, _LONGEST)
    text = b32encode(digest[: length * 5 // 8]).decode().lower()
    return f"[{label_of(entity)}_{text[:length]}]"


@lru_cache(maxsize=256)
def label_of(entity: str) -> str:
    """An entity's name in capital letters, digits and underscores, of at most 64."""
    return re.sub("[^A-Z0-9]+", "_", entity.upper()).strip("_")[:64] or "VALUE"


def tokens_in(text: str) -> set[str]:
    """What looks like a token in a text, however it is spelled."""
    if not _MAY_SPELL.search(text):
        return set()
    return {_token(found) for found in _SPELLED.finditer(text)}


def may_hold_token(text: str) -> bool:
    """Whether a text has anything that a token or its beginning needs."""
    return any(mark in text for mark in "[%&\\")


def whole_tokens(text: str) -> int:
    """How many characters of a text belong to no token that what follows may complete."""
    if not may_hold_token(text):
        return len(text)
    found = _UNFINISHED.search(text)
    return found.start() if found else len(text)


def restored(text: str, originals: Mapping[str, str]) -> str:
    """A text with the originals in place of their tokens; other tokens stay, and originals are not looked into."""
    if not (originals and _MAY_SPELL.search(text)):
        return text

    def original(found: re.Match[str]) -> str:
        value = originals.get(_token(found))
        if value is None:
            return found[0]
        if found["opens"].endswith("[") and found["closes"] == "]":  # backslashes of the text's own
            value = found["opens"][:-1] + value
        is_in_url = found["opens"].startswith("%") and _URL.search(
            text, max(0, found.start() - 300), found.start()
        )
        return quote(value, safe="") if is_in_url else value

    return _SPELLED.sub(original, text)


def _token(found: re.Match[str]) -> str:
    name = re.sub(_LINE, "_", found["name"], flags=re.IGNORECASE)
    return f"[{name.upper()}_{found['digest'].lower()}]"
