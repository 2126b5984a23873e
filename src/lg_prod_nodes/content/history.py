"""Reads message histories: what is new, and which tool calls are unanswered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.types import StateSnapshot
from pydantic import BaseModel

from lg_prod_nodes.core.call import Call


def replies(
    input: object, text: str, *, status: Literal["success", "error"] = "success"
) -> list[BaseMessage]:
    """Return a text as the answer to every unanswered tool call, or as an assistant message if there is none.

    Args:
        input: The input of a node: a state with `messages`, or the tool calls sent to it.
        text: The text of the answer.
        status: The status of the tool messages.
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
        return messages  # the calls themselves, as sent to a tool node
    answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    return [call for call in _tool_calls(messages) if call["id"] not in answered]


def _tool_calls(messages: list[Any]) -> list[Any]:
    return [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]


def unanswered(state: StateSnapshot, text: str) -> list[BaseMessage]:
    """Return an answer to each tool call of an unfinished step: what its task has given already, else a text.

    A new input discards what the tasks of an unfinished step have given, although the snapshot shows it.
    """
    given = {
        message.tool_call_id: message
        for task in state.tasks
        for message in _messages_of(task.result or {}) or []
        if isinstance(message, ToolMessage)
    }
    waiting = {call["id"] for call in _waiting_calls(state.values)}
    return [
        given.get(call["id"])
        or ToolMessage(text, tool_call_id=call["id"], name=call["name"], status="error")
        for call in _tool_calls(_messages_of(state.values) or [])
        if call["id"] in given or call["id"] in waiting
    ]


def with_messages_first(input: Any, messages: list[BaseMessage]) -> Any:
    """Return the input of a run with messages before its own; the input itself if it has no room for any."""
    if isinstance(input, Mapping):
        return {**input, "messages": [*messages, *_listed(input.get("messages", []))]}
    if not hasattr(input, "messages"):
        return input
    changed = {"messages": [*messages, *_listed(input.messages)]}
    if dataclasses.is_dataclass(input) and not isinstance(input, type):
        return dataclasses.replace(input, **changed)
    return input.model_copy(update=changed) if isinstance(input, BaseModel) else input


def _listed(messages: Any) -> list[Any]:
    return messages if isinstance(messages, list) else [messages]


def latest(input: Any) -> Any:
    """Return the new part of an input: the messages from the last human one on, or the whole input."""
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


async def as_update(call: Call, reply: Any) -> Any:
    """Return a policy's reply as a state update: a text becomes a message in `messages`, anything else is unchanged."""
    if not isinstance(reply, str):
        return reply
    return {"messages": replies(call.input if call.kind == "node" else None, reply)}
