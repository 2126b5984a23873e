"""API keys, tokens, private keys and passwords: by the formats that their issuers publish, else by where they stand."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from functools import cache

from lg_prod_nodes.detectors._checked import (
    CERTAIN,
    CheckedRecognizer,
    Span,
    before,
    starts_apart,
)
from lg_prod_nodes.detectors._issuers import FORMATS, Format
from lg_prod_nodes.detectors._passwords import entropy, has_letters_and_digits, passwords

_TEXT = r"A-Za-z0-9_\-"

_WEB_TOKEN = re.compile(rf"eyJ[{_TEXT}]{{8,1000}}\.[{_TEXT}]{{2,8000}}\.[{_TEXT}]{{0,2000}}")
"""A JSON Web Token, RFC 7519; the last part is empty where it is not signed."""

_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
"""A private key, RFC 7468; without its end, all that follows."""


class SecretRecognizer(CheckedRecognizer):
    """API keys and tokens of some sixty issuers, JSON Web Tokens, private keys, and passwords where they are set."""

    ENTITY = "SECRET"
    GATES = (
        "|".join(re.sub(r"\{(\d+),\d+\}", r"{\1}", form.pattern) for form in FORMATS),
        rf"eyJ[{_TEXT}]{{8}}",
        r"-{5}BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY",
        r"://[^ \t\r\n/]{0,200}@",
        r"(?:[Bb]earer|BEARER|[Aa]pi[Kk]ey|[Tt]oken|[Bb]asic)[ \t\r\n]",
        r"[ \t\r\n]-(?:u|-user)[ =]",
        r"(?i:pass|pwd|contrase|secret|token|jwt|credential|key).{0,40}(?:[:=,]|(?i:is))",
    )

    def find(self, text: str) -> Iterator[Span]:
        """Secrets by their format, then by what stands before them."""
        found = sorted({*_blocks(text), *_of_issuers(text), *_web_tokens(text), *passwords(text)})
        end = 0
        for span in found:
            if span.start >= end:
                yield span
                end = span.end
            elif span.end > end:  # what overlaps is one
                yield Span(end, span.end, span.score)
                end = span.end


@cache
def _compiled() -> tuple[tuple[Format, re.Pattern[str], re.Pattern[str] | None], ...]:
    return tuple(
        (
            form,
            re.compile(
                rf"(?:(?<![{_TEXT}])|(?<=[^A-Za-z0-9][_-])|(?<=\\[nrt]))(?:{form.pattern})(?![A-Za-z0-9])"
            ),
            re.compile(rf"(?:{form.near})[^\n]{{0,40}}$", re.IGNORECASE) if form.near else None,
        )
        for form in FORMATS
    )


def _of_issuers(text: str) -> Iterator[Span]:
    for form, pattern, near in _compiled():
        if form.begins not in text:
            continue
        for found in pattern.finditer(text):
            if near and not (
                near.search(before(text, found.start())) and has_letters_and_digits(found[0])
            ):
                continue
            if _is_random(found[0]):
                yield Span(*found.span(), CERTAIN)


def _is_random(value: str) -> bool:
    """Whether it is no example such as `sk-xxxxxxxxxxxx` or `sk-your-api-key-goes-here`."""
    return len(set(value)) > 6 and (any(char.isdigit() for char in value) or entropy(value) > 3.5)


def _web_tokens(text: str) -> Iterator[Span]:
    if "eyJ" not in text:
        return
    for found in _WEB_TOKEN.finditer(text):
        if starts_apart(text, found.start()) and _is_header(found[0].partition(".")[0]):
            yield Span(*found.span(), CERTAIN)


def _is_header(part: str) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header)


def _blocks(text: str) -> Iterator[Span]:
    at = 0
    while found := _BLOCK.search(text, at):
        end = _BLOCK_END.search(text, found.end())
        at = end.end() if end else len(text)
        yield Span(found.start(), at, CERTAIN)
