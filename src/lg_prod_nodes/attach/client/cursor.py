"""Where a reader is in the stream of a run, over several connections."""

from __future__ import annotations

from contextvars import ContextVar

from langgraph_sdk.schema import StreamPart

from lg_prod_nodes.core.clock import Clock

START = "0-0"
_SOON = 1.0


class Cursor:
    """Tells new parts of a stream from those that come again.

    A server that replays a stream and goes on live may send a part in both. Ids are `milliseconds-sequence`; those of
    `langgraph dev` have no sequence, so that parts of one millisecond share an id, of which some may be lost with a
    connection. So each connection asks for the last millisecond again, and its parts are counted.

    Args:
        clock: The source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._joined_at = clock, clock.now()
        self._last: tuple[int, ...] = ()
        self._recent: list[tuple[str, object]] = []  # with the last id
        self._skip = 0

    def rejoin(self) -> str:
        """Return the `Last-Event-ID` of the next connection."""
        self._skip, self._joined_at = len(self._recent), self._clock.now()
        if not self._last:
            return START
        milliseconds, *_ = self._last
        return f"{milliseconds - 1}-{2**32}"

    def is_new(self, part: StreamPart) -> bool:
        """Whether a part comes for the first time."""
        number = _number(part.id)
        if not number:
            return True
        if number < self._last:
            self._skip = len(self._recent)  # it was replayed, so all of the last id follow
            return False
        content = part.event, part.data
        if number > self._last:
            self._last, self._recent = number, []
        elif self._comes_again(content):
            return False
        self._recent.append(content)
        return True

    def _comes_again(self, content: tuple[str, object]) -> bool:
        if self._skip:
            self._skip -= 1
            return True
        return self._clock.now() - self._joined_at < _SOON and content in self._recent


def _number(id: str | None) -> tuple[int, ...]:
    pieces = (id or "").split("-")
    return tuple(map(int, pieces)) if all(piece.isdigit() for piece in pieces) else ()


CURSOR: ContextVar[Cursor | None] = ContextVar("lg_prod_cursor", default=None)
"""Where the reader of a conversation is."""
