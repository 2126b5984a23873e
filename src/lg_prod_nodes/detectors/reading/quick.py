"""How a text reads, without positions: enough to rule out findings."""

from __future__ import annotations

import re
from typing import Final

from lg_prod_nodes.detectors.reading.folding import folded

_MAY_READ_OTHERWISE: Final = re.compile(
    "[^\x00-\x7f\u3001\u300c\u300d\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u2018\u2019\u201c-\u201e\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fff"
    "\uac00-\ud7a3]+"
)
"""Anything but ASCII and the common letters and quotes that read as written."""
_COMMON: Final = "\u3002\uff0c\uff01\uff1f\uff1a\uff08\uff09\u2014\u2013\u2026\u00a0"
"""Common marks that read as others; `str.replace` handles them fastest."""
_PLAIN_LATIN: Final = bytes({*range(0x80), *range(0xC0, 0x100)} - {0xD7, 0xF7})
_KNOWN_RUNS: Final = 4096


class _Runs(dict[str, str]):
    """Caches how runs of characters are read."""

    def __missing__(self, run: str) -> str:
        if len(self) > _KNOWN_RUNS:
            self.clear()
        reading = folded(run)
        self[run] = made = run if reading is None else reading.text
        return made


_RUNS: Final = _Runs()


def reading_of(text: str) -> str:
    """How a text without escapes is read; the same text if that is how it is written."""
    if _is_plain_latin(text):
        return text
    for char in _COMMON:
        if char in text:
            text = text.replace(char, _RUNS[char])
    return _MAY_READ_OTHERWISE.sub(lambda run: _RUNS[run[0]], text)


def _is_plain_latin(text: str) -> bool:
    try:
        return not text.encode("latin-1").translate(None, _PLAIN_LATIN)
    except UnicodeEncodeError:
        return False
