"""How many tokens a text has, where no provider says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

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
