"""Searches on an event loop, as long as they take little time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from lg_prod_nodes.detectors.detector import Detector

_T = TypeVar("_T")

_CHARACTERS: Final = 32_768
_SECONDS: Final = 0.01
"""How much is searched on an event loop at most, and how long, before the rest is left to a thread."""


class TakesLong(Exception):
    """A search takes longer than an event loop may be held up."""


def promptly(
    call: Callable[[str], _T], detector: Detector, clock: Callable[[], float] = time.perf_counter
) -> Callable[[str], _T]:
    """A function of texts that searches them, as long as it takes little time.

    Args:
        call: The function.
        detector: What it searches with.
        clock: Gives the time in seconds.

    Raises:
        TakesLong: By the function that is given back, before a text that may take long.
    """
    left, end = _CHARACTERS, clock() + _SECONDS

    def called(text: str) -> _T:
        nonlocal left
        left -= len(text)
        if left < 0 or clock() > end or not detector.is_known(text):
            raise TakesLong
        return call(text)

    return called
