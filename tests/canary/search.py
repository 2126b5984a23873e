"""The search for planted values in what was collected: whole or in part, however they are written."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import re2
from tests.canary.collect import Evidence
from tests.canary.values import Planted

_SEPARATORS = str.maketrans("", "", " \t\n\r\v\f().-/")
_UNICODE_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_LONGEST_BY_CHANCE = 12
"""Digits with fewer places may stand in an id by chance."""


class Search:
    """Looks for planted values: whole or in part, in any of the ways in which they may be written."""

    def __init__(self, planted: Iterable[Planted]) -> None:
        self._whole: dict[str, Planted] = {}
        self._squeezed: dict[str, Planted] = {}
        self._digits: dict[str, Planted] = {}
        for each in planted:
            for part in _parts(each.value, each.entity):
                self._whole[part] = each
            digits = re.sub(r"\D", "", each.value)
            if digits == _squeeze(each.value).lstrip("+") and len(digits) < _LONGEST_BY_CHANCE:
                self._digits[digits] = each
            self._squeezed |= dict.fromkeys(_windows(_squeeze(each.value.lower())), each)
        self._patterns = (
            (self._whole, _any_of("({})", self._whole), False),
            (self._squeezed, _any_of("({})", self._squeezed), True),
            (self._digits, _any_of(r"(?:^|\D)({})(?:\D|$)", self._digits), False),
        )

    def __call__(self, text: str) -> set[Planted]:
        """What of the planted is found in a text."""
        found: set[Planted] = set()
        for form in _forms(text):
            written = {False: form.encode(errors="replace")}
            written[True] = _squeeze(form).encode(errors="replace")
            for known, pattern, squeezed in self._patterns:
                hits = pattern.finditer(written[squeezed]) if pattern else ()
                found |= {known[hit.group(1).decode()] for hit in hits}
        return found

    def leaks(self, evidence: Evidence) -> dict[Planted, set[str]]:
        """What was found, and in which places."""
        found: dict[Planted, set[str]] = {}
        for place, text in evidence:
            for planted in self(text):
                found.setdefault(planted, set()).add(place)
        return found


def seen(planted: Iterable[Planted], evidence: Evidence) -> set[Planted]:
    """What of the planted is found at all: what was found already is not looked for again."""
    left, found = set(planted), set[Planted]()
    search = Search(left)
    for _, text in evidence:
        found |= search(text)
        if 4 * len(found & left) > len(left):
            left -= found
            search = Search(left)
    return found


def told(leaks: Mapping[Planted, Iterable[str]]) -> list[str]:
    """Leaks by surface: which entities were found where, never their values."""
    by_surface: dict[str, tuple[set[str], set[str]]] = {}
    for planted, places in leaks.items():
        entities, where = by_surface.setdefault(planted.surface, (set(), set()))
        entities.add(planted.entity)
        where.update(places)
    return [
        f"{surface} [{', '.join(sorted(entities))}] in {', '.join(sorted(where))}"
        for surface, (entities, where) in sorted(by_surface.items())
    ]


def _parts(value: str, entity: str) -> Iterator[str]:
    """A value and its telling parts, since a part of it is a leak as well."""
    low = value.lower()
    if entity == "BLOCKED":
        yield low[:-4]  # of a phrase that is cut, most is too much
    yield from (line for line in low.splitlines() if not line.startswith("-----"))
    if "@" in low:
        local, _, domain = low.partition("@")
        yield from (local, domain.partition(".")[0])
    elif len(low) >= 2 * _LONGEST_BY_CHANCE and " " not in low:
        yield low[-_LONGEST_BY_CHANCE:]


def _windows(squeezed: str) -> Iterator[str]:
    digits = sum(map(str.isdigit, squeezed))
    if len(squeezed) >= _LONGEST_BY_CHANCE and 2 * digits > len(squeezed) and ":" not in squeezed:
        yield squeezed[:_LONGEST_BY_CHANCE]
        yield squeezed[-_LONGEST_BY_CHANCE:]


def _any_of(form: str, needles: Iterable[str]) -> Any:
    options = re2.Options()
    options.max_mem = 64 << 20
    alternatives = "|".join(map(re2.escape, sorted(needles, key=len, reverse=True)))
    return re2.compile(form.format(alternatives).encode(), options) if alternatives else None


def _forms(text: str) -> set[str]:
    """A text as it is, and without what may hide a value in it: escapes, encodings, invisible characters."""
    forms = {text.lower()}
    for _ in range(2):
        if "\\" in text:
            text = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
            text = text.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
            forms.add(text.lower())
    plain = text
    if "%" in plain:
        plain = unquote(plain)
    if "&" in plain:
        plain = html.unescape(plain)
    if not plain.isascii():
        folded = unicodedata.normalize("NFKC", plain)
        hidden = {char for char in set(folded) if unicodedata.category(char) == "Cf"}
        plain = folded.translate(dict.fromkeys(map(ord, hidden)))
    return forms | {plain.lower()}


def _squeeze(text: str) -> str:
    return text.translate(_SEPARATORS)
