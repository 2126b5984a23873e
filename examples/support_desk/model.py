"""The desk's chat model. It plays a script, so that the demo needs neither a key nor a network."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable


def chat_model() -> BaseChatModel:
    """The model of every node. A real one takes one line (`init_chat_model` is in `langchain.chat_models`):

    return init_chat_model("openai:gpt-4o-mini")
    """
    return ScriptedModel()


class ScriptedModel(BaseChatModel):
    """Answers the last message token by token; reports its usage like a provider."""

    model_name: str = "gpt-4o-mini"
    seconds_per_token: float = 0.012

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(**kwargs)  # the script knows its tools

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages):
            time.sleep(self.seconds_per_token)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages):
            await asyncio.sleep(self.seconds_per_token)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _chunks(self, messages: list[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        tool, said = next_step(messages)
        tokens = re.findall(r"\s*[\w.'-]+|\s*\S", said)
        for at, token in enumerate(tokens):
            part = tool_call_chunk(
                name=tool if at == 0 else None,
                args=token,
                id=f"call_{len(messages)}" if at == 0 else None,
                index=0,
            )
            yield _chunk(tool_call_chunks=[part]) if tool else _chunk(content=token)
        read = _tokens(messages)
        usage = {
            "input_tokens": read,
            "output_tokens": len(tokens),
            "total_tokens": read + len(tokens),
            "input_token_details": {"cache_read": _tokens(messages[:-1])},
        }
        yield _chunk(usage_metadata=usage, response_metadata={"model_name": self.model_name})


def _tokens(messages: Sequence[BaseMessage]) -> int:
    return sum(len(str(message.content)) for message in messages) // 4


def _chunk(**parts: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(**{"content": "", **parts}))


def next_step(messages: Sequence[BaseMessage]) -> tuple[str | None, str]:
    """What to do after these messages: the tool to call and its arguments as JSON, or `None` and a text to say."""
    match messages[0], messages[-1]:
        case _, ToolMessage() as result:
            return None, _tell(result)
        case SystemMessage(content=str(prompt)), HumanMessage() if "Handbook:" in prompt:
            return None, prompt.partition("Handbook:")[2].strip()
        case _:
            return _ask([str(m.content) for m in messages if isinstance(m, HumanMessage)])


def _ask(said: list[str]) -> tuple[str | None, str]:
    """Choose a tool by the words of the last question; the order may be in an earlier one."""
    last = said[-1].lower()
    orders = re.findall(r"\bA-\d{4}\b", " ".join(said))
    customer = re.search(r"\bC-\d\d\b", said[-1])
    if orders and re.search(r"refund|money back", last):
        return _call("refund", order=orders[-1], reason=said[-1])
    if orders and re.search(r"where|parcel|track|arrive", last):
        return _call("track_parcel", order=orders[-1])
    if customer:
        return _call("look_up_customer", customer=customer[0])
    if re.search(r"\bA-\d{4}\b", said[-1]):
        return _call("look_up_order", order=orders[-1])
    if "?" in last:
        return _call("search_handbook", question=said[-1])
    return None, "Thank you, I have noted that. Is there anything else that I can do for you?"


def _call(tool: str, **args: str) -> tuple[str, str]:
    return tool, json.dumps(args)


_TOLD: dict[str | None, Callable[[dict[str, str]], str]] = {
    "look_up_order": lambda r: (
        f"Order {r['order']} is a {r['item']} for {r['total']}, sent with {r['carrier']}."
    ),
    "look_up_customer": lambda r: (
        f"I see the account of {r['name']}: mail to {r['email']}, card {r['card']}."
    ),
    "track_parcel": lambda r: (
        f"The parcel of {r['order']} is in {r['place']} and arrives on {r['arrives']}."
    ),
    "refund": lambda r: f"Done: {r['refunded']} go back to the card {r['card']} in three days.",
}


def _tell(result: ToolMessage) -> str:
    """Put a tool's result into words; anything but a record is passed on."""
    text = str(result.content)
    return _TOLD[result.name](json.loads(text)) if text.startswith("{") else text
