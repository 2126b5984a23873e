"""Texts as a person reads them, to find what other spellings hide: `ann%40example.com`, `ann&#64;example.com`.

Invisible characters are dropped, lookalikes become ASCII, and URL, HTML and JSON escapes are resolved. Each character
maps to its position in the original; one that was escaped maps to the whole escape.
"""

from __future__ import annotations

import html
import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from lg_prod_nodes.content.invisible import INVISIBLE
from lg_prod_nodes.detectors.reading.lookalikes import LOOKALIKES

_HEX = "[0-9A-Fa-f]"
_PERCENT = "%(?:25)*"
_NEXT_BYTE = f"{_PERCENT}[89ABab]{_HEX}"
_ESCAPE: Final = re.compile(
    rf"""(?P<json> (?<!\\)\\++ (?: u[Dd][89ABab]{_HEX}{{2}} \\++ u[Dd][C-Fc-f]{_HEX}{{2}} | u{_HEX}{{4}} | [nrt"'/] ) )
    | (?P<url> {_PERCENT} (?: [0-7]{_HEX} | [CDcd]{_HEX}{_NEXT_BYTE} | [Ee]{_HEX}(?:{_NEXT_BYTE}){{2}}
        | [Ff][0-7](?:{_NEXT_BYTE}){{3}} ) )
    | & (?:amp;)* (?P<html> \#[0-9]{{1,7}};? | \#[Xx]{_HEX}{{1,6}};? | [A-Za-z][A-Za-z0-9]{{1,30}}; )
    | (?P<run> [^\x00-\x7F]+ )""",
    re.VERBOSE,
)
_JSON: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "/": "/"}
_MARK: Final = re.compile("[%&\\\\\x80-\U0010ffff]")
"""What every match begins with; searching for it alone is many times faster."""
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_FEW: Final = 16
_LONGEST: Final = 4
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_KNOWN_CHARACTERS: Final = 1 << 16


class Unit(NamedTuple):
    """A part of the original that reads as more or fewer characters."""

    start: int
    end: int
    is_json: bool


class Folded:
    """A text as a person reads it, mapped to positions in the original.

    Attributes:
        text: The text as read.
    """

    def __init__(self) -> None:
        self.text = ""
        # A text may have as many units as characters, so they are not stored as objects.
        self._starts, self._ends = array("q"), array("q")
        self._read_starts, self._read_ends = array("q"), array("q")
        self._are_json = bytearray()

    def add(self, unit: Unit, start: int, length: int) -> None:
        """Add a unit that reads as `length` characters from `start` on; units are added in order."""
        self._starts.append(unit.start)
        self._ends.append(unit.end)
        self._read_starts.append(start)
        self._read_ends.append(start + length)
        self._are_json.append(unit.is_json)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The span in the original of a span in the text as read."""
        return self._character(start)[0], self._character(end - 1)[1]

    def _character(self, at: int) -> tuple[int, int]:
        index = bisect_right(self._read_starts, at) - 1
        if index < 0:
            return at, at + 1
        if at < self._read_ends[index]:
            return self._starts[index], self._ends[index]
        place = self._ends[index] + at - self._read_ends[index]
        return place, place + 1

    def units_in(self, start: int, end: int) -> list[Unit]:
        """The units that overlap a span of the original."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_left(self._starts, end)
        return [
            Unit(self._starts[at], self._ends[at], bool(self._are_json[at]))
            for at in range(first, last)
            if self._ends[at] > start
        ]


def folded(text: str) -> Folded | None:
    """The text as a person reads it; `None` if that is how it is written."""
    is_escaped = has_escapes(text)
    if not is_escaped and text.isascii():
        return None
    odd = {char: _CHARACTERS[char] for char in set("".join(_NOT_ASCII.findall(text)))}
    odd = {char: reading for char, reading in odd.items() if char != reading}
    if not is_escaped and not odd:
        return None
    view = Folded()
    if is_escaped or any(len(reading) != 1 for reading in odd.values()):
        _read(text, view)
    else:
        view.text = _exchanged(text, odd)
    return None if view.text == text else view


def _exchanged(text: str, odd: dict[str, str]) -> str:
    """A text with single characters for others; for a few, this is many times faster than `str.translate`."""
    if len(odd) > _FEW or not all(map(str.isascii, odd.values())):
        return text.translate({ord(char): reading for char, reading in odd.items()})
    for char, reading in odd.items():
        text = text.replace(char, reading)
    return text


def has_escapes(text: str) -> bool:
    """Whether a text contains URL, HTML or JSON escapes."""
    return (
        ("%" in text and _is_escaped(text, "%"))
        or ("&" in text and _is_escaped(text, "&"))
        or ("\\" in text and _is_escaped(text, "\\"))
    )


def _is_escaped(text: str, mark: str) -> bool:
    at = text.find(mark)
    while at >= 0:
        if _ESCAPE.match(text, at):
            return True
        at = text.find(mark, at + 1)
    return False


def _read(text: str, view: Folded) -> None:
    parts: list[str] = []
    at = length = 0
    for unit, reading in _readings(text):
        parts += text[at : unit.start], reading
        length += unit.start - at
        if not unit.end - unit.start == len(reading) == 1:
            view.add(unit, length, len(reading))
        length += len(reading)
        at = unit.end
    view.text = "".join((*parts, text[at:]))


def _readings(text: str) -> Iterator[tuple[Unit, str]]:
    for match in _matches(text):
        if match["run"]:
            yield from _of_run(match.start(), match["run"])
            continue
        reading = "".join(map(_CHARACTERS.__getitem__, _unescaped(match)))
        if reading != match[0]:
            yield Unit(*match.span(), match.lastgroup == "json"), reading


def _matches(text: str) -> Iterator[re.Match[str]]:
    """The matches of `_ESCAPE.finditer`."""
    at = 0
    while mark := _MARK.search(text, at):
        found = _ESCAPE.match(text, mark.start())
        at = found.end() if found else mark.end()
        if found:
            yield found


def _of_run(start: int, run: str) -> Iterator[tuple[Unit, str]]:
    readings = [_CHARACTERS[char] for char in run]
    if not any(readings):
        yield Unit(start, start + len(run), is_json=False), ""
        return
    for at, (char, reading) in enumerate(zip(run, readings, strict=True), start):
        if char != reading:
            yield Unit(at, at + 1, is_json=False), reading


def _unescaped(match: re.Match[str]) -> str:
    if entity := match["html"]:
        return html.unescape(f"&{entity}")
    if escape := match["json"]:
        return _of_json(escape.replace("\\", ""))
    octets = bytes.fromhex(re.sub(_PERCENT, "", match["url"]))
    return octets.decode(errors="ignore") or match[0]


def _of_json(letters: str) -> str:
    if letters in _JSON:
        return _JSON[letters]
    units = "".join(chr(int(code, 16)) for code in letters.split("u")[1:])
    # Two of them are the halves of one character.
    return units.encode("utf-16", "surrogatepass").decode("utf-16") if len(units) > 1 else units


class _Characters(dict[str, str]):
    """Caches how each character is read."""

    def __missing__(self, char: str) -> str:
        if len(self) > _KNOWN_CHARACTERS:
            self.clear()
        self[char] = reading = reading_of_character(char)
        return reading


_CHARACTERS: Final = _Characters()


def reading_of_character(char: str) -> str:
    """How a single character is read."""
    if char.isascii():
        return char
    if (digit := unicodedata.digit(char, None)) is not None:
        return str(digit)
    compatible = unicodedata.normalize("NFKC", char)
    if len(compatible) > _LONGEST:
        return char
    return "".join(map(_look, compatible))


def _look(char: str) -> str:
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category in ("Cf", "Mn", "Me") or char in _BLANK_LETTERS or INVISIBLE.match(char):
        return ""
    if category == "Pd":
        return "-"
    if category == "Zs":
        return " "
    if (digit := unicodedata.digit(char, None)) is not None:
        return str(digit)
    return LOOKALIKES.get(char, char)
