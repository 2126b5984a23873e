"""What a text is read as, without the places of its characters: enough to see that nothing stands in it."""

from __future__ import annotations

import re
from typing import Final

from lg_prod_nodes.detectors.reading.folding import folded

_MAY_READ_OTHERWISE: Final = re.compile(
    "[^\x00-\x7f\u3001\u300c\u300d\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u2018\u2019\u201c-\u201e\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fff"
    "\uac00-\ud7a3]+"
)
"""All but ASCII and the letters and quotes of everyday texts that are read as they are written."""
_COMMON: Final = "\u3002\uff0c\uff01\uff1f\uff1a\uff08\uff09\u2014\u2013\u2026\u00a0"
"""Marks of everyday texts that are read as others, which `str.replace` does fastest."""
_PLAIN_LATIN: Final = bytes({*range(0x80), *range(0xC0, 0x100)} - {0xD7, 0xF7})
_KNOWN_RUNS: Final = 4096


class _Runs(dict[str, str]):
    """How runs of characters that were seen are read."""

    def __missing__(self, run: str) -> str:
        if len(self) > _KNOWN_RUNS:
            self.clear()
        reading = folded(run)
        self[run] = made = run if reading is None else reading.text
        return made


_RUNS: Final = _Runs()


def has_escapes(text: str) -> bool:
    """Whether there may be escapes of URLs, HTML or JSON."""
    return "%" in text or "&" in text or "\\" in text


def reading_of(text: str) -> str:
    """How a text without escapes is read; the very same text if that is how it is written."""
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
