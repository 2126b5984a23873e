"""The one walk over everything that carries content: messages, content blocks, tool calls, state, `Command`, `Send`.

`rewrite` gives back the very same object where nothing changed, and a new one of the same shape, id and type where
something did; what it is given is never mutated. Exceptions have their own, in `exceptions.py`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langgraph.types import Command, Interrupt, Send, StateUpdate
from pydantic import BaseModel

from lg_prod_nodes.content.exceptions import rewritten

T = TypeVar("T")
Rewrite = Callable[[str], str]

_NAMING_KEYS = frozenset(
    {"type", "id", "role", "index", "tool_call_id", "mime_type", "source_type", "finish_reason"}
)
"""Keys of messages and blocks whose values name things rather than say something."""

_ARGUMENTS = frozenset({"args", "arguments", "input"})
"""Keys of tool calls whose values are the user's data, in which no key has a meaning of its own."""

_BINARY_KEYS = frozenset({"base64", "data"})
"""Keys of content blocks that hold encoded bytes."""

_BINARY_BLOCKS = frozenset({"image", "audio", "video", "file", "input_audio", "base64"})

_BASE64 = re.compile(r"[A-Za-z0-9+/=_\s-]{40,}")
_DATA_URL = re.compile(r"data:[\w/.+;=-]*;base64,[A-Za-z0-9+/=_\s-]{40,}")
"""Shorter ones may be a value that is written in these letters, such as an account number."""

_PLAIN_KEY = re.compile(r"[A-Za-z_]{1,40}")
_NUMBER = re.compile(r"[\d\s().+/-]{7,40}")
_IDENTIFIES = re.compile(
    r"(?:^|[_\W])(?:id|ids|pk|seq|ts|time|timestamp|epoch|offset|size|version|hash|seed)$|[a-z]Ids?$"
)
"""Keys of numbers that are what they are called, and not a card by chance."""
_LEAST_NUMBER = 10**6
"""A number with fewer digits says nothing by itself."""

_BARE_STAND_IN = re.compile(r"(?<=[:,\[])(\s*)(\[\w+(?::\w+)?\]|\*+\w*)(?=\s*[,}\]])")
"""What was put in the place of a number in JSON, where a text needs quotes."""

_NONE: Mapping[int, Any] = {}

_CALLS = frozenset({"tool_calls", "invalid_tool_calls", "tool_call_chunks"})
_ROLES = frozenset({"user", "human", "assistant", "ai", "system", "developer", "tool", "function"})

_MESSAGE_FIELDS = (
    "content",
    "name",
    "additional_kwargs",
    "response_metadata",
    "tool_calls",
    "invalid_tool_calls",
    "tool_call_chunks",
    "artifact",
)


def rewrite(value: T, change: Rewrite, *, clean: Mapping[int, Any] | None = None) -> T:
    """Apply `change` to every text inside of a value, keys of mappings and numbers of seven digits or more included.

    A number, and a text that is one, is given together with the key that it stands under, as in `"phone: 2125550142"`,
    since the key says what it is. What is JSON stays JSON.

    Args:
        value: A message, a state (mapping, pydantic model, dataclass), an update, a `Command`, `Send` or `Interrupt`,
            or any nesting of lists, tuples, sets and mappings of these.
        change: Gets a text, gives back the text to have in its place.
        clean: Messages to leave out, by identity, with their content.

    Returns:
        The same object when no text changed, else a copy with the changed texts.
    """
    return _Walk(change, clean or {}).value(value)  # type: ignore[no-any-return]


def texts(value: object) -> list[str]:
    """Every text inside of a value, in the order of the walk."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _Walk(note).value(value)
    return found


@contextmanager
def cleaned_errors(change: Rewrite) -> Generator[None]:
    """Clean what is raised inside of the block, in place: an exception is on its way already."""
    try:
        yield
    except Exception as error:
        cleaned = _Walk(change).error(error)
        if cleaned is error:
            raise
    else:
        return
    context = cleaned.__context__
    try:
        raise cleaned
    finally:  # the block's own error is handled still, and would be its context
        cleaned.__context__ = context


class _Walk:
    """One walk; `wire` says that it is inside of a message, where some keys only name things."""

    __slots__ = ("_change", "_clean", "_errors", "_seen")

    def __init__(self, change: Rewrite, clean: Mapping[int, Any] = _NONE) -> None:
        self._change = change
        self._clean = clean
        self._errors: dict[int, BaseException] = {}
        self._seen: dict[tuple[int, str, bool], tuple[Any, Any]] = {}

    def value(self, value: Any, key: str = "", *, wire: bool = False) -> Any:
        match value:
            case str():
                return self._text(value, key)
            case None | bool() | float() | bytes():
                return value
            case int():
                return self._number(value, key) if abs(value) >= _LEAST_NUMBER else value
            case _:
                return self._once(value, key, wire)

    def error(self, error: BaseException) -> BaseException:
        """An exception, changed in place."""
        return rewritten(error, self.value, self._errors)

    def _once(self, value: Any, key: str, wire: bool) -> Any:
        """A value that may stand in several places, or hold itself."""
        place = (id(value), key, wire)
        if place in self._seen:
            return self._seen[place][1]
        self._seen[place] = (value, value)
        new = self._shape(value, key, wire)
        self._seen[place] = (value, new)
        return new

    def _shape(self, value: Any, key: str, wire: bool) -> Any:  # noqa: C901 - one branch a shape of content
        match value:
            case dict():
                return self._mapping(value, key, wire)
            case StateUpdate():
                return self._replaced(value, self._changes(value, ("values",)))
            case list() | tuple() | set() | frozenset() | deque():
                return self._collection(value, key, wire)
            case BaseMessage():
                return self._message(value)
            case Mapping():
                return self._mapping(value, key, wire)
            case BaseException():
                return self.error(value)
            case Command():
                return self._command(value)
            case Send():
                return self._replaced(value, self._changes(value, ("arg",)))
            case Interrupt():
                return self._replaced(value, self._changes(value, ("value",)))
            case BaseModel():
                names = (*type(value).model_fields, *(value.model_extra or ()))
                changed = self._changes(value, names)
                return value.model_copy(update=changed) if changed else value
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = tuple(field.name for field in dataclasses.fields(value))
                return self._replaced(value, self._changes(value, names))
            case _:
                return value

    def _text(self, text: str, key: str) -> str:
        if text.startswith("data:") and _DATA_URL.fullmatch(text):
            return text
        is_number = key and _NUMBER.fullmatch(text)
        changed = self._under(key, text) if is_number else self._change(text)
        return text if changed == text else _as_json(text, changed)

    def _number(self, number: int, key: str) -> Any:
        if _IDENTIFIES.search(key):
            return number
        text = str(number)
        changed = self._under(key, text)
        return number if changed == text else changed

    def _under(self, key: str, text: str) -> str:
        """What becomes of a text under its key."""
        if not key:
            return self._change(text)
        before = f"{key}: "
        changed = self._change(before + text)
        return changed[len(before) :] if changed.startswith(before) else self._change(text)

    def _mapping(self, value: Mapping[Any, Any], key: str, wire: bool) -> Any:
        wire = wire or _is_call(value) or _is_message(value)
        skipped = _skipped_keys(value) if wire else frozenset()
        changed: dict[Any, Any] = {}
        renamed: dict[Any, str] = {}
        for name, old in value.items():
            if name in skipped:
                continue
            if (new_name := self._key(name)) != name:
                renamed[name] = new_name
            said = f"{key} {name}" if key and isinstance(name, str) else name
            under = said if isinstance(said, str) and not wire else ""
            inner = wire and name not in _ARGUMENTS
            new = (
                self._blocks(old)
                if wire and name == "content" and isinstance(old, list)
                else self.value(old, under[-80:], wire=inner)
            )
            if new is not old:
                changed[name] = new
        if renamed:
            return _renamed(value, renamed, changed)
        return _updated(value, changed) if changed else value

    def _key(self, name: Any) -> Any:
        if not isinstance(name, str) or _PLAIN_KEY.fullmatch(name):
            return name
        return self._change(name)

    def _collection(self, value: Any, key: str, wire: bool) -> Any:
        items = [self.value(item, key, wire=wire) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*items)
        if isinstance(value, deque):
            return deque(items, value.maxlen)
        return type(value)(items)

    def _message(self, message: BaseMessage) -> BaseMessage:
        if self._is_clean(message):
            return message
        changed: dict[str, Any] = {}
        for name in (*_MESSAGE_FIELDS, *(message.model_extra or ())):
            old = getattr(message, name, None)
            if not old:
                continue
            if name == "content" and isinstance(old, list):
                new = self._blocks(old)
            else:
                new = self.value(old, wire=name in _CALLS)
            if new is not old:
                changed[name] = new
        return message.model_copy(update=changed) if changed else message

    def _is_clean(self, message: BaseMessage) -> bool:
        """Whether a message was seen before, and has nothing since that could be changed in its place."""
        known = self._clean.get(id(message))
        if known is None or known is not message.content or message.additional_kwargs:
            return False
        return not (getattr(message, "tool_calls", None) or getattr(message, "artifact", None))

    def _blocks(self, blocks: list[Any]) -> list[Any]:
        """Content blocks; what is found only across neighbouring texts lands in the first of them."""
        cleaned = [self.value(block, wire=True) for block in blocks]
        for run in _neighbours(blocks):
            for glue in ("", " "):
                whole = glue.join(_said(blocks[at]) for at in run)
                parts = glue.join(_said(cleaned[at]) for at in run)
                if (changed := self._change(whole)) not in (whole, parts):
                    for at in run:
                        cleaned[at] = _saying(blocks[at], changed if at == run[0] else "")
                    break
        if all(new is old for new, old in zip(cleaned, blocks, strict=True)):
            return blocks
        return cleaned

    def _command(self, command: Command[Any]) -> Command[Any]:
        changed = self._changes(command, ("update", "resume"))
        targets = (
            [command.goto] if isinstance(command.goto, (Send, str)) else list(command.goto or ())
        )
        goto = [self.value(target) if isinstance(target, Send) else target for target in targets]
        if any(new is not old for new, old in zip(goto, targets, strict=True)):
            changed["goto"] = goto[0] if isinstance(command.goto, Send) else goto
        return dataclasses.replace(command, **changed) if changed else command

    def _changes(self, value: Any, names: Sequence[str]) -> dict[str, Any]:
        return {
            name: new
            for name in names
            if (old := getattr(value, name, None)) is not None
            and (new := self.value(old, name if len(names) > 1 else "")) is not old
        }

    def _replaced(self, value: Any, changed: dict[str, Any]) -> Any:
        if not changed:
            return value
        if isinstance(value, tuple):
            return value._replace(**changed)  # type: ignore[attr-defined]
        new = copy(value)  # and not `replace`, which would run `__init__` again
        for name, text in changed.items():
            object.__setattr__(new, name, text)
        return new


def _is_call(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is the call of a tool, as LangChain or a provider writes it."""
    return value.get("type") in ("function", "tool_call")


def _is_message(value: Mapping[Any, Any]) -> bool:
    return "content" in value and value.get("role") in _ROLES


def _skipped_keys(value: Mapping[Any, Any]) -> frozenset[str]:
    skipped = _NAMING_KEYS | {"name"} if _ARGUMENTS & value.keys() else _NAMING_KEYS
    if value.get("type") not in _BINARY_BLOCKS:
        return skipped
    return skipped | {
        key
        for key in _BINARY_KEYS & value.keys()
        if isinstance(value[key], str) and _BASE64.fullmatch(value[key])
    }


def _renamed(value: Mapping[Any, Any], names: Mapping[Any, str], changed: Mapping[Any, Any]) -> Any:
    """A mapping with other keys, of which no two become one."""
    items: dict[Any, Any] = {}
    for key, old in value.items():
        name = wanted = names.get(key, key)
        number = 2
        while name in items or (name is not key and name in value):
            name, number = f"{wanted} ({number})", number + 1
        items[name] = changed.get(key, old)
    try:
        new = copy(value)
        new.clear()  # type: ignore[attr-defined]
        new.update(items)  # type: ignore[attr-defined]
    except (TypeError, AttributeError):
        return items
    return new


def _updated(value: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    try:
        new = copy(value)
        new.update(changed)  # type: ignore[attr-defined]
    except (TypeError, AttributeError):
        return {**value, **changed}
    return new


def _as_json(before: str, after: str) -> str:
    """A changed text, mended where it was JSON and is none any more."""
    if before.lstrip()[:1] not in ("{", "[") or not _is_json(before) or _is_json(after):
        return after
    return _BARE_STAND_IN.sub(r'\1"\2"', after)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _neighbours(blocks: Sequence[Any]) -> Iterator[list[int]]:
    """The places of texts that stand directly behind each other."""
    run: list[int] = []
    for at in range(len(blocks) + 1):
        if at < len(blocks) and _said(blocks[at]):
            run.append(at)
        else:
            if len(run) > 1:
                yield run
            run = []


def _said(block: Any) -> str:
    text = block if isinstance(block, str) else block.get("text") if isinstance(block, dict) else ""
    return text if isinstance(text, str) else ""


def _saying(block: Any, text: str) -> Any:
    return text if isinstance(block, str) else {**block, "text": text}
