"""A chat model that needs no network."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk as piece_of_call
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from lg_prod_nodes.core.errors import ConfigurationError

Reply = str | AIMessage | BaseException | Callable[[list[BaseMessage]], Any]
"""A text, a message, an error to raise, or a function of the messages that gives one of them."""


class FakeChatModel(BaseChatModel):
    """A chat model for tests, notebooks and demos: it says what it is given.

        model = FakeChatModel("Hello.")
        model = FakeChatModel(AIMessage("", tool_calls=[call]), "The parcel is on its way.")
        model = FakeChatModel(ConnectionError("reset"), "Hello.")
        model = FakeChatModel(lambda messages: f"You said: {messages[-1].text}")

    Replies come in turn; after the last one, the first comes again. It streams as a provider's model does: texts word
    by word, each tool call in pieces, the usage last. Tools and structured output work. A word counts as one token,
    unless a message brings its own `usage_metadata`.

    Args:
        replies: What the model says: texts, messages, errors to raise, or functions of the messages it is asked.
        delay: Seconds before each piece.
        usage: `False` for a model that reports no usage.
        model_name: The name that it reports, by which prices are looked up.

    Attributes:
        asked: The messages of each call, in order.
    """

    replies: tuple[Any, ...] = Field(default=("Hello.",), min_length=1)
    delay: float = 0.0
    usage: bool = True
    model_name: str = "fake"
    asked: list[list[BaseMessage]] = Field(default_factory=list, exclude=True, repr=False)
    _turn: Iterator[int] = PrivateAttr(default_factory=itertools.count)

    def __init__(
        self,
        *replies: Reply,
        delay: float = 0.0,
        usage: bool = True,
        model_name: str = "fake",
        **options: Any,
    ) -> None:
        options |= {"delay": delay, "usage": usage, "model_name": model_name}
        if replies:
            options["replies"] = replies
        super().__init__(**options)

    @property
    def _llm_type(self) -> str:
        return "fake"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Runnable[Any, AIMessage]:
        """A model that is told of tools, which it calls if a reply does."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **options)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages))

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages))

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            if self.delay:
                time.sleep(self.delay)
            yield ChatGenerationChunk(message=piece)

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            if self.delay:
                await asyncio.sleep(self.delay)
            yield ChatGenerationChunk(message=piece)

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        reply = self._reply(messages)
        extra = reply.additional_kwargs
        for content in _contents(reply):
            yield AIMessageChunk(content=content, id=reply.id, additional_kwargs=extra)
            extra = {}
        for index, call in enumerate(reply.tool_calls):
            for piece in _pieces_of(call, index):
                yield AIMessageChunk(content="", id=reply.id, tool_call_chunks=[piece])
        yield AIMessageChunk(
            content="",
            id=reply.id,
            usage_metadata=reply.usage_metadata or self._spent(messages, reply),
            response_metadata={"model_name": self.model_name, **reply.response_metadata},
            chunk_position="last",
        )

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append(messages)
        reply = self.replies[next(self._turn) % len(self.replies)]
        if isinstance(reply, type):
            reply = reply()
        elif callable(reply):
            reply = reply(messages)
        match reply:
            case str():
                return AIMessage(reply)
            case AIMessage():
                return reply
            case BaseException():
                raise reply.with_traceback(None)
            case _:
                given = f"a reply is of the type {type(reply).__name__}"
                raise ConfigurationError(
                    f"{given}; give a text, an AIMessage, an error, or a function"
                )

    def _spent(self, messages: list[BaseMessage], reply: AIMessage) -> UsageMetadata | None:
        if not self.usage:
            return None
        sent, received = sum(map(_words, messages)), _words(reply)
        return UsageMetadata(
            input_tokens=sent, output_tokens=received, total_tokens=sent + received
        )


def _contents(reply: AIMessage) -> list[Any]:
    if isinstance(reply.content, str):
        return re.findall(r"\s*\S+|\s+$", reply.content) or [reply.content]
    return [
        [block] if isinstance(block, str) else [{"index": index, **block}]
        for index, block in enumerate(reply.content)
    ]


def _pieces_of(call: ToolCall, index: int) -> Iterator[ToolCallChunk]:
    arguments = json.dumps(call["args"])
    middle = len(arguments) // 2
    yield piece_of_call(name=call["name"], args="", id=call["id"], index=index)
    yield piece_of_call(args=arguments[:middle], index=index)
    yield piece_of_call(args=arguments[middle:], index=index)


def _words(message: BaseMessage) -> int:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return len(message.text.split()) + sum(len(json.dumps(call["args"]).split()) for call in calls)
