"""Splits long texts into parts, so that no step of a search takes longer than one part.

A search is a series of calls that hold the GIL, and most of it checks the time only between two calls. With parts of a
few thousand characters, both an event loop and a timeout wait for one part at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from lg_prod_nodes.detectors.findings import Finding

_LENGTH: Final = 8192
_SLACK: Final = 2048
"""How far a part may be extended to end between two tokens."""
_AROUND: Final = 512
"""How much of the neighboring text is searched with a part."""
_LONGEST_BLOCK: Final = 65_536

_BETWEEN: Final = re.compile(r"\s(?=\S)")
_IN_A_TOKEN: Final = re.compile(r"[,\"'<>;&](?=\w)")
_BLOCK: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")


class _Segment(NamedTuple):
    """A part of a text, and the bounds of what is searched with it."""

    start: int
    end: int
    first: int
    last: int


def is_one_segment(text: str) -> bool:
    """Whether a text is so short that it stays whole."""
    return len(text) <= _LENGTH + _SLACK


def in_segments(text: str, find: Callable[[str], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a text, part by part; a finding belongs to the part in which it begins."""
    for segment in _segments(text):
        base = segment.first
        for finding in find(text[base : segment.last]):
            if segment.start <= finding.start + base < segment.end:
                yield finding._replace(start=finding.start + base, end=finding.end + base)


def _segments(text: str) -> Iterator[_Segment]:
    start = 0
    while start < len(text):
        end = _end(text, start)
        first = max(0, start - _AROUND)
        if first and (between := _BETWEEN.search(text, first, start)):
            first = between.end()
        is_between = end == len(text) or text[end - 1].isspace()
        last = min(len(text), end + (_AROUND if is_between else _SLACK))
        yield _Segment(start, end, first, last)
        start = end


def _end(text: str, start: int) -> int:
    """Where a part ends: after white space, otherwise after a mark, and never inside a private key."""
    least = start + _LENGTH
    if len(text) <= least + _SLACK:
        return len(text)
    for mark in (_BETWEEN, _IN_A_TOKEN):
        if found := mark.search(text, least, least + _SLACK):
            least = found.end()
            break
    blocks = list(_BLOCK.finditer(text, start, least))
    if not blocks or text.find("-----END", blocks[-1].end(), least) >= 0:
        return least
    most = min(len(text), least + _LONGEST_BLOCK)
    end = text.find("-----END", least, most)
    return min(most, end + 64) if end >= 0 else most
