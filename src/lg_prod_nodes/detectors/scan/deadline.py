"""When a scan has to end, and what is said where one did not get to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

OUT_OF_TIME = "search ran out of its time"


def not_searched(failed: Sequence[str]) -> str:
    """What is said of a text that some recognizers did not search."""
    reasons = dict.fromkeys(failed)
    names = [reason for reason in reasons if reason != OUT_OF_TIME]
    said = "the recognizer " + "; ".join(names) if names else f"the {OUT_OF_TIME}"
    return f"{said}; the text was not searched"


class OutOfTime(Exception):
    """The time of a scan is up."""


class Deadline:
    """When a scan has to end.

    Args:
        seconds: From now on.
        clock: Gives the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def is_over(self) -> bool:
        """Whether there is no time left."""
        return self._clock() >= self._end

    def left(self) -> float:
        """The seconds that are left.

        Raises:
            OutOfTime: There are none.
        """
        if (left := self._end - self._clock()) <= 0:
            raise OutOfTime
        return left
