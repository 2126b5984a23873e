"""Keeps JSON valid where text in it was replaced: on its own, in a code fence, as JSON lines, or within prose.

A placeholder that replaces a number is quoted. A key that would duplicate another in its object is numbered.
"""

from __future__ import annotations

import re

_OPENING = re.compile(r"[{\[]")
_SPACE = re.compile(r"\s+")
_SCALAR = re.compile(r"[-\w.+]+")
_PART_OF_STRING = re.compile(r'[^"\\]+|\\.', re.DOTALL)
_STAND_IN = re.compile(r"\[[A-Z][\w:]*\]|\*+\w*|<[^<>\s\"]+>")

_BARE = re.compile(r"[^\s,:{}\[\]\"]+")
_VALID = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|NaN|-?Infinity")

_DEEPEST = 1000
"""Parsers reject JSON nested more deeply."""

_ITEM, _KEY, _COLON, _COMMA = "item", "key", "colon", "comma"
"""The next token expected inside JSON."""


class JsonText:
    """Reads a text that may contain JSON, whole or in pieces."""

    __slots__ = ("_expected", "_is_blank", "_is_escaped", "_is_new", "_key", "_levels", "_string")

    def __init__(self) -> None:
        self._is_blank = True  # only white space in this line so far
        self._levels: list[set[str] | None] = []  # the changed keys of an object; None: a list
        self._expected = _ITEM
        self._string = False
        self._is_escaped = False
        self._key: str | None = None
        self._is_new = False

    def feed(self, raw: str, changed: str) -> str:
        """Return the next piece with its JSON repaired.

        Args:
            raw: The piece before replacements.
            changed: The piece after replacements.
        """
        if not self._levels and "{" not in changed and "[" not in changed:
            if self._is_blank or "\n" in changed:
                self._read_line(changed)
            return changed
        at, parts = 0, list[str]()
        while at < len(changed):
            end, part = self._next(raw, changed, at)
            parts.append(part)
            at = end
        return "".join(parts)

    def _next(self, raw: str, text: str, at: int) -> tuple[int, str]:
        """Return where the token at a position ends, and its new text."""
        if not self._levels:
            return self._prose(text, at)
        if self._string:
            return self._in_string(raw, text, at)
        if space := _SPACE.match(text, at):
            return space.end(), space[0]
        found = self._stand_in(text, at) if self._expected == _ITEM else None
        if found and found[0] not in raw:
            self._expected = _COMMA
            return found.end(), f'"{found[0]}"'
        if (end := self._token(text, at)) is None:
            self._levels.clear()
            return at, ""
        return end, text[at:end]

    def _stand_in(self, text: str, at: int) -> re.Match[str] | None:
        """Return what stands where JSON needs quotes around it."""
        if found := _STAND_IN.match(text, at):
            return found
        is_in_object = self._levels[-1] is not None  # a bracket may be that of a stand-in
        bare = _BARE.match(text, at) if is_in_object else None
        return bare if bare and not _VALID.fullmatch(bare[0]) else None

    def _prose(self, text: str, at: int) -> tuple[int, str]:
        """Skip to a possible start of JSON: a brace, or a bracket at the beginning of a line."""
        found = _OPENING.search(text, at)
        end = found.start() if found else len(text)
        self._read_line(text[at:end])
        if found is None:
            return end, text[at:]
        if found[0] == "{" or self._is_blank:
            self._open(found[0])
        self._is_blank = False
        return end + 1, text[at : end + 1]

    def _read_line(self, text: str) -> None:
        _, newline, line = text.rpartition("\n")
        self._is_blank = bool(self._is_blank or newline) and not line.strip()

    def _open(self, mark: str) -> None:
        self._levels.append(set() if mark == "{" else None)
        self._expected = _KEY if mark == "{" else _ITEM

    def _token(self, text: str, at: int) -> int | None:
        """Return where a symbol, number or literal ends; `None` if JSON allows no such token here."""
        mark, expected = text[at], self._expected
        if mark == '"' and expected in (_KEY, _ITEM):
            self._string, self._is_new = True, False
            self._key = "" if expected == _KEY else None
        elif mark in "{[" and expected == _ITEM and len(self._levels) < _DEEPEST:
            self._open(mark)
        elif mark in "}]" and expected != _COLON and (mark == "]") == (self._levels[-1] is None):
            self._levels.pop()
            self._expected = _COMMA
        elif mark == "," and expected == _COMMA:
            self._expected = _ITEM if self._levels[-1] is None else _KEY
        elif mark == ":" and expected == _COLON:
            self._expected = _ITEM
        elif (scalar := _SCALAR.match(text, at)) and expected in (_ITEM, _COMMA):
            self._expected = _COMMA  # the next piece may continue the same number
            return scalar.end()
        else:
            return None
        return at + 1

    def _in_string(self, raw: str, text: str, at: int) -> tuple[int, str]:
        if self._is_escaped:
            self._is_escaped, end = False, at + 1
        elif text[at] == '"':
            self._string = False
            return at + 1, f'{self._numbered()}"'
        elif found := _PART_OF_STRING.match(text, at):
            end = found.end()
        else:  # the piece ends with a backslash
            self._is_escaped, end = True, at + 1
        if self._key is not None:
            self._key += text[at:end]
            self._is_new = self._is_new or text[at:end] not in raw
        return end, text[at:end]

    def _numbered(self) -> str:
        """Return the suffix of a finished string: a number if a changed key already exists in its object."""
        key, known = self._key, self._levels[-1]
        self._expected = _COMMA if key is None else _COLON
        if key is None or not self._is_new or known is None:
            return ""
        suffix, number = "", 2
        while key + suffix in known:
            suffix, number = f" ({number})", number + 1
        known.add(key + suffix)
        return suffix


def still_json(raw: str, changed: str) -> str:
    """Return a changed text whose JSON still parses as the original's did."""
    if "{" not in raw and "[" not in raw:
        return changed
    return JsonText().feed(raw, changed)
