"""Who waits for room in a window: those of one process, in the order in which they came."""

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
    """A line for each window in front of which somebody waits."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}
        self._numbers = count()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, window: Hashable) -> Generator[Turn]:
        """Have a turn, and leave the line with the end of the block."""
        turn = Turn(self, window, next(self._numbers))
        try:
            yield turn
        finally:
            if turn.waits:
                self._leave(turn)

    def ahead(self, turn: Turn) -> tuple[int, _Line | None]:
        """How many came before, and the line that they make."""
        line = self._lines.get(turn.window)
        if line is None:
            return 0, None
        with self._lock:
            return sum(number < turn.number for number in line.waiting), line

    def join(self, turn: Turn) -> _Line:
        """Stand in the line, behind who came before."""
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
    """The turn of one call in front of a window."""

    lines: Lines
    window: Hashable
    number: int
    waits: bool = False

    def refusal(self, now: float) -> tuple[Decision, float] | None:
        """Why the call has to wait for others, and for how long at least; `None` where it is its turn."""
        ahead, line = self.lines.ahead(self)
        if not ahead or line is None or line.refusal is None:
            return None
        return line.refusal, max(line.opens - now, 0.0) + ahead * _APART

    def wait(self, refusal: Decision, now: float, seconds: float) -> float:
        """Stand in the line; gives the seconds to sleep until it may be the call's turn."""
        if not self.waits:
            self.lines.join(self)
            self.waits = True
        ahead, line = self.lines.ahead(self)
        if line is not None and not ahead:
            line.refusal, line.opens = refusal, now + seconds
        return seconds + _APART
