"""Tokens of model calls, as reported by the provider or estimated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.uuid import uuid7
from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of model calls, and their cost if it is known.

    Attributes:
        calls: Number of model calls.
        input_tokens: Tokens sent, cached ones included.
        output_tokens: Tokens received, reasoning included.
        cache_read_tokens: Part of `input_tokens` that the provider read from its cache.
        cache_write_tokens: Part of `input_tokens` that the provider wrote to its cache.
        reasoning_tokens: Part of `output_tokens` spent on reasoning.
        cost: Cost in US dollars of the calls whose price is known.
        unpriced_calls: Number of calls whose price is not known.
        estimated_calls: Number of calls whose tokens are estimated, since the provider did not report them.
        cache_write_1h_tokens: Part of `cache_write_tokens` that the provider stores for an hour, at a higher price.
        service_tier: The tier of the calls, `"flex"` or `"priority"`; empty for the standard one, and for several.
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
    cache_write_1h_tokens: int = 0
    service_tier: str = ""

    @property
    def total_tokens(self) -> int:
        """Tokens sent and received."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        tiers = {usage.service_tier for usage in (self, other) if usage.calls or usage.service_tier}
        tier = tiers.pop() if len(tiers) == 1 else ""
        numbers = (each.name for each in fields(self) if each.name != "service_tier")
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        return Usage(**sums, service_tier=tier)

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Usage:
        """Return one call's usage from LangChain's `usage_metadata`; 0 tokens if the provider reports none."""
        metadata = metadata or {}
        sent, received = (
            metadata.get(f"{name}_token_details") or {} for name in ("input", "output")
        )
        tier = next((tier for tier in _TIERS if tier in sent or f"{tier}_cache_read" in sent), "")
        prefix = f"{tier}_" if tier else ""
        by_duration = [sent.get(f"ephemeral_{time}_input_tokens") or 0 for time in ("5m", "1h")]
        return cls(
            calls=1,
            unpriced_calls=1,
            input_tokens=metadata.get("input_tokens") or 0,
            output_tokens=metadata.get("output_tokens") or 0,
            cache_read_tokens=sent.get(f"{prefix}cache_read") or 0,
            cache_write_tokens=sum(by_duration) or sent.get("cache_creation") or 0,
            reasoning_tokens=received.get(f"{prefix}reasoning") or 0,
            cache_write_1h_tokens=by_duration[1],
            service_tier=tier,
        )


_TIERS = ("flex", "priority")
"""Tiers that LangChain names in the details of a usage, as in `flex_cache_read`."""


ModelOutcome = Literal["answered", "failed", "cached"]
"""How a model call ended: with a billed answer, without one, or with an answer from a cache."""


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """A model call that has ended.

    Attributes:
        id: LangChain's run id of the call.
        model: The model that answered, as the provider names it.
        outcome: How it ended.
        usage: What it spent; 0 unless it was answered.
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
        max_output_tokens: The model's maximum of output tokens, `None` if none is set.
        schemas: The tools and response formats given to the model, or their schemas.
        calls: The provider calls made for it, added as they end.
        is_sent: Whether the request reached the model; a policy may have refused or answered it.
        listener: Receives calls that end later, such as a stream that is read after the call returned.
        id: LangChain's run id of the call; in a batch of prompts, of the first.
        billed_to: The ledgers that record the call.
    """

    max_output_tokens: int | None = None
    schemas: tuple[Any, ...] = ()
    calls: list[MeteredCall] = field(default_factory=list)
    is_sent: bool = False
    listener: Callable[[MeteredCall], None] | None = None
    id: str = field(default_factory=lambda: str(uuid7()))
    billed_to: list[object] = field(default_factory=list)

    def note(self, call: MeteredCall) -> None:
        """Add a call that has ended."""
        self.calls.append(call)
        if self.listener is not None:
            self.listener(call)

    @property
    def spent(self) -> list[Usage]:
        """The usage of the calls that were answered."""
        return [call.usage for call in self.calls if call.outcome == "answered"]


METERED: ContextVar[tuple[CallRequest, ...]] = ContextVar("metered_requests", default=())
"""The requests that are at their model now; calls made meanwhile are part of them."""


LONGEST_ANSWER = 4096
"""Tokens of an answer, assumed if nothing sets a maximum."""


def is_unread(result: object) -> bool:
    """Whether a model call gave a stream of events, which its caller reads after the call has returned."""
    return isinstance(result, (ChatModelStream, AsyncChatModelStream))


_CHARACTERS_PER_TOKEN = 4
"""As in LangChain's own estimate."""


_SCHEMAS = ("tools", "functions", "response_format")
"""The model options that hold schemas."""


def estimated_tokens(input: Any, schemas: Iterable[Any] = ()) -> int:
    """Estimate the tokens of a model's input: one per four characters, plus three per message.

    Args:
        input: Messages, lists of messages, or texts.
        schemas: The tools given to the model, or their schemas.
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
    """Return the schemas of tools and response formats among a model call's options, as set by `bind_tools`."""
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
    """Estimate the tokens of a text from its length."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


_MOST_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The providers' names for the maximum of output tokens."""


def most_output(model: Any, options: Mapping[str, Any]) -> int | None:
    """Return the maximum of output tokens, from a call's options or the model; `None` if none is set."""
    said = (options.get(name) or getattr(model, name, None) for name in _MOST_OUTPUT)
    return next((most for most in said if isinstance(most, int)), None)
