"""Models that say what they are told to: piece by piece, cut anywhere, or whole."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models._compat_bridge import chunks_to_events
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from pydantic import Field


def cut(text: str, seed: object, most: int = 0) -> list[str]:
    """A text in pieces of up to 24 characters, of which some are of one."""
    rng, pieces, at = random.Random(f"cut/{seed}"), [], 0
    while at < len(text):
        size = rng.randint(1, most or rng.choice((3, 24)))
        pieces.append(text[at : at + size])
        at += size
    return pieces


class Whole(BaseChatModel):
    """Says a message at once; tells what it was asked."""

    says: AIMessage = Field(default_factory=lambda: AIMessage("well"), repr=False)
    then: str = Field(default="done", repr=False)
    asked: Any = Field(default_factory=list, repr=False)
    quotes: bool = False
    """Whether it fails, with an error that quotes what it was asked."""

    @property
    def _llm_type(self) -> str:
        return "canary"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append(messages)
        if self.quotes:
            raise ValueError(f"cannot answer: {[message.content for message in messages]}")
        answered = self.says.tool_calls and any(message.type == "tool" for message in messages)
        return AIMessage(self.then) if answered else self.says.model_copy(deep=True)

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])


class Speaker(Whole):
    """Says a message piece by piece."""

    seed: str = ""
    most: int = 0

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in pieces_of(self._next(messages), self.seed, self.most):
            yield ChatGenerationChunk(message=chunk)


class AsyncSpeaker(Speaker):
    """Says a message piece by piece, natively asynchronous too."""

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> ChatResult:
        return self._generate(messages)

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


class Teller(Speaker):
    """Tells its tokens to the callbacks by itself, as older integrations do."""

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in pieces_of(self._next(messages), self.seed):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.content), chunk=generation)
            yield generation


class Native(Speaker):
    """Makes the events of LangChain's own protocol by itself."""

    def _stream_chat_model_events(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> Iterator[Any]:
        yield from chunks_to_events(self._stream(messages))


class WholeTeller(Whole):
    """Says a message at once, but has told its tokens to the callbacks before."""

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        says = self._next(messages)
        for chunk in pieces_of(says, "whole"):
            if run_manager is not None:
                generation = ChatGenerationChunk(message=chunk)
                run_manager.on_llm_new_token(str(chunk.content), chunk=generation)
        return ChatResult(generations=[ChatGeneration(message=says)])


class Completing(LLM):
    """A model of texts, not of messages."""

    says: str = Field(repr=False)
    asked: Any = Field(default_factory=list, repr=False)

    @property
    def _llm_type(self) -> str:
        return "canary"

    def _call(self, prompt: str, *args: Any, **options: Any) -> str:
        self.asked.append(prompt)
        return self.says

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[GenerationChunk]:
        self.asked.append(prompt)
        for piece in cut(self.says, "completing"):
            if run_manager is not None:
                run_manager.on_llm_new_token(piece, chunk=GenerationChunk(text=piece))
            yield GenerationChunk(text=piece)


def pieces_of(message: AIMessage, seed: str, most: int = 0) -> Iterator[AIMessageChunk]:
    """The chunks of a message: content, blocks, reasoning and arguments, each cut anywhere."""
    if isinstance(message.content, str):
        yield from (AIMessageChunk(piece) for piece in cut(message.content, seed, most))
    else:
        yield from _pieces_of_blocks(message.content, seed)
    for name, value in message.additional_kwargs.items():
        if isinstance(value, str):
            for piece in cut(value, (seed, name)):
                yield AIMessageChunk("", additional_kwargs={name: piece})
    for at, call in enumerate(message.tool_calls):
        yield from _pieces_of_call(at, call, seed, wire="tool_calls" in message.additional_kwargs)


def _pieces_of_blocks(blocks: list[Any], seed: str) -> Iterator[AIMessageChunk]:
    for at, block in enumerate(blocks):
        if isinstance(block, str):
            yield AIMessageChunk([block])
            continue
        field = next(name for name in ("text", "reasoning", "thinking") if name in block)
        for piece in cut(block[field], (seed, at)):
            yield AIMessageChunk([{**block, field: piece}])


def _pieces_of_call(at: int, call: Any, seed: str, *, wire: bool) -> Iterator[AIMessageChunk]:
    named = {"name": call["name"], "id": call["id"]}
    for piece in cut(json.dumps(call["args"]), (seed, at)):
        chunk = {"type": "tool_call_chunk", "index": at, "args": piece, "name": None, "id": None}
        function = {"arguments": piece, "name": named["name"]}
        raw = {"index": at, "id": named["id"], "function": function, "type": "function"}
        yield AIMessageChunk(
            "",
            tool_call_chunks=[{**chunk, **named}],
            additional_kwargs={"tool_calls": [raw]} if wire else {},
        )
        named = {"name": None, "id": None}
