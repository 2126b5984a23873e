"""A thought that its provider signed goes back as it came, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.content.message_stream import EventStream, MessageStream
from lg_prod_nodes.content.walk import rewrite

SIGNATURE = "EqQBCkgIARABGAIiQ/xvB7mNpQ2tK9fLzR4wYd8HsJc5VbA6+PqXeT3uGkoM1nZiCg=="
CHANGED = [
    "I bind to 93.184.216.34 and start.",
    "Maybe mail carl@example.com first.",
    "card 4111 1111 1111 1111",
]
UNCHANGED = ["Just start.", "Step 1 of 10, then ann@home", ""]


def anthropic(text: str, signature: str | None = SIGNATURE) -> dict[str, Any]:
    signed = {} if signature is None else {"signature": signature}
    return {"type": "thinking", "thinking": text, **signed}


def bedrock(text: str, signature: str | None = SIGNATURE) -> dict[str, Any]:
    signed = {} if signature is None else {"signature": signature}
    return {"type": "reasoning_content", "reasoning_content": {"text": text, **signed}}


def standard(text: str, signature: str | None = SIGNATURE) -> dict[str, Any]:
    signed = {} if signature is None else {"extras": {"signature": signature}}
    return {"type": "reasoning", "reasoning": text, **signed}


MAKERS = [anthropic, bedrock, standard]


def redacted(value: Any) -> Any:
    return rewrite(value, Redact().replacer().change)


@pytest.mark.parametrize("make", MAKERS)
def test_a_changed_thought_is_left_out(make: Any) -> None:
    for thought in CHANGED:
        message = AIMessage([make(thought), {"type": "text", "text": "Starting."}])
        assert redacted(message).content == [{"type": "text", "text": "Starting."}]
        wire = {"role": "assistant", "content": [make(thought)]}
        assert redacted(wire)["content"] == []


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("signature", [SIGNATURE, "sk-proj-" + "a1B2c3D4" * 6 + "QQ"])
def test_a_thought_that_nothing_was_found_in_is_the_very_same(make: Any, signature: str) -> None:
    for thought in UNCHANGED:
        message = AIMessage([make(thought, signature), {"type": "text", "text": "Starting."}])
        assert redacted(message) is message


@pytest.mark.parametrize("make", MAKERS)
def test_a_thought_without_a_signature_stays_and_is_clean(make: Any) -> None:
    message = AIMessage([make(CHANGED[1], None)])

    assert redacted(message).content == [make("Maybe mail [EMAIL_ADDRESS] first.", None)]


def chunks(make: Any, thought: str, size: int, parts: int = 2) -> list[AIMessageChunk]:
    """A thought as providers stream it: its text, then its signature, piece by piece; then the answer."""
    said = [thought[at : at + size] for at in range(0, len(thought), size)]
    step = -(-len(SIGNATURE) // parts)
    signed = [SIGNATURE[at : at + step] for at in range(0, len(SIGNATURE), step)]
    blocks = [make(piece, None) for piece in said] + [make("", piece) for piece in signed]
    blocks = [{**block, "index": 0} for block in blocks]
    return [
        AIMessageChunk([block])
        for block in [*blocks, {"type": "text", "text": "Starting.", "index": 1}]
    ]


def streamed(pieces: list[AIMessageChunk]) -> AIMessageChunk:
    stream = MessageStream((Redact().replacer(),))
    left = [c for m in pieces for c in stream.feed(ChatGenerationChunk(message=m))]
    return reduce(add, (chunk.message for chunk in [*left, *stream.flush()]))  # type: ignore[return-value]


@pytest.mark.parametrize("make", MAKERS[:2])
@pytest.mark.parametrize("size", [1, 3, 9, 99])
def test_a_streamed_thought_is_left_out_of_the_message_if_it_was_changed(
    make: Any, size: int
) -> None:
    for thought in CHANGED:
        joined = streamed(chunks(make, thought, size))
        assert SIGNATURE not in repr(joined)
        assert [block["type"] for block in redacted(joined).content] == ["text"]


@pytest.mark.parametrize("make", MAKERS[:2])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_a_streamed_thought_that_nothing_was_found_in_keeps_its_signature(
    make: Any, size: int
) -> None:
    for thought in UNCHANGED[:2]:
        joined = streamed(chunks(make, thought, size))
        assert joined.content[0] == {**make(thought), "index": 0}
        assert redacted(joined) is joined


def test_a_thought_in_protocol_events_is_withdrawn() -> None:
    stream = EventStream((Redact().replacer(),))

    (event,) = stream.feed(
        {"event": "content-block-finish", "index": 0, "content": standard(CHANGED[1])}
    )

    assert redacted(AIMessage([event["content"]])).content == []


class Thinking(BaseChatModel):
    """Thinks, calls a tool, and remembers what it was asked."""

    thought: str
    asked: list[Any] = []  # noqa: RUF012 - pydantic copies it

    @property
    def _llm_type(self) -> str:
        return "thinking"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _answer(self, messages: list[Any]) -> AIMessage:
        self.asked.append(messages)
        if isinstance(messages[-1], ToolMessage):
            return AIMessage("done")
        calls: Any = [{"name": "start", "args": {"port": 1}, "id": "1"}]
        return AIMessage(
            [anthropic(self.thought), {"type": "text", "text": "Go."}], tool_calls=calls
        )

    def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    def _stream(self, messages: list[Any], *a: Any, **k: Any) -> Iterator[ChatGenerationChunk]:
        answer = self._answer(messages)
        if isinstance(answer.content, str):
            yield ChatGenerationChunk(message=AIMessageChunk(answer.content))
            return
        for chunk in chunks(anthropic, self.thought, 5):
            yield ChatGenerationChunk(message=chunk)
        call: Any = {"name": "start", "args": '{"port": 1}', "id": "1", "index": 2}
        yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[call]))

    async def _astream(
        self, messages: list[Any], *a: Any, **k: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


@pytest.mark.parametrize("mode", ["values", "messages"])
@pytest.mark.parametrize("thought", [*CHANGED, UNCHANGED[0]])
def test_an_agent_s_model_gets_its_thoughts_as_they_were(thought: str, mode: Any) -> None:
    @tool
    def start(port: int) -> str:
        """Start."""
        return "started"

    model = Thinking(thought=thought, asked=[])
    agent = harden(create_agent(model, [start]), [Redact()])

    list(agent.stream({"messages": [("user", "go")]}, stream_mode=mode))

    back = [b for m in model.asked[1] for b in m.content if isinstance(b, dict)]
    thoughts = [b for b in back if b["type"] == "thinking"]
    assert [b["thinking"] for b in thoughts] == ([thought] if thought in UNCHANGED else [])
    assert all(b["signature"] == SIGNATURE for b in thoughts)
