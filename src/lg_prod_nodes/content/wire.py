"""The keys of messages, content blocks and tool calls in the formats of LangChain and providers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from lg_prod_nodes.content.location import ANSWER, MESSAGE, Tool

NAMING_KEYS = frozenset(
    {"type", "id", "role", "index", "tool_call_id", "mime_type", "source_type", "finish_reason"}
)
"""Keys of messages and blocks whose values are identifiers, not content."""
_NAMING_KEYS_OF_CALLS = NAMING_KEYS | {"name"}

ARGUMENTS = frozenset({"args", "arguments", "input"})
"""Keys of tool calls whose values are user data, in which no key has a special meaning."""

MESSAGE_FIELDS = (
    "content",
    "name",
    "additional_kwargs",
    "response_metadata",
    "tool_calls",
    "invalid_tool_calls",
    "tool_call_chunks",
    "artifact",
)
CALLS = frozenset({"tool_calls", "invalid_tool_calls", "tool_call_chunks"})

WITHDRAWN = "[WITHDRAWN]"
"""Replaces the signature of a thought that was changed after part of it had been streamed."""

_ROLES = frozenset({"user", "human", "assistant", "ai", "system", "developer", "tool", "function"})
_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_content"})
SIGNATURES = frozenset({"signature", "thought_signature"})
_BINARY_KEYS = frozenset({"base64", "data"})
_BINARY_BLOCKS = frozenset(
    {"image", "audio", "video", "file", "input_audio", "base64", "redacted_thinking"}
)

_DATA_URL = re.compile(r"data:[\w/.+;=-]*;base64,")
_ONE_ALPHABET = str.maketrans("-_", "+/", "\r\n")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
"""Shorter ones may be a value written in the same alphabet, such as an account number."""
_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d{7,}(?![A-Za-z0-9])")


def is_call(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a tool call."""
    return value.get("type") in ("function", "tool_call")


def marker_of(value: Any) -> Any:
    """Return what marks the inside of a message, block or call as a location."""
    if isinstance(value, BaseMessage):
        name, is_of_tool = value.name, isinstance(value, ToolMessage)
        is_answer = isinstance(value, AIMessage)
    else:
        role, name = value.get("role") or value.get("type"), value.get("name")
        is_of_tool = role == "tool" or not ARGUMENTS.isdisjoint(value)
        is_answer = role in ("ai", "assistant")
    if is_of_tool and isinstance(name, str):
        return Tool(name)
    return ANSWER if is_answer else MESSAGE


def is_message(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a message."""
    return "content" in value and value.get("role") in _ROLES


def skipped_keys(value: Mapping[Any, Any]) -> frozenset[str]:
    """Return the keys of a message, block or call whose values are not searched."""
    skipped = NAMING_KEYS if ARGUMENTS.isdisjoint(value) else _NAMING_KEYS_OF_CALLS
    is_binary = value.get("type") in _BINARY_BLOCKS
    encoded = SIGNATURES | _BINARY_KEYS if is_binary else SIGNATURES
    if encoded.isdisjoint(value):
        return skipped
    return skipped | {name for name in encoded & value.keys() if _is_base64(value[name])}


def is_encoded(text: str) -> bool:
    """Return whether a text is a data URL with encoded bytes, and not just prefixed like one."""
    if not text.startswith("data:"):
        return False
    claim = _DATA_URL.match(text)
    return claim is not None and _is_base64(text[claim.end() :])


def _is_base64(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    encoded = text.translate(_ONE_ALPHABET)
    if not _BASE64.fullmatch(encoded) or _NUMBER.search(encoded):
        return False
    try:
        return bool(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except binascii.Error:
        return False


def is_thought(block: Any) -> bool:
    """Return whether a content block is a model's thought."""
    return isinstance(block, Mapping) and block.get("type") in _THOUGHTS


def is_signed_thought(block: Any) -> bool:
    """Return whether a thought is signed by its provider, so that it must be sent back unchanged or not at all."""
    return is_thought(block) and any(_signatures(block))


def is_withdrawn(block: Any) -> bool:
    """Return whether a thought was changed in a stream before its signature arrived."""
    return is_thought(block) and WITHDRAWN in _signatures(block)


def withdrawn(block: Mapping[str, Any], instead: str = WITHDRAWN) -> dict[str, Any]:
    """Return a thought without its signature."""
    kept: dict[str, Any] = {}
    for name, value in block.items():
        inner = withdrawn(value, instead) if isinstance(value, Mapping) else value
        kept[name] = instead if name in SIGNATURES else inner
    return kept


def _signatures(block: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in block.items():
        if name in SIGNATURES:
            yield value
        elif isinstance(value, Mapping):
            yield from _signatures(value)


def said(block: Any) -> str:
    """Return the text of a content block."""
    text = block if isinstance(block, str) else block.get("text") if isinstance(block, dict) else ""
    return text if isinstance(text, str) else ""


def saying(block: Any, text: str) -> Any:
    """Return a content block with another text."""
    return text if isinstance(block, str) else {**block, "text": text}


def neighbours(blocks: Sequence[Any]) -> Iterator[list[int]]:
    """Yield the positions of texts that directly follow each other."""
    run: list[int] = []
    for at in range(len(blocks) + 1):
        if at < len(blocks) and said(blocks[at]):
            run.append(at)
        else:
            if len(run) > 1:
                yield run
            run = []
