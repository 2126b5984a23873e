"""The chat model that is shipped for tests and notebooks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from lg_prod_nodes import ConfigurationError
from lg_prod_nodes.testing import FakeChatModel

CALL = {"name": "address_of", "args": {"name": "bob"}, "id": "call-1"}
CALLS = AIMessage("Let me look.", tool_calls=[CALL])


@tool
def address_of(name: str) -> str:
    """Look up an address."""
    return f"{name}@example.com"


def whole(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *others = chunks
    return sum(others, first)


async def test_replies_come_in_turn_and_start_over() -> None:
    model = FakeChatModel("one", AIMessage("two"), lambda messages: messages[-1].text)
    said = [model.invoke("three").text for _ in range(2)]
    said += [(await model.ainvoke("three")).text for _ in range(2)]
    assert said == ["one", "two", "three", "one"]


@pytest.mark.parametrize(
    "reply", ["Write to bob, \n now. ", "", CALLS, AIMessage([{"type": "text", "text": "a b"}])]
)
async def test_a_stream_says_what_a_call_says(reply: Any) -> None:
    model = FakeChatModel(reply)
    called, acalled = model.invoke("hi"), await model.ainvoke("hi")
    streamed = whole(list(model.stream("hi")))
    astreamed = whole([chunk async for chunk in model.astream("hi")])
    for other in (acalled, streamed, astreamed):
        assert other.content == called.content
        assert other.tool_calls == called.tool_calls
        assert other.usage_metadata == called.usage_metadata
        assert other.response_metadata["model_name"] == "fake"
    assert called.text == (reply if isinstance(reply, str) else reply.text)


def test_texts_and_tool_calls_stream_in_pieces() -> None:
    chunks = list(FakeChatModel(CALLS).stream("hi"))
    assert [chunk.text for chunk in chunks][:3] == ["Let", " me", " look."]
    calls = [chunk.tool_call_chunks for chunk in chunks if chunk.tool_call_chunks]
    assert len(calls) == 3
    assert whole(chunks).tool_calls == [{**CALL, "type": "tool_call"}]
    assert not chunks[-1].tool_call_chunks, "the last chunk carries none: events of v3 drop them"


@pytest.mark.parametrize("mode", ["values", "messages"])
def test_an_agent_calls_its_tools(mode: str) -> None:
    model = FakeChatModel(CALLS, "It is bob.")
    agent = create_agent(model, [address_of])
    list(agent.stream({"messages": [("user", "Where is bob?")]}, stream_mode=mode))
    _, answered = model.asked
    assert answered[-1].text == "bob@example.com"


def test_gives_structured_output() -> None:
    class Order(BaseModel):
        number: int

    call = {"name": "Order", "args": {"number": 7}, "id": "1"}
    model = FakeChatModel(AIMessage("", tool_calls=[call]))
    assert model.with_structured_output(Order).invoke("hi") == Order(number=7)


@pytest.mark.parametrize("error", [ConnectionError("reset"), ConnectionError])
async def test_raises_errors(error: Any) -> None:
    model = FakeChatModel(error, "Hello.")
    with pytest.raises(ConnectionError):
        await model.ainvoke("hi")
    assert model.invoke("hi").text == "Hello."


def test_a_word_is_a_token_unless_a_message_says_otherwise() -> None:
    usage = {"input_tokens": 40, "output_tokens": 10, "total_tokens": 50}
    model = FakeChatModel("one two three", AIMessage("Hi", usage_metadata=usage))
    counted = model.invoke([HumanMessage("a b")]).usage_metadata
    assert counted == {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
    assert model.invoke("a b").usage_metadata == usage
    assert FakeChatModel("one", usage=False).invoke("hi").usage_metadata is None


def test_a_copy_shares_its_turn() -> None:
    model = FakeChatModel("one", "two")
    assert [model.invoke("hi").text, copy.copy(model).invoke("hi").text] == ["one", "two"]


def test_refuses_a_reply_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="int; give a text"):
        FakeChatModel(7).invoke("hi")  # type: ignore[arg-type]


def test_needs_a_reply() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        FakeChatModel(replies=())
