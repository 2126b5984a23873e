"""Passwords and keys in URLs, headers and command options, identified by where they stand."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from lg_prod_nodes.detectors.recognizers.assigned import (
    STAND_IN,
    has_letters_and_digits,
    is_stand_in,
)
from lg_prod_nodes.detectors.recognizers.checked import Span, matches_before

_BY_PLACE = 0.9

_URL_PASSWORD = re.compile(
    r"://[^\s:/@?#\"'<>\[\]{}]{0,64}:([^\s/?,;\"'<>]{1,128})@(?=[A-Za-z0-9\[_.-])"
)
_BEARER = re.compile(
    r"(?:[Bb]earer|BEARER|[Aa]pi[Kk]ey|[Tt]oken)\s{1,3}([A-Za-z0-9_.~+/=-]{16,2000})"
)
_IN_BEARER = ("earer", "EARER", "piKey", "pikey", "oken")
_BASIC = re.compile(
    r"(?:[Aa]uthorization|AUTHORIZATION)\\{0,3}[\"']?\s{0,3}[:=]\s{0,3}\\{0,3}[\"']?[Bb]asic\s{1,3}"
    r"([A-Za-z0-9+/]{6,400}={0,2})"
)
_IN_BASIC = ("uthorization", "UTHORIZATION")
_USER_OPTION = re.compile(
    r"\s(?:-u|--user)[ =][\"']?[A-Za-z0-9_.@-]{1,64}:([^\s\"'$<>{}\[\]*]{4,128})(?=[\"'\s]|$)"
)

_SIGNATURE = re.compile(
    r"(?:[?&;]|%26|SignedHeaders=[A-Za-z0-9;-]{1,200},\s{0,2})(?:(?:X-(?:Amz|Goog|Oss)-)?Signature|X-Amz-Security-Token|sig)"
    r"(?:=|%3D)([A-Za-z0-9%+/=_~.-]{20,2000})",
    re.IGNORECASE,
)
"""The signature of a URL or request. The signer's name, such as `X-Amz-Credential`, is not secret."""


def of_urls(text: str) -> Iterator[Span]:
    """The passwords in URLs."""
    if "://" not in text:
        return
    for found in _URL_PASSWORD.finditer(text):
        if not (is_stand_in(found[1]) or set(found[1]) <= set("*x")):
            yield Span(*found.span(1), _BY_PLACE)


def of_headers(text: str) -> Iterator[Span]:
    """The keys, and user names with passwords, in request headers."""
    for found in matches_before(text, _BEARER, _IN_BEARER, 1):
        if has_letters_and_digits(found[1]) and not STAND_IN.match(found[1]):
            yield Span(*found.span(1), _BY_PLACE)
    for found in matches_before(text, _BASIC, _IN_BASIC, 1):
        if _is_user_and_password(found[1]):
            yield Span(*found.span(1), _BY_PLACE)


def of_options(text: str) -> Iterator[Span]:
    """The user names with passwords in command options."""
    if " -u" in text or "--user" in text:
        for found in _USER_OPTION.finditer(text):
            yield Span(*found.span(1), _BY_PLACE)


def of_signatures(text: str) -> Iterator[Span]:
    """The signatures of URLs and requests."""
    for found in _SIGNATURE.finditer(text):
        yield Span(*found.span(1), _BY_PLACE)


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return False
