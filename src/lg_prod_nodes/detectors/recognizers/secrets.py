"""API keys, tokens, private keys and passwords, by their issuers' published formats or by their context."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterator
from functools import cache

from lg_prod_nodes.detectors.recognizers.assigned import (
    SIGN_GATE,
    assigned,
    entropy,
    has_letters_and_digits,
)
from lg_prod_nodes.detectors.recognizers.checked import (
    CERTAIN,
    CheckedRecognizer,
    Span,
    before,
    matches_before,
    starts_apart,
)
from lg_prod_nodes.detectors.recognizers.digits import Digits
from lg_prod_nodes.detectors.recognizers.issuers import FORMATS, Format
from lg_prod_nodes.detectors.recognizers.passwords import (
    of_headers,
    of_options,
    of_signatures,
    of_urls,
)

_TEXT = r"A-Za-z0-9_\-"

_WEB_TOKEN = re.compile(rf"eyJ[{_TEXT}]{{8,1000}}\.[{_TEXT}]{{2,8000}}\.[{_TEXT}]{{0,2000}}")
"""A JSON Web Token, RFC 7519; the last part is empty if it is unsigned."""

_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
"""The end of a private key, RFC 7468; without it, everything that follows belongs to the key."""
_LEAST_OF_A_KEY = 12
"""The minimum number of different characters in a key; an example such as `XXXX` has fewer."""


_SIGNED_BY = re.compile(
    r"(?:[?&](?:X-Amz-Credential|AWSAccessKeyId)|HMAC-SHA256\s{1,2}Credential)(?:=|%3D)$",
    re.IGNORECASE,
)


_NEAR = 40
"""How far a word that must precede a secret may be from it."""
_SHORTEST_NEAR, _LONGEST_NEAR = 32, 96
"""The length of the shortest of these secrets, and more than that of the longest."""


@cache
def _compiled(form: Format) -> re.Pattern[str]:
    apart = rf"(?:(?<![{_TEXT}])|(?<=[^A-Za-z0-9][_-])|(?<=\\[nrt]))"
    return re.compile(rf"{apart}(?:{form.pattern})(?![A-Za-z0-9])")


@cache
def _near(form: Format, flags: int = 0) -> re.Pattern[str]:
    return re.compile(form.near, flags)


@cache
def _beginnings(form: Format) -> tuple[str, ...]:
    """The literals with which the words that precede a format's secrets begin."""
    return tuple({re.split(r"[^a-z=]", word)[0] for word in form.near.split("|")})


def _words_near(form: Format, text: str) -> Iterator[re.Match[str]]:
    if text.isascii():
        return matches_before(text.lower(), _near(form), _beginnings(form), 0)
    return _near(form, re.IGNORECASE).finditer(text)


def _of_issuer(form: Format, text: str) -> Iterator[Span]:
    if form.begins not in text:
        return
    for found in _near_words(form, text) if form.near else _compiled(form).finditer(text):
        if _is_random(found[0]) and not _signs_a_request(form, text, found.start()):
            yield Span(*found.span(), CERTAIN)


def _near_words(form: Format, text: str) -> Iterator[re.Match[str]]:
    """The matches that follow a word on its line, or begin the next one."""
    end = 0
    for word in _words_near(form, text):
        at, most = word.end(), word.end() + _NEAR + _LONGEST_NEAR
        if not any(len(token) >= _SHORTEST_NEAR for token in text[at:most].split()):
            continue
        for found in _compiled(form).finditer(text, max(at, end), most):
            between = text[at : found.start()].removesuffix("\n")
            if len(between) > _NEAR or "\n" in between:
                break
            end = found.end()
            if has_letters_and_digits(found[0]):
                yield found


def _signs_a_request(form: Format, text: str, at: int) -> bool:
    """Whether this is the name of the key that signed a URL or request; it is sent to everyone."""
    return form.issuer == "AWS" and bool(_SIGNED_BY.search(before(text, at, 32)))


def _is_random(value: str) -> bool:
    """Whether this is not an example such as `sk-xxxxxxxxxxxx` or `sk-your-api-key-goes-here`."""
    if "EXAMPLE" in value:
        return False
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
        if not end or len(set(text[found.end() : end.start()])) > _LEAST_OF_A_KEY:
            yield Span(found.start(), at, CERTAIN)


_KINDS: tuple[tuple[str, Callable[[str], Iterator[Span]]], ...] = (
    (rf"eyJ[{_TEXT}]{{8}}", _web_tokens),
    (r"-{5}BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", _blocks),
    (r"://[^ \t\r\n/]{0,200}@", of_urls),
    (r"(?:[Bb]earer|BEARER|[Aa]pi[Kk]ey|[Tt]oken|[Bb]asic)\s", of_headers),
    (r"\s-(?:u|-user)[ =]", of_options),
    (SIGN_GATE, assigned),
    (r"(?i:signature|security-token|sig)(?:=|%3[Dd])", of_signatures),
)
"""Secrets without an issuer: a gate that their texts match, and a function that finds them."""


def _gate(form: Format) -> str:
    """A pattern that matches every text with a secret of this format."""
    if not form.begins:
        return f"(?i:{form.near})"
    return re.sub(r"\{(\d+),\d+\}", r"{\1,}", form.pattern)


class Secrets(CheckedRecognizer):
    """API keys and tokens of some sixty issuers, JSON Web Tokens, private keys, and passwords where they are set."""

    ENTITY = "SECRET"
    GATES = (*map(_gate, FORMATS), *(gate for gate, _ in _KINDS))

    def find(self, text: str) -> Iterator[Span]:
        """The secrets, by their format and by the text before them."""
        return self.find_behind(range(len(self.GATES)), text, Digits(text))

    def find_behind(self, gates: Collection[int], text: str, digits: Digits) -> Iterator[Span]:
        """The secrets of the formats and kinds with these gates."""
        found = {span for gate in gates for span in _behind(gate, text)}
        end = 0
        for span in sorted(found):
            if span.start >= end:
                yield span
                end = span.end
            elif span.end > end:  # overlaps become one
                yield Span(end, span.end, span.score)
                end = span.end


def _behind(gate: int, text: str) -> Iterator[Span]:
    if gate < len(FORMATS):
        return _of_issuer(FORMATS[gate], text)
    return _KINDS[gate - len(FORMATS)][1](text)
