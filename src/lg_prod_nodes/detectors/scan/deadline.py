"""The deadline of a scan, and the message about a scan that did not finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

OUT_OF_TIME = "search ran out of its time"


def not_searched(failed: Sequence[str]) -> str:
    """The error message for a text that some recognizers did not search."""
    reasons = dict.fromkeys(failed)
    names = [reason for reason in reasons if reason != OUT_OF_TIME]
    said = "the recognizer " + "; ".join(names) if names else f"the {OUT_OF_TIME}"
    return f"{said}; the text was not searched"


class OutOfTime(Exception):
    """The time for a scan is up."""


class Deadline:
    """The deadline of a scan.

    Args:
        seconds: The time from now on.
        clock: Returns the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._clock() >= self._end

    def left(self) -> float:
        """The seconds left.

        Raises:
            OutOfTime: The time is up.
        """
        if (left := self._end - self._clock()) <= 0:
            raise OutOfTime
        return left
