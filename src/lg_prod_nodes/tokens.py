"""How many tokens a text has, where no provider says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

CHARACTERS_PER_TOKEN = 4
"""What LangChain's own estimate takes."""


def estimated_tokens(input: Any) -> int:
    """An estimate of a model's input in tokens: four characters of a text are one, and each message has three more.

    Args:
        input: Messages, lists of messages, or texts.
    """
    if isinstance(input, str):
        return -(-len(input) // CHARACTERS_PER_TOKEN)
    if isinstance(input, BaseMessage):
        return count_tokens_approximately([input])
    if isinstance(input, Iterable):
        return sum(map(estimated_tokens, input))
    return 0
