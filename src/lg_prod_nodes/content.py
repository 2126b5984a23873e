"""The one walk over everything that carries content: messages, content blocks, tool calls, state, `Command`, `Send`.

`rewrite` gives back the very same object where nothing changed, and a new one of the same shape, id and type where
something did; what it is given is never mutated.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from typing import Any, Literal, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel

T = TypeVar("T")
Rewrite = Callable[[str], str]

_NAMING_KEYS = frozenset(
    {"type", "id", "role", "index", "tool_call_id", "mime_type", "source_type", "finish_reason"}
)
"""Keys of messages and blocks whose values name things rather than say something."""

_BINARY_KEYS = frozenset({"base64", "data"})
"""Keys of content blocks that hold encoded bytes."""

_BINARY_BLOCKS = frozenset({"image", "audio", "video", "file", "input_audio", "base64"})

_BASE64 = re.compile(r"[A-Za-z0-9+/=_\s-]*")
_DATA_URL = re.compile(r"data:[\w/.+;=-]*;base64,[A-Za-z0-9+/=_\s-]*")

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


def rewrite(value: T, change: Rewrite) -> T:
    """Apply `change` to every text inside of a value.

    Args:
        value: A message, a state (mapping, pydantic model, dataclass), an update, a `Command`, `Send` or `Interrupt`,
            an exception's arguments, or any nesting of lists, tuples, sets and mappings of these.
        change: Gets a text, gives back the text to have in its place.

    Returns:
        The same object when no text changed, else a copy with the changed texts.
    """
    return _rewrite(value, change)  # type: ignore[no-any-return]


def replies(
    input: object, text: str, *, status: Literal["success", "error"] = "success"
) -> list[BaseMessage]:
    """A text as the answer of each tool call that waits for one, else as the assistant's message.

    Args:
        input: What a node got: a state with `messages`, or the tool calls that were sent to it.
        text: What to say.
        status: What a tool's answer says of how it went.
    """
    waiting = _waiting_calls(input)
    if not waiting:
        return [AIMessage(text)]
    return [
        ToolMessage(text, tool_call_id=call["id"], name=call["name"], status=status)
        for call in waiting
    ]


def _waiting_calls(input: Any) -> list[Any]:
    if isinstance(input, Mapping) and "tool_call" in input:
        return [input["tool_call"]]
    messages = _messages_of(input) or []
    if messages and all(
        isinstance(m, Mapping) and m.keys() >= {"name", "args", "id"} for m in messages
    ):
        return messages  # the calls themselves, as they are sent to a tool node
    answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    asked = (call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls)
    return [call for call in asked if call["id"] not in answered]


def latest(input: Any) -> Any:
    """What is new in a node's or model's input: the messages from the last human one on, or all of it."""
    messages = _messages_of(input)
    if messages is None or not all(isinstance(message, BaseMessage) for message in messages):
        return input
    last = max((at for at, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    return messages[last:]


def _messages_of(input: Any) -> list[Any] | None:
    found = (
        input.get("messages") if isinstance(input, Mapping) else getattr(input, "messages", input)
    )
    return found if isinstance(found, list) else None


def rewrite_error(error: BaseException, change: Rewrite) -> None:
    """Apply `change` to every text that an exception holds, in place: its arguments, attributes, notes and causes.

    An exception is the one thing that is changed and not copied, since it is on its way already.
    """
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    for current in errors:
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        _rewrite_one_error(current, change)
        errors += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            errors += current.exceptions


def _rewrite_one_error(error: BaseException, change: Rewrite) -> None:
    names = [*vars(error), *(() if isinstance(error, BaseExceptionGroup) else ("args",))]
    if isinstance(error, OSError):
        names += ["filename", "filename2", "strerror"]
    for name in names:
        with suppress(
            Exception
        ):  # the user's error, whatever it is like, is the one that is raised
            old = getattr(error, name)
            if (new := _rewrite(old, change)) is not old:
                setattr(error, name, new)


def texts(value: object) -> list[str]:
    """Every text inside of a value, in the order of the walk."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _rewrite(value, note)
    return found


def _rewrite(value: Any, change: Rewrite) -> Any:  # noqa: C901 - one branch a shape of content
    match value:
        case str():
            changed = value if _is_encoded(value) else change(value)
            return value if changed == value else changed
        case None | bool() | int() | float() | bytes():
            return value
        case dict():
            return _mapping(value, change)
        case list() | tuple() | set() | frozenset() | deque():
            return _collection(value, change)
        case BaseMessage():
            return _model(value, (*_MESSAGE_FIELDS, *(value.model_extra or ())), change)
        case Mapping():
            return _mapping(value, change)
        case Command():
            return _command(value, change)
        case Send():
            return _attribute(value, "arg", change)
        case Interrupt():
            return _attribute(value, "value", change)
        case BaseModel():
            return _model(value, (*type(value).model_fields, *(value.model_extra or ())), change)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _fields(value, tuple(f.name for f in dataclasses.fields(value)), change)
        case _:
            return value


def _mapping(value: Mapping[Any, Any], change: Rewrite) -> Any:
    skipped = _skipped_keys(value)
    changed = {
        key: text
        for key, old in value.items()
        if key not in skipped and (text := _rewrite(old, change)) is not old
    }
    if not changed:
        return value
    try:
        new = copy(value)
        new.update(changed)  # type: ignore[attr-defined]
    except (TypeError, AttributeError):
        return {**value, **changed}
    return new


def _is_encoded(text: str) -> bool:
    return text.startswith("data:") and _DATA_URL.fullmatch(text) is not None


def _skipped_keys(value: Mapping[Any, Any]) -> frozenset[str]:
    if "args" in value or "arguments" in value or value.get("type") == "tool_use":
        return _NAMING_KEYS | {"name"}
    if value.get("type") in _BINARY_BLOCKS:
        encoded = {
            key
            for key in _BINARY_KEYS & value.keys()
            if isinstance(value[key], str) and _BASE64.fullmatch(value[key])
        }
        return _NAMING_KEYS | encoded
    return _NAMING_KEYS if "type" in value or "role" in value else frozenset()


def _collection(value: Any, change: Rewrite) -> Any:
    items = [_rewrite(item, change) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return type(value)(items)


def _model(value: BaseModel, names: tuple[str, ...], change: Rewrite) -> Any:
    changed = _changes(value, names, change)
    return value.model_copy(update=changed) if changed else value


def _fields(value: Any, names: tuple[str, ...], change: Rewrite) -> Any:
    changed = _changes(value, names, change)
    if not changed:
        return value
    new = copy(value)  # and not `replace`, which would run `__init__` again
    for name, text in changed.items():
        object.__setattr__(new, name, text)
    return new


def _changes(value: Any, names: tuple[str, ...], change: Rewrite) -> dict[str, Any]:
    return {
        name: new
        for name in names
        if (old := getattr(value, name, None)) is not None
        and (new := _rewrite(old, change)) is not old
    }


def _command(value: Command[Any], change: Rewrite) -> Command[Any]:
    changed = _changes(value, ("update", "resume"), change)
    targets = [value.goto] if isinstance(value.goto, (Send, str)) else list(value.goto or ())
    goto = [_rewrite(target, change) if isinstance(target, Send) else target for target in targets]
    if any(new is not old for new, old in zip(goto, targets, strict=True)):
        changed["goto"] = goto[0] if isinstance(value.goto, Send) else goto
    return dataclasses.replace(value, **changed) if changed else value


def _attribute(value: T, name: str, change: Rewrite) -> T:
    old = getattr(value, name)
    new = _rewrite(old, change)
    if new is old:
        return value
    changed = copy(value)
    setattr(changed, name, new)
    return changed
