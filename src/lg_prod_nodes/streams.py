"""What a model says piece by piece: the chunks of its message, or the events of its protocol.

Each text goes through the filters of the call as a stream of its own, told apart by where it stands in the message.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from lg_prod_nodes.call import TextFilter, TextStream, through
from lg_prod_nodes.content import rewrite

M = TypeVar("M", bound=BaseModel)
_Path = tuple[Hashable, ...]

_DELTAS = frozenset(
    {
        *("text", "reasoning", "thinking", "reasoning_content", "refusal", "content"),
        *("args", "arguments", "input", "partial_json"),
    }
)
"""Fields of a chunk that go on where the same field of the chunk before it ended."""

_JSON = frozenset({"args", "arguments", "partial_json"})
_CONTENT: _Path = ("content",)
_LONG = 80
"""How many characters of a chunk are settled before it leaves in two."""
_NAMES = frozenset({"type", "id", "index", "name", "role", "signature"})


class Streams:
    """Texts that leave piece by piece, each by itself, through the same filters."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._filters = filters
        self._open: dict[_Path, list[TextStream]] = {}

    def feed(self, path: _Path, piece: str) -> str:
        """Give the next piece of a text; get what may leave."""
        if path not in self._open:
            self._open[path] = [filter.stream() for filter in reversed(self._filters)]
        for stream in self._open[path]:
            piece = stream.feed(piece)
        return piece

    def held(self, path: _Path) -> int:
        """How many characters of a text are held back."""
        return sum(stream.held for stream in self._open.get(path, ()))

    def flush(self, path: _Path) -> str:
        """End a text; get the rest of it."""
        piece = ""
        for stream in self._open.pop(path, ()):
            piece = stream.feed(piece) + stream.flush() if piece else stream.flush()
        return piece

    def flush_all(self) -> dict[_Path, str]:
        """End all texts; get what is left of each."""
        rest = {path: self.flush(path) for path in list(self._open)}
        return {path: piece for path, piece in rest.items() if piece}


_BARE = re.compile(r"\[[A-Z][\w:]*\]|\*+\w*")


class JsonText:
    """Keeps a text JSON in which a number got a stand-in."""

    def __init__(self) -> None:
        self._is_string = False
        self._is_escaped = False

    def feed(self, piece: str) -> str:
        """The next piece, with what stands bare in it in quotes."""
        at, parts = 0, list[str]()
        while at < len(piece):
            bare = None if self._is_string else _BARE.match(piece, at)
            parts.append(f'"{bare[0]}"' if bare else piece[at])
            self._follow("" if bare else piece[at])
            at = bare.end() if bare else at + 1
        return "".join(parts)

    def _follow(self, mark: str) -> None:
        if mark == '"' and not self._is_escaped:
            self._is_string = not self._is_string
        self._is_escaped = mark == "\\" and not self._is_escaped


class TextChunks:
    """The chunks of a message's text: where nothing is replaced they leave as the model cut them, a little later."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiting: deque[ChatGenerationChunk] = deque()
        self._said, self._settled = "", 0
        self._is_replacing = False

    def feed(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """The chunks that may leave, given the next one, which is a text and nothing else."""
        said = str(chunk.message.content)
        piece = self._streams.feed(_CONTENT, said)
        if piece == said and not self._said:
            return [chunk]
        self._waiting.append(chunk)
        self._said += said
        if not self._is_replacing and self._said.startswith(piece, self._settled):
            return self._as_cut(len(piece))
        piece = self._said[: self._settled] + piece
        self._forget()
        return [_with_text(chunk, piece)] if piece else []

    def join(self, content: str, *, is_last: bool) -> tuple[list[ChatGenerationChunk], str]:
        """The chunks that may leave before one that is more than a text, and what that may say."""
        piece = self._streams.feed(_CONTENT, content)
        if is_last:
            piece += self._streams.flush(_CONTENT)
        piece = self._said[: self._settled] + piece
        whole = self._said + content
        waiting = list(self._waiting) if piece == whole and not self._is_replacing else []
        self._forget()
        return waiting, content if waiting else piece

    def _as_cut(self, length: int) -> list[ChatGenerationChunk]:
        """The chunks that end within a length of what waits; of a long one, the part that does."""
        self._settled += length
        left: list[ChatGenerationChunk] = []
        while self._waiting and (size := len(self._waiting[0].message.content)) <= self._settled:
            left.append(self._waiting.popleft())
            self._left(size)
        if self._settled > _LONG:
            chunk = self._waiting[0]
            text = str(chunk.message.content)
            left.append(_with_text(chunk, text[: self._settled]))
            self._waiting[0] = _with_text(chunk, text[self._settled :])
            self._left(self._settled)
        return left

    def _left(self, size: int) -> None:
        self._said = self._said[size:]
        self._settled -= size

    def _forget(self) -> None:
        self._waiting.clear()
        self._said, self._settled = "", 0
        self._is_replacing = self._streams.held(_CONTENT) > 0


class MessageStream:
    """The chunks of one message of a model."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._streams = Streams(filters)
        self._texts = TextChunks(self._streams)
        self._filters = filters
        self._seen: dict[_Path, dict[str, Any]] = {}
        self._json: dict[_Path, JsonText] = {}
        self._is_last = False

    def feed(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """The chunks that may leave, given the next one; the last one has the rest."""
        message = chunk.message
        if not isinstance(message, AIMessageChunk):
            return [_with_message(chunk, rewrite(message, self._filtered))]
        if _is_text_alone(message):
            return self._texts.feed(chunk)
        self._is_last = message.chunk_position == "last"
        waiting, content = self._content(message.content)
        changed = self._changed(message, content)
        rest = self._rest() if self._is_last else None
        return [*waiting, _with_message(chunk, changed if rest is None else changed + rest)]

    def flush(self) -> list[ChatGenerationChunk]:
        """What is left after the last chunk, if anything is."""
        waiting, content = self._texts.join("", is_last=True)
        rest = self._rest(content)
        return [*waiting, *([] if rest is None else [ChatGenerationChunk(message=rest)])]

    def _content(self, content: Any) -> tuple[list[ChatGenerationChunk], Any]:
        if isinstance(content, str):
            return self._texts.join(content, is_last=self._is_last)
        return [], self._items(_CONTENT, content)

    def _changed(self, message: AIMessageChunk, content: Any) -> AIMessageChunk:
        update: dict[str, Any] = {"content": content}
        if message.additional_kwargs:
            update["additional_kwargs"] = self._tree(("kwargs",), message.additional_kwargs)
        if message.response_metadata:
            update["response_metadata"] = rewrite(message.response_metadata, self._filtered)
        if not message.tool_call_chunks:
            return _copied(message, update)
        update["tool_call_chunks"] = self._items(("tool",), message.tool_call_chunks)
        fields = {name: getattr(message, name) for name in message.model_fields_set}
        for derived in ("tool_calls", "invalid_tool_calls"):
            fields.pop(derived, None)
        return AIMessageChunk(**{**fields, **update})

    def _piece(self, path: _Path, text: str, *, whole: bool = False) -> str:
        piece = self._streams.feed(path, text)
        if whole or self._is_last:
            piece += self._streams.flush(path)
        return self._as_json(path, piece)

    def _as_json(self, path: _Path, piece: str) -> str:
        if path[-1] not in _JSON:
            return piece
        return self._json.setdefault(path, JsonText()).feed(piece)

    def _items(self, path: _Path, items: Sequence[Any]) -> list[Any]:
        """The items of a list; those without an index do not go on from chunk to chunk, but the texts among them do."""
        return [
            self._tree((*path, _place(item)), item, whole=_is_whole(path, item))
            if isinstance(item, dict)
            else self._piece((*path, "text"), item)
            if isinstance(item, str)
            else item
            for item in items
        ]

    def _tree(self, path: _Path, value: Any, *, whole: bool = False) -> Any:
        match value:
            case dict():
                self._seen.setdefault(path, {k: v for k, v in value.items() if k in _NAMES})
                return {
                    name: old if name in _NAMES else self._tree((*path, name), old, whole=whole)
                    for name, old in value.items()
                }
            case list():
                return self._items(path, value)
            case str() if path[-1] in _DELTAS:
                return self._piece(path, value, whole=whole)
            case _:
                return rewrite(value, self._filtered)

    def _rest(self, content: str = "") -> AIMessageChunk | None:
        left = self._streams.flush_all()
        rest = {path: self._as_json(path, piece) for path, piece in left.items()}
        if not (rest or content):
            return None
        parts: dict[str, Any] = {"content": content + rest.pop(_CONTENT, "")}
        blocks: list[Any] = []
        tools: list[Any] = []
        kwargs: dict[str, Any] = {}
        for path, text in rest.items():
            match path:
                case ("content", *_):
                    blocks.append(self._grown(path, text, 2))
                case ("tool", *_):
                    tools.append({**self._grown(path, text, 2), "name": None, "id": None})
                case _:
                    _plant(kwargs, path[1:], text, self._seen, path[:1])
        if blocks:
            said = parts["content"]
            parts["content"] = [*([said] if said else []), *blocks]
        return AIMessageChunk(tool_call_chunks=tools, additional_kwargs=kwargs, **parts)

    def _grown(self, path: _Path, text: str, root: int) -> Any:
        """The rest of a text at its place in a block."""
        if len(path) == root:
            return text
        block = dict(self._seen.get(path[:root], {}))
        block.pop("id", None)
        _plant(block, path[root:], text, self._seen, path[:root])
        return block

    def _filtered(self, text: str) -> str:
        return through(self._filters, text)


def _is_text_alone(message: AIMessageChunk) -> bool:
    return (
        isinstance(message.content, str)
        and not (message.usage_metadata or message.response_metadata or message.additional_kwargs)
        and not (message.tool_call_chunks or message.chunk_position)
    )


def _is_whole(path: _Path, item: Mapping[str, Any]) -> bool:
    return item.get("index") is None and path != _CONTENT


def _place(item: Mapping[str, Any]) -> Hashable:
    return (item.get("index"), item.get("type"))


def _plant(
    into: dict[str, Any], path: _Path, text: str, seen: Mapping[_Path, Any], parent: _Path
) -> None:
    name, *deeper = path
    if not deeper:
        into[str(name)] = text
        return
    here = (*parent, name)
    if isinstance(deeper[0], tuple):  # an item of a list
        item: dict[str, Any] = {
            k: v for k, v in seen.get((*here, deeper[0]), {}).items() if k in ("index", "type")
        }
        _plant(item, tuple(deeper[1:]), text, seen, (*here, deeper[0]))
        into.setdefault(str(name), []).append(item)
    else:
        _plant(into.setdefault(str(name), {}), tuple(deeper), text, seen, here)


def _with_message(chunk: ChatGenerationChunk, message: BaseMessage) -> ChatGenerationChunk:
    if message is chunk.message:
        return chunk
    text = message.content if isinstance(message.content, str) else message.text
    return _copied(chunk, {"message": message, "text": str(text)})


def _with_text(chunk: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    return _with_message(chunk, _copied(chunk.message, {"content": text}))


def _copied(model: M, update: dict[str, Any]) -> M:
    """What `model_copy` gives, in a fifth of its time, since this happens at each token."""
    new = object.__new__(type(model))
    object.__setattr__(new, "__dict__", {**vars(model), **update})
    object.__setattr__(new, "__pydantic_fields_set__", model.model_fields_set | update.keys())
    object.__setattr__(new, "__pydantic_extra__", model.model_extra)
    object.__setattr__(new, "__pydantic_private__", model.__pydantic_private__)
    return new


_EVENT_TEXTS = {"text-delta": "text", "reasoning-delta": "reasoning", "tool-call-delta": "args"}


class EventStream:
    """The protocol events of a model that makes them itself."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._streams = Streams(filters)
        self._filters = filters

    def feed(self, event: Mapping[str, Any]) -> list[Any]:
        """What may leave now, in place of an event."""
        match event:
            case {"event": "content-block-delta", "index": index, "delta": dict(delta)}:
                return [{**event, "delta": self._delta(index, delta)}]
            case {"event": "content-block-finish", "index": index}:
                finished = rewrite({"content": event.get("content")}, self._filtered)
                return [*self._tails(index), {**event, **finished}]
            case _:
                return [rewrite(dict(event), self._filtered)]

    def flush(self) -> list[Any]:
        """Nothing: each block has ended."""
        return []

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> dict[str, Any]:
        if (name := _EVENT_TEXTS.get(delta.get("type", ""))) is not None:
            return {**delta, name: self._streams.feed((index, name), delta.get(name) or "")}
        if isinstance(fields := delta.get("fields"), dict):  # grow until the block is whole
            return {**delta, "fields": {**fields, **dict.fromkeys(_DELTAS & fields.keys(), "")}}
        return rewrite(dict(delta), self._filtered)

    def _filtered(self, text: str) -> str:
        return through(self._filters, text)

    def _tails(self, index: Any) -> list[Any]:
        return [
            {"event": "content-block-delta", "index": index, "delta": {"type": kind, name: rest}}
            for kind, name in _EVENT_TEXTS.items()
            if (rest := self._streams.flush((index, name)))
        ]
