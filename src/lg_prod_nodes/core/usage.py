"""Tokens of model calls: what a provider reports, and what is estimated where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.uuid import uuid7
from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of model calls, and their price where it is known.

    Attributes:
        calls: Number of model calls.
        input_tokens: Tokens sent, cached ones included.
        output_tokens: Tokens received, reasoning included.
        cache_read_tokens: Part of `input_tokens` that the provider read from its cache.
        cache_write_tokens: Part of `input_tokens` that the provider wrote to its cache.
        reasoning_tokens: Part of `output_tokens` spent on reasoning.
        cost: Price in US dollars of the calls whose price is known.
        unpriced_calls: Number of calls whose price is not known.
        estimated_calls: Number of calls whose tokens the provider did not tell, so that they are estimated.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced_calls: int = 0
    estimated_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens sent and received."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Usage:
        """One call's usage from LangChain's `usage_metadata`; zero tokens where the provider reports none."""
        metadata = metadata or {}
        return cls(
            calls=1,
            unpriced_calls=1,
            input_tokens=metadata.get("input_tokens") or 0,
            output_tokens=metadata.get("output_tokens") or 0,
            cache_read_tokens=(metadata.get("input_token_details") or {}).get("cache_read") or 0,
            cache_write_tokens=(metadata.get("input_token_details") or {}).get("cache_creation")
            or 0,
            reasoning_tokens=(metadata.get("output_token_details") or {}).get("reasoning") or 0,
        )


ModelOutcome = Literal["answered", "failed", "cached"]
"""How a model call ended: with an answer that is billed, without one, or from a cache."""


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """A model call that has ended.

    Attributes:
        id: LangChain's run id of the call.
        model: The model that answered, as the provider names it.
        outcome: How it ended.
        usage: What it spent; nothing unless it was answered.
        seconds: How long it took.
    """

    id: str
    model: str
    outcome: ModelOutcome
    usage: Usage
    seconds: float


@dataclass(slots=True)
class CallRequest:
    """What a model call asks for, and what it has spent.

    Attributes:
        max_output_tokens: The most tokens that the model may answer with, `None` if it is not told.
        schemas: The tools that the model may call and the answers that it may give, or their schemas.
        calls: The calls of providers that were made for it, as each of them ended.
        listener: Gets calls that end later, such as those of a stream that is read after the call returned.
        id: LangChain's run id of the call; of several prompts that are asked at once, of the first.
    """

    max_output_tokens: int | None = None
    schemas: tuple[Any, ...] = ()
    calls: list[MeteredCall] = field(default_factory=list)
    listener: Callable[[MeteredCall], None] | None = None
    id: str = field(default_factory=lambda: str(uuid7()))

    def note(self, call: MeteredCall) -> None:
        """Note a call that has ended."""
        self.calls.append(call)
        if self.listener is not None:
            self.listener(call)

    @property
    def spent(self) -> list[Usage]:
        """The usage of the calls that were answered."""
        return [call.usage for call in self.calls if call.outcome == "answered"]


_CHARACTERS_PER_TOKEN = 4
"""What LangChain's own estimate takes."""


_SCHEMAS = ("tools", "functions", "response_format")
"""What models call the schemas that they are given."""


def estimated_tokens(input: Any, schemas: Iterable[Any] = ()) -> int:
    """An estimate of a model's input in tokens: four characters of a text are one, and each message has three more.

    Args:
        input: Messages, lists of messages, or texts.
        schemas: What the model is given beside them: tools, or their schemas.
    """
    if isinstance(input, str):
        tokens = tokens_of(len(input))
    elif isinstance(input, BaseMessage):
        tokens = count_tokens_approximately([input])
    elif isinstance(input, Mapping):
        tokens = sum(map(estimated_tokens, input.values()))
    elif isinstance(input, Iterable):
        tokens = sum(map(estimated_tokens, input))
    else:
        tokens = 0
    return tokens + tokens_of(sum(map(_length, schemas)))


def schemas_in(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The schemas of tools and answers among the options of a model's call, as `bind_tools` sets them."""
    given = [options[name] for name in _SCHEMAS if options.get(name)]
    return tuple(
        schema
        for some in given
        for schema in (some if isinstance(some, (list, tuple)) else (some,))
    )


def _length(schema: Any) -> int:
    is_model = isinstance(schema, type) and issubclass(schema, BaseModel)
    if is_model or isinstance(schema, BaseTool):
        schema = convert_to_openai_tool(schema)
    return len(json.dumps(schema, default=str))


def tokens_of(characters: int) -> int:
    """An estimate of a text's tokens by its length."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


_MOST_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What providers call the most that a model is asked to say."""


def most_output(model: Any, options: Mapping[str, Any]) -> int | None:
    """The most tokens that a model is asked to say, by the options of a call or its own; `None` if it is not told."""
    said = (options.get(name) or getattr(model, name, None) for name in _MOST_OUTPUT)
    return next((most for most in said if isinstance(most, int)), None)
