"""Streams adjacent content blocks: an entity may begin in one block and end in the next.

Each block's text is a stream of its own. Text held back at the end of a block stays held back, together with the text
that follows, until no entity can span both. This is the seam of two blocks. A replacement that spans the seam is
emitted in the first block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lg_prod_nodes.content.finality import CONTEXT
from lg_prod_nodes.content.text_stream import Path, Streams, stream_through
from lg_prod_nodes.core.filters import TextFilter, through

Piece = tuple[Path, str]
"""A text ready to emit, and the path of its field."""

_GLUES = ("", " ")
"""Separators tried between two blocks, as in `walk.py`."""
_WORD = re.compile(r"\s+|\S+")


class Blocks:
    """The texts of a message's content blocks."""

    def __init__(self, filters: Sequence[TextFilter], streams: Streams) -> None:
        self._filters = filters
        self._streams = streams
        self._begun: set[Path] = set()
        self._current: Path | None = None
        self._said = ""
        self._left = ""
        self._seam: _Seam | None = None
        self._are_apart = False

    def feed(self, path: Path, piece: str) -> list[Piece]:
        """Add a piece to a block's text; return the pieces that are ready to emit."""
        left = [] if path == self._current else self._turn(path)
        return [*left, *self._go_on(path, piece)]

    def end(self, path: Path) -> list[Piece]:
        """Mark a block without this text as the current one; return the pieces that are ready to emit."""
        if path in self._begun:
            return []
        self._current = None
        left = self.flush()
        self._said = self._left = ""
        return left

    def flush(self) -> list[Piece]:
        """Mark the end of all text; return the remaining pieces."""
        left: list[Piece] = []
        while self._seam is not None:
            self._seam.flush()
            left += self._resolved(self._seam)
        return left

    def _turn(self, path: Path) -> list[Piece]:
        before, self._current = self._current, path
        if path in self._begun:
            return self._apart()
        self._begun.add(path)
        left = self._resolved(self._seam) if self._seam and self._seam.is_decided else []
        self._begin(before, path)
        return left

    def _apart(self) -> list[Piece]:
        """Treat blocks as interleaved, so that none continues another; return the pieces that are ready to emit."""
        self._are_apart = True
        seam, self._seam = self._seam, None
        parts = seam.parts if seam is not None else ()
        return [(path, self._streams.feed(path, text)) for path, text in parts]

    def _begin(self, before: Path | None, path: Path) -> None:
        if self._seam is not None:
            self._seam.begin(path)
        elif before is not None and not self._are_apart and (held := self._streams.held(before)):
            self._seam = _Seam(self._filters, before, self._said, held)
            self._seam.begin(path)
        elif self._left and not self._are_apart:
            self._begin_after(self._left, path)

    def _begin_after(self, left: str, path: Path) -> None:
        """Begin a text with the end of the previous one as context for its first words."""
        stream = stream_through(self._filters)
        stream.feed(f"{left} ")
        if not stream.held:
            self._streams.go_on(path, stream)

    def _go_on(self, path: Path, piece: str) -> list[Piece]:
        if self._seam is None:
            passed = self._streams.feed(path, piece)
            self._said = (self._said + piece)[-CONTEXT - self._streams.held(path) :]
            self._left = (self._left + passed)[-CONTEXT:]
            return [(path, passed)]
        self._seam.feed(piece)
        return self._resolved(self._seam) if self._seam.is_over else []

    def _resolved(self, seam: _Seam) -> list[Piece]:
        self._seam = None
        rest = self._streams.flush(seam.before)
        for joined in seam.ways:
            if joined.goes_across(rest):
                return self._across(seam, joined)
        left: list[Piece] = [(seam.before, rest)]
        self._left = (self._left + rest)[-CONTEXT:]
        before: Path | None = None
        for path, text in seam.parts:
            self._begin(before, path)
            left += self._go_on(path, text)
            before = path
        return left

    def _across(self, seam: _Seam, joined: _Joined) -> list[Piece]:
        last, text = seam.parts[-1]
        further = text[seam.looked_at :]
        self._streams.go_on(last, joined.stream)
        self._said = joined.said
        parts = [*seam.parts[:-1], (last, text[: seam.looked_at])]
        left = joined.parted(seam.before, parts)
        return [*left, *self._go_on(last, further)] if further else left


class _Seam:
    """The end of a block's text, and the blocks that follow it.

    Attributes:
        before: The block that has ended.
        parts: The texts that follow, each with its block.
        looked_at: How many characters of the last text were needed to decide.
    """

    def __init__(self, filters: Sequence[TextFilter], before: Path, said: str, held: int) -> None:
        self.before = before
        self.ways = [_Joined(filters, said, held, glue) for glue in _GLUES]
        self.parts: list[tuple[Path, str]] = []
        self.looked_at = 0
        self._pieces = 0

    @property
    def is_decided(self) -> bool:
        """Whether no further text can make the end of the first block part of an entity."""
        return all(joined.is_settled for joined in self.ways)

    @property
    def is_over(self) -> bool:
        """Whether the seam is decided and the first block has ended: another block has received two pieces."""
        return self._pieces > 1 and self.is_decided

    def begin(self, path: Path) -> None:
        """Begin another block."""
        self.parts.append((path, ""))
        self.looked_at = 0
        for joined in self.ways:
            joined.begin()

    def feed(self, piece: str) -> None:
        """Extend the last block; text far from the seam is not scanned."""
        path, text = self.parts[-1]
        self.parts[-1] = path, text + piece
        self._pieces += 1
        for word in _WORD.finditer(piece):
            if self.is_decided:
                break
            self.looked_at += len(word[0])
            for joined in self.ways:
                joined.feed(word[0])

    def flush(self) -> None:
        """Mark the end of all text."""
        for joined in self.ways:
            joined.flush()


class _Joined:
    """The texts at a seam joined into one, with a separator between them."""

    def __init__(self, filters: Sequence[TextFilter], said: str, held: int, glue: str) -> None:
        end = said[len(said) - held :]
        self.stream = stream_through(filters)
        self.stream.feed(said)
        self._left = ""
        if self.stream.held != held:  # context reads differently without the text before it
            self.stream = stream_through(filters)
            self._left = self.stream.feed(end)
        self.said = end
        self._filters = filters
        self._glue = glue
        self._end = len(end)

    @property
    def is_settled(self) -> bool:
        return len(self.said) - self.stream.held >= self._end

    def begin(self) -> None:
        self.feed(self._glue)

    def feed(self, piece: str) -> None:
        self.said += piece
        self._left += self.stream.feed(piece)

    def flush(self) -> None:
        self._left += self.stream.flush()

    def goes_across(self, rest: str) -> bool:
        """Return whether an entity spans the end of the first text, given that text's own output."""
        raw = self._released
        if self._left == raw or _shared(raw, self._left) >= self._end:
            return False
        further = raw[self._end + len(self._glue) :]
        return self._left != rest + self._glue + through(self._filters, further)

    @property
    def _released(self) -> str:
        return self.said[: len(self.said) - self.stream.held]

    def parted(self, before: Path, parts: Sequence[tuple[Path, str]]) -> list[Piece]:
        """Split the output: replaced text goes to the first block, unchanged text stays in its own."""
        raw = self._released
        kept = min(_shared(raw[::-1], self._left[::-1]), len(raw) - self._end)
        found = self._left[: len(self._left) - kept]
        pieces = [(before, through(self._filters, found))]
        start, at = len(raw) - kept, self._end
        for path, text in parts:
            at += len(self._glue)
            pieces.append((path, raw[max(at, start) : at + len(text)]))
            at += len(text)
        return pieces


def _shared(first: str, second: str) -> int:
    """Return the length of the common prefix of two texts."""
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
