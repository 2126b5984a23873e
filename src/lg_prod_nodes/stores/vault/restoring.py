"""Originals in place of tokens for the final reader: in whole values, and in streams, where pieces may cut a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Self, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from lg_prod_nodes.content.message_stream import MessageStream
from lg_prod_nodes.content.walk import rewrite, texts
from lg_prod_nodes.stores.vault.tokens import may_hold_token, restored, tokens_in, whole_tokens

Resolve = Callable[[set[str]], Mapping[str, str]]
"""Returns the originals of tokens that stand for something; it may block."""

_DEEPEST = 3
"""How deep a message lies in an item of a stream: `(namespace, mode, (message, metadata))`."""


class Restorer:
    """Puts originals in the place of a subject's tokens, as a filter of texts."""

    is_located = False

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[str, str] = {}
        self._asked: set[str] = set()

    def at(self, keys: tuple[Any, ...]) -> Self:
        """This filter, wherever a text is."""
        return self

    def shared(self, name: str, /) -> None:
        """Nothing: an original stands for itself."""

    def learn(self, value: Any) -> Mapping[str, str]:
        """Resolve all tokens in a value, in one round trip; returns the originals."""
        self._ask({token for text in texts(value) for token in tokens_in(text)})
        return self._known

    def __call__(self, text: str) -> str:
        """The text with originals."""
        self._ask(tokens_in(text))
        return restored(text, self._known)

    def _ask(self, tokens: set[str]) -> None:
        if new := tokens - self._asked:
            self._known.update(self._resolve(new))
            self._asked |= new & self._known.keys()  # others may be stored later in a stream

    def stream(self) -> _Restoring:
        """A text that leaves piece by piece."""
        return _Restoring(self)

    def settled(self, text: str) -> int:
        """How many characters of a text belong to no token that what follows may complete."""
        return whole_tokens(text)

    def opens(self, text: str) -> bool:
        """Whether a text ends with the beginning of a token."""
        return whole_tokens(text) < len(text)


class _Restoring:
    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._pending = ""

    @property
    def held(self) -> int:
        return len(self._pending)

    def feed(self, piece: str) -> str:
        text = self._pending + piece
        cut = self._restorer.settled(text)
        self._pending = text[cut:]
        return self._restorer(text[:cut])

    def flush(self) -> str:
        text, self._pending = self._pending, ""
        return self._restorer(text)


class RestoredStream:
    """Restores the items of a stream: pieces of one text, payloads of LangGraph's stream modes, events.

    The chunks of a message, wherever they are in an item, are read as one text for each message.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._text = restorer.stream()
        self._messages: dict[Any, tuple[MessageStream, Any]] = {}

    def items(self, source: Iterator[Any]) -> Generator[Any]:
        """The restored items."""
        with closing(cast(Any, source)) if hasattr(source, "close") else _open(source) as given:
            for item in given:
                yield from self._feed(item)
            yield from self._flush()

    async def aitems(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The restored items; the vault is asked off the event loop."""
        async with aclosing(cast(Any, source)) as given:
            async for item in given:
                is_plain = not any(map(may_hold_token, texts(item))) and not self._holds
                for left in (
                    self._feed(item) if is_plain else await asyncio.to_thread(self._feed, item)
                ):
                    yield left
            for left in await asyncio.to_thread(self._flush):
                yield left

    @property
    def _holds(self) -> bool:
        return bool(self._text.held or self._messages)

    def _feed(self, item: Any) -> list[Any]:
        if isinstance(item, str):
            piece = self._text.feed(item)
            return [piece] if piece or not item else []
        chunk = _chunk_in(item)
        if chunk is None:
            return [rewrite(item, self._restorer)]
        stream, _ = self._messages.get(chunk.id) or (MessageStream([self._restorer]), None)
        self._messages[chunk.id] = stream, item
        left = stream.feed(ChatGenerationChunk(message=chunk))
        if chunk.chunk_position == "last":
            del self._messages[chunk.id]
        return [_with(item, chunk, piece.message) for piece in left]

    def _flush(self) -> list[Any]:
        rest = [self._text.flush()] if self._text.held else []
        for stream, item in self._messages.values():
            chunk = _chunk_in(item)
            rest += [_with(item, chunk, cast(Any, piece.message)) for piece in stream.flush()]
        self._messages.clear()
        return rest


class _open:  # noqa: N801 - a context manager that does nothing
    def __init__(self, source: Any) -> None:
        self._source = source

    def __enter__(self) -> Any:
        return self._source

    def __exit__(self, *_: object) -> None: ...


def _chunk_in(item: Any, depth: int = 0) -> AIMessageChunk | None:
    """The chunk of a message in an item of a stream."""
    if isinstance(item, AIMessageChunk):
        return item
    parts: Any = (
        item.values() if isinstance(item, dict) else item if isinstance(item, tuple) else ()
    )
    if depth > _DEEPEST:
        return None
    return next((chunk for part in parts if (chunk := _chunk_in(part, depth + 1))), None)


def _with(item: Any, chunk: Any, new: Any) -> Any:
    """An item with another chunk in the place of its own."""
    if item is chunk:
        return new
    if isinstance(item, dict):
        return {name: _with(part, chunk, new) for name, part in item.items()}
    if isinstance(item, tuple):
        return tuple(_with(part, chunk, new) for part in item)
    return item
