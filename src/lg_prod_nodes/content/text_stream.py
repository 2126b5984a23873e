"""Streams of filtered text: a single text, many texts by path, and the chunks of one text."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from lg_prod_nodes.content.location import Keys
from lg_prod_nodes.core.filters import TextFilter, TextStream

M = TypeVar("M", bound=BaseModel)
Path = tuple[Hashable, ...]

_LONG = 80
"""How many characters of a chunk must be final before it is split."""


class _Cascade:
    """A text stream through several filters."""

    def __init__(self, streams: Sequence[TextStream]) -> None:
        self._streams = streams

    @property
    def held(self) -> int:
        return sum(stream.held for stream in self._streams)

    def feed(self, piece: str) -> str:
        for stream in self._streams:
            piece = stream.feed(piece)
        return piece

    def flush(self) -> str:
        piece = ""
        for stream in self._streams:
            piece = stream.feed(piece) + stream.flush() if piece else stream.flush()
        return piece


def stream_through(filters: Sequence[TextFilter]) -> TextStream:
    """Create a text stream through filters, the last one first."""
    streams = [filter.stream() for filter in reversed(filters)]
    return streams[0] if len(streams) == 1 else _Cascade(streams)


class Streams:
    """Independent text streams through the same filters, by path; `keys` tells where in the message a path is."""

    def __init__(
        self, filters: Sequence[TextFilter], keys: Callable[[Path], Keys] = lambda path: ()
    ) -> None:
        self._filters = filters
        self._keys = keys
        self._open: dict[Path, TextStream] = {}

    def feed(self, path: Path, piece: str) -> str:
        """Add a piece to a text; return the text that is ready to emit."""
        if path not in self._open:
            self._open[path] = stream_through([f.at(self._keys(path)) for f in self._filters])
        return self._open[path].feed(piece)

    def held(self, path: Path) -> int:
        """Return how many characters of a text are held back."""
        return self._open[path].held if path in self._open else 0

    def inside(self, path: Path) -> list[Path]:
        """Return the paths of open texts below another path."""
        return [at for at in self._open if at[: len(path)] == path]

    def go_on(self, path: Path, stream: TextStream) -> None:
        """Continue a text with another stream."""
        self._open[path] = stream

    def flush(self, path: Path) -> str:
        """End a text; return the rest of it."""
        return self._open.pop(path).flush() if path in self._open else ""

    def flush_all(self) -> dict[Path, str]:
        """End all texts; return the rest of each."""
        rest = {path: self.flush(path) for path in list(self._open)}
        return {path: piece for path, piece in rest.items() if piece}


class TextChunks:
    """The chunks of a message's text; without replacements, they keep the model's boundaries."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._stream = stream_through(filters)
        self._waiting: deque[ChatGenerationChunk] = deque()
        self._said, self._settled = "", 0

    def feed(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """Add a chunk that contains only text; return the chunks that are ready to emit."""
        said: Any = chunk.message.content
        piece = self._stream.feed(said)
        if piece == said and not self._said:
            return [chunk]
        self._waiting.append(chunk)
        self._said += said
        if piece and not self._said.startswith(piece, self._settled):
            return self._replaced(piece)
        if piece:
            return self._as_cut(len(piece))
        if not self._stream.held:
            self._keep("")
        return []

    def join(self, content: str, *, is_last: bool) -> tuple[list[ChatGenerationChunk], str]:
        """Add the text of a mixed chunk; return the chunks to emit before it, and its own filtered text."""
        piece = self._said[: self._settled] + self._stream.feed(content)
        if is_last:
            piece += self._stream.flush()
        self._said += content
        waiting = list(self._waiting) if piece == self._said else []
        self._keep("" if is_last else self._unsettled())
        return waiting, content if waiting else piece

    def _replaced(self, piece: str) -> list[ChatGenerationChunk]:
        piece = self._said[: self._settled] + piece
        chunk = self._waiting[-1]
        self._keep(self._unsettled())
        return [with_text(chunk, piece)]

    def _unsettled(self) -> str:
        return self._said[max(0, len(self._said) - self._stream.held) :]

    def _keep(self, unsettled: str) -> None:
        """Continue with the held-back text as a single chunk."""
        chunk = self._waiting[-1] if self._waiting else _BARE
        self._waiting.clear()
        self._said, self._settled = unsettled, 0
        if unsettled:
            self._waiting.append(with_text(chunk, unsettled))

    def _as_cut(self, length: int) -> list[ChatGenerationChunk]:
        """Return the waiting chunks that end within `length`; a long chunk is split."""
        settled, waiting, at = self._settled + length, self._waiting, 0
        left: list[ChatGenerationChunk] = []
        while waiting and (end := at + len(waiting[0].message.content)) <= settled:
            left.append(waiting.popleft())
            at = end
        if settled - at > _LONG:
            chunk = waiting[0]
            left.append(with_text(chunk, self._said[at:settled]))
            waiting[0] = with_text(chunk, self._said[settled : at + len(chunk.message.content)])
            at = settled
        self._said, self._settled = self._said[at:], settled - at
        return left


_BARE = ChatGenerationChunk(message=AIMessageChunk(content=""))


def with_message(chunk: ChatGenerationChunk, message: BaseMessage) -> ChatGenerationChunk:
    """Return a chunk with another message."""
    if message is chunk.message:
        return chunk
    text = message.content if isinstance(message.content, str) else message.text
    return copied(chunk, {"message": message, "text": str(text)})


def with_text(chunk: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    """Return a chunk with another text."""
    return with_message(chunk, copied(chunk.message, {"content": text}))


def copied(model: M, update: dict[str, Any]) -> M:
    """Like `model_copy`, in a fifth of the time: it runs for every token."""
    new = object.__new__(type(model))
    object.__setattr__(new, "__dict__", {**vars(model), **update})
    object.__setattr__(new, "__pydantic_fields_set__", model.model_fields_set | update.keys())
    object.__setattr__(new, "__pydantic_extra__", model.model_extra)
    object.__setattr__(new, "__pydantic_private__", model.__pydantic_private__)
    return new
