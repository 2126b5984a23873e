"""Tokens: what stands in a text for a value that is in the vault, such as `[EMAIL_ADDRESS_k3f9q2ab]`."""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Mapping
from functools import lru_cache

TOKEN = re.compile(r"\[[A-Z0-9][A-Z0-9_]{0,63}_[a-z2-7]{8,52}\]")
"""Recognises what looks like a token; whether it is one, the vault knows."""

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
    """What looks like a token in a text."""
    return set(TOKEN.findall(text)) if "[" in text else set()


def restored(text: str, originals: Mapping[str, str]) -> str:
    """A text with the originals in place of their tokens; other tokens stay, and originals are not looked into."""
    return TOKEN.sub(lambda match: originals.get(match[0], match[0]), text) if originals else text
