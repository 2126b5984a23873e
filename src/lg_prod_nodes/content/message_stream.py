"""Filters a model's streamed output: the chunks of a message, or the events of its protocol.

Each text passes the filters of the call as a stream of its own, identified by its path in the message.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from lg_prod_nodes.content.block_stream import Blocks, Piece
from lg_prod_nodes.content.location import ANSWER, Keys, Tool
from lg_prod_nodes.content.text_stream import Path, Streams, TextChunks, copied, with_message
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.content.wire import SIGNATURES, WITHDRAWN, is_signed_thought, withdrawn
from lg_prod_nodes.core.filters import Filters, TextFilter

_DELTAS = frozenset(
    {
        *("text", "reasoning", "thinking", "reasoning_content", "refusal", "content"),
        *("args", "arguments", "input", "partial_json"),
    }
)
"""Fields of a chunk that continue the same field of the previous chunk."""

_SAYING = ("content", "tool_call_chunks", "additional_kwargs")
_NOTHING: dict[str, Any] = {"content": "", "tool_call_chunks": [], "additional_kwargs": {}}
_DERIVED = {"tool_calls", "invalid_tool_calls"}
_CONTENT: Path = ("content",)
_NAMES = frozenset({"type", "id", "index", "name", "role"}) | SIGNATURES


class MessageStream:
    """Filters the chunks of one model message.

    Args:
        filters: The filters that its texts pass.
        held: Called when nothing of a chunk can be emitted yet.
    """

    def __init__(
        self, filters: Sequence[TextFilter], held: Callable[[], None] = lambda: None
    ) -> None:
        self._held = held
        self._has_left: bool | None = None  # `None` before the first chunk
        self._seen: dict[Path, dict[str, Any]] = {}
        self._calls: dict[Path, Any] = {}
        self._streams = Streams(filters, partial(_location, self._seen, self._calls))
        self._texts = TextChunks([filter.at((ANSWER,)) for filter in filters])
        self._blocks = Blocks(filters, self._streams)
        self._filters = filters
        self._filtered = Filters(filters)
        self._unsaid: dict[Path, str] = {}
        self._altered: set[Path] = set()
        self._withdrawn: set[Path] = set()
        self._is_last = False

    def feed(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """Add a chunk; return those that are ready to emit. Text still held back is emitted before the last chunk."""
        left = self._left(chunk)
        if not left:
            self._held()
        self._has_left = bool(self._has_left or left)
        return left

    def _left(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        message = chunk.message
        if _is_text_alone(message):
            return self._texts.feed(chunk)
        if not isinstance(message, AIMessageChunk):
            return [with_message(chunk, rewrite(message, self._filtered))]
        self._is_last = message.chunk_position == "last"
        waiting, content = self._content(message.content)
        changed = self._changed(message, content)
        if not self._is_last:
            return [*waiting, with_message(chunk, changed)]
        rest = self._rest()
        return [*waiting, *_in_two(chunk, changed if rest is None else _joined(changed, rest))]

    def flush(self) -> list[ChatGenerationChunk]:
        """Return the rest after the last chunk; an empty message if nothing was emitted at all."""
        waiting, content = self._texts.join("", is_last=True)
        rest = self._rest(content)
        if rest is None and not waiting and self._has_left is False:
            rest = AIMessageChunk(content="")
        return [*waiting, *([] if rest is None else [ChatGenerationChunk(message=rest)])]

    def _content(self, content: Any) -> tuple[list[ChatGenerationChunk], Any]:
        if isinstance(content, str):
            return self._texts.join(content, is_last=self._is_last)
        waiting, said = self._texts.join("", is_last=True) if content else ([], "")
        if said:
            waiting.append(ChatGenerationChunk(message=AIMessageChunk(content=said)))
        return waiting, [left for item in content for left in self._block(item)]

    def _block(self, item: Any) -> list[Any]:
        """Return the output for a content block, preceded by text held back from earlier blocks."""
        is_block = isinstance(item, dict)
        path = (*_CONTENT, _place(item)) if is_block else _CONTENT
        of_text = (*path, "text")
        text = item.get("text") if is_block else item
        if not isinstance(text, str):
            return [*self._grown_all(self._blocks.end(of_text)), *self._items(_CONTENT, [item])]
        pieces = self._blocks.feed(of_text, text)
        own = "".join(piece for at, piece in pieces if at == of_text)
        others = [(at, piece) for at, piece in pieces if at != of_text]
        if is_block:
            further = {name: old for name, old in item.items() if name != "text"}
            return [*self._grown_all(others), {**item, **self._tree(path, further), "text": own}]
        return [*self._grown_all(others), own]

    def _grown_all(self, pieces: Sequence[Piece]) -> list[Any]:
        return [self._grown(path, text, 2) for path, text in pieces if text]

    def _changed(self, message: AIMessageChunk, content: Any) -> AIMessageChunk:
        update: dict[str, Any] = {"content": content}
        if message.additional_kwargs:
            update["additional_kwargs"] = self._tree(("kwargs",), message.additional_kwargs)
        if message.response_metadata:
            update["response_metadata"] = rewrite(message.response_metadata, self._filtered)
        if not message.tool_call_chunks:
            return copied(message, update)
        update["tool_call_chunks"] = self._items(("tool",), message.tool_call_chunks)
        fields = {name: getattr(message, name) for name in message.model_fields_set - _DERIVED}
        return AIMessageChunk(**{**fields, **update})

    def _piece(self, path: Path, text: str, *, whole: bool = False) -> str:
        piece = self._streams.feed(path, text)
        self._compare(path, text, piece)
        return piece + self._flushed(path) if whole or self._is_last else piece

    def _flushed(self, path: Path) -> str:
        piece = self._streams.flush(path)
        self._compare(path, "", piece)
        return piece

    def _compare(self, path: Path, text: str, piece: str) -> None:
        """Record a block in which text was replaced."""
        unsaid = self._unsaid.pop(path, "") + text
        if unsaid.startswith(piece):
            self._unsaid[path] = unsaid[len(piece) :]
        else:
            self._altered.add(path[:2])

    def _items(self, path: Path, items: Sequence[Any]) -> list[Any]:
        """Filter the items of a list; without an index, only plain texts continue from chunk to chunk."""
        return [self._item(path, item) for item in items]

    def _item(self, path: Path, item: Any) -> Any:
        if isinstance(item, str):
            return self._piece((*path, "text"), item)
        if not isinstance(item, dict):
            return item
        path, whole = (*path, _place(item)), _is_whole(path, item)
        if is_signed_thought(item):
            return self._signed(path, item)
        return self._tree(path, item, whole=whole)

    def _signed(self, path: Path, item: dict[str, Any]) -> dict[str, Any]:
        """End a thought; if it was changed, withdraw its signature, since the provider would reject it."""
        thought: dict[str, Any] = self._tree(path, item, whole=True)
        for at in self._streams.inside(path):
            _plant(thought, at[len(path) :], self._flushed(at), self._seen, path)
        if path not in self._altered:
            return thought
        thought = withdrawn(thought, "" if path in self._withdrawn else WITHDRAWN)
        self._withdrawn.add(path)
        return thought

    def _tree(self, path: Path, value: Any, *, whole: bool = False) -> Any:
        match value:
            case dict():
                self._seen.setdefault(path, {k: v for k, v in value.items() if k in _NAMES})
                if (name := value.get("name")) and value.get("index") is not None:
                    self._calls[(*path[:-1], value["index"])] = name
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
        left = self._blocks.flush()
        rest: dict[Path, str] = {}
        for path, piece in [*left, *self._streams.flush_all().items()]:
            if piece:
                rest[path] = rest.get(path, "") + piece
        if not (rest or content):
            return None
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
        said = [*([content] if content else []), *blocks] if blocks else content
        return AIMessageChunk(content=said, tool_call_chunks=tools, additional_kwargs=kwargs)

    def _grown(self, path: Path, text: str, root: int) -> Any:
        """Return the rest of a text at its path in a block."""
        if len(path) == root:
            return text
        block = dict(self._seen.get(path[:root], {}))
        block.pop("id", None)
        _plant(block, path[root:], text, self._seen, path[:root])
        return block


def _location(
    seen: Mapping[Path, Mapping[str, Any]], calls: Mapping[Path, Any], path: Path
) -> Keys:
    """Return the location of a text: the tool that its block calls, if any.

    The pieces of a call's arguments may come as blocks of another type with the index of the call.
    """
    for end in range(len(path), 0, -1):
        place = path[end - 1]
        named = seen.get(path[:end], {}).get("name")
        of_call = calls.get((*path[: end - 1], place[0])) if isinstance(place, tuple) else None
        if isinstance(name := named or of_call, str):
            return (Tool(name),)
    return (ANSWER,)


def _joined(message: AIMessageChunk, rest: AIMessageChunk) -> AIMessageChunk:
    """Append the rest to a message, without leaving an empty block for an empty text before other blocks."""
    if not message.content and isinstance(rest.content, list):
        message = copied(message, {"content": []})
    return message + rest


def _in_two(chunk: ChatGenerationChunk, message: AIMessageChunk) -> list[ChatGenerationChunk]:
    """Split the last chunk from the text held back: LangChain's events drop tool calls on the last one."""
    own: Any = chunk.message
    says = {name: getattr(message, name) for name in _SAYING}
    if all(says[name] == getattr(own, name) for name in _SAYING):
        return [with_message(chunk, message)]
    fields = {name: getattr(message, name) for name in message.model_fields_set - _DERIVED}
    last = AIMessageChunk(**{**fields, **_NOTHING})
    before = AIMessageChunk(id=message.id, **says)
    return [ChatGenerationChunk(message=before), with_message(chunk, last)]


def _is_text_alone(message: BaseMessage) -> bool:
    has = vars(message)  # runs for every token
    return (
        isinstance(has["content"], str)
        and isinstance(message, AIMessageChunk)
        and not (has["usage_metadata"] or has["response_metadata"] or has["additional_kwargs"])
        and not (has["tool_call_chunks"] or has["chunk_position"])
    )


def _is_whole(path: Path, item: Mapping[str, Any]) -> bool:
    return item.get("index") is None and path != _CONTENT


def _place(item: Mapping[str, Any]) -> Hashable:
    return (item.get("index"), item.get("type"))


def _plant(
    into: dict[str, Any], path: Path, text: str, seen: Mapping[Path, Any], parent: Path
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


_EVENT_TEXTS = {"text-delta": "text", "reasoning-delta": "reasoning", "tool-call-delta": "args"}


class EventStream:
    """Filters the protocol events of a model that emits them itself."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        names = self._names = dict[Hashable, Any]()
        self._streams = Streams(filters, lambda path: names.get(path[0], (ANSWER,)))
        self._filtered = Filters(filters)

    def feed(self, event: Mapping[str, Any]) -> list[Any]:
        """Return the events that replace an event."""
        self._note_tool(event)
        match event:
            case {"event": "content-block-delta", "index": index, "delta": dict(delta)}:
                return [{**event, "delta": self._delta(index, delta)}]
            case {"event": "content-block-finish", "index": index}:
                before: Any = event.get("content")
                after = rewrite(before, self._filtered)
                if before and after is not before and is_signed_thought(before):
                    after = withdrawn(after)
                return [*self._tails(index), {**event, "content": after}]
            case _:
                return [rewrite(dict(event), self._filtered)]

    def flush(self) -> list[Any]:
        """Return nothing: every block has ended."""
        return []

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> dict[str, Any]:
        if (name := _EVENT_TEXTS.get(delta.get("type", ""))) is not None:
            return {**delta, name: self._streams.feed((index, name), delta.get(name) or "")}
        if isinstance(fields := delta.get("fields"), dict):  # they grow until the block is complete
            return {**delta, "fields": {**fields, **dict.fromkeys(_DELTAS & fields.keys(), "")}}
        return rewrite(dict(delta), self._filtered)

    def _note_tool(self, event: Mapping[str, Any]) -> None:
        block: Any = event.get("delta") or event.get("content")
        if isinstance(block, Mapping) and (name := block.get("name")):
            self._names[event.get("index")] = (Tool(str(name)),)

    def _tails(self, index: Any) -> list[Any]:
        return [
            {"event": "content-block-delta", "index": index, "delta": {"type": kind, name: rest}}
            for kind, name in _EVENT_TEXTS.items()
            if (rest := self._streams.flush((index, name)))
        ]
