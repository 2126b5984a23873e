"""The usage of a model call: as reported by its provider, else estimated from lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult

from lg_prod_nodes.core.usage import Usage, estimated_tokens, tokens_of


class Answer:
    """The part of an answer streamed so far: lengths and numbers, never its text."""

    __slots__ = ("characters", "reported")

    def __init__(self) -> None:
        self.characters = 0
        self.reported: UsageMetadata | None = None

    def add(self, message: Any) -> None:
        """Add a piece, given as a message or as its content."""
        self.characters += _length(getattr(message, "content", message))
        for call in getattr(message, "tool_call_chunks", None) or ():
            self.characters += len(call.get("args") or "")
        self.report(getattr(message, "usage_metadata", None))

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Add an event from LangChain's event streams."""
        if event["event"] == "content-block-delta":
            self.characters += _length([event["delta"]])
        elif event["event"] == "message-finish":
            self.report(event.get("usage"))

    def report(self, usage: Any) -> None:
        """Add the usage that a piece reports, if any."""
        if usage:
            self.reported = add_usage(self.reported, usage)

    def cut(self, input_tokens: int) -> Usage | None:
        """Return the usage of a call that ended early, given an estimate of its input; `None` if nothing streamed."""
        if not (self.characters or self.reported):
            return None
        usage = Usage.of(cast("Mapping[str, Any] | None", self.reported))
        streamed = tokens_of(self.characters)
        if usage.input_tokens and usage.output_tokens >= streamed:
            return usage
        return replace(
            usage,
            input_tokens=usage.input_tokens or input_tokens,
            output_tokens=max(usage.output_tokens, streamed),
            estimated_calls=1,
        )


def spent(response: LLMResult, input_tokens: int) -> Usage:
    """Return the usage of a completed call, given an estimate of its input."""
    for message in _messages(response):
        usage = Usage.of(cast("Mapping[str, Any] | None", message.usage_metadata))
        if usage.total_tokens:
            return usage
    if (reported := (response.llm_output or {}).get("token_usage")) is not None:
        return _of_texts(reported)
    answers = [_said(generation) for some in response.generations for generation in some]
    return estimated(input_tokens, estimated_tokens(answers))


def estimated(input_tokens: int, output_tokens: int = 0) -> Usage:
    """Return the usage of one call whose tokens are estimated."""
    return replace(
        Usage.of(None),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        estimated_calls=1,
    )


def is_cached(response: LLMResult) -> bool:
    """Return whether the answer came from LangChain's cache, which reports a total cost of 0."""
    return any(
        cast("Mapping[str, Any]", message.usage_metadata or {}).get("total_cost") == 0
        for message in _messages(response)
    )


def model_of(response: LLMResult) -> str | None:
    """Return the model's name as reported by the provider."""
    return next(
        (m.response_metadata.get("model_name") for m in _messages(response)),
        None,
    )


def may_be_billed(error: BaseException) -> bool:
    """Return whether the provider may bill a call that failed: one that timed out or was cancelled."""
    if not isinstance(error, Exception):
        return True
    return any("timeout" in kind.__name__.lower() for kind in type(error).__mro__)


def _of_texts(reported: Mapping[str, Any]) -> Usage:
    """Return the usage reported by a text model. In a batch, the first text reports the usage of all."""
    usage = {
        "input_tokens": reported.get("prompt_tokens"),
        "output_tokens": reported.get("completion_tokens"),
    }
    return Usage.of(usage)


def _messages(response: LLMResult) -> Iterator[AIMessage]:
    for generation in (generation for some in response.generations for generation in some):
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            yield generation.message


def _said(generation: Any) -> str | BaseMessage:
    return generation.message if isinstance(generation, ChatGeneration) else str(generation.text)


def _length(content: Any) -> int:
    """Return the number of characters in a piece of an answer."""
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(map(_length, content))
    if isinstance(content, Mapping):
        return sum(len(content.get(name) or "") for name in ("text", "reasoning", "args"))
    return 0
