"""Reads message histories: what is new, and which tool calls are unanswered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

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
    asked = (call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls)
    return [call for call in asked if call["id"] not in answered]


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
