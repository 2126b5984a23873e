"""First come, first served among the callers of one process that wait for a window."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from lg_prod_nodes.stores.limits.windows import Decision

_APART = 0.001  # seconds; also, at the very end of a window it is still full


class Lines:
    """A queue for each window that callers wait for."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}
        self._numbers = count()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, window: Hashable) -> Generator[Turn]:
        """Take a turn, and leave the queue at the end of the block."""
        turn = Turn(self, window, next(self._numbers))
        try:
            yield turn
        finally:
            if turn.waits:
                self._leave(turn)

    def ahead(self, turn: Turn) -> tuple[int, _Line | None]:
        """How many are ahead, and their queue."""
        line = self._lines.get(turn.window)
        if line is None:
            return 0, None
        with self._lock:
            return sum(number < turn.number for number in line.waiting), line

    def join(self, turn: Turn) -> _Line:
        """Join the queue."""
        with self._lock:
            line = self._lines.setdefault(turn.window, _Line())
            insort(line.waiting, turn.number)
            return line

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            line = self._lines[turn.window]
            line.waiting.remove(turn.number)
            if not line.waiting:
                del self._lines[turn.window]


@dataclass(slots=True)
class _Line:
    waiting: list[int] = field(default_factory=list)
    refusal: Decision | None = None
    """Why the first one waits."""
    opens: float = 0.0


@dataclass(slots=True)
class Turn:
    """The turn of one call at a window."""

    lines: Lines
    window: Hashable
    number: int
    waits: bool = False

    def refusal(self, now: float) -> tuple[Decision, float] | None:
        """Why the call has to wait for others, and for how long at least; `None` if it is its turn."""
        ahead, line = self.lines.ahead(self)
        if not ahead or line is None or line.refusal is None:
            return None
        return line.refusal, max(line.opens - now, 0.0) + ahead * _APART

    def wait(self, refusal: Decision, now: float, seconds: float) -> float:
        """Join the queue; gives the seconds to sleep until it may be the call's turn."""
        if not self.waits:
            self.lines.join(self)
            self.waits = True
        ahead, line = self.lines.ahead(self)
        if line is not None and not ahead:
            line.refusal, line.opens = refusal, now + seconds
        return seconds + _APART
