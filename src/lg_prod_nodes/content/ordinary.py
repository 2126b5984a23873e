"""The few short texts of an ordinary value, which need neither a walk nor a search if each of them is plain."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from lg_prod_nodes.content.rules import names_a_secret
from lg_prod_nodes.content.wire import MESSAGE_FIELDS

IsPlain = Callable[[str], bool]
"""Whether a text can hold no finding, decided without a search."""

_MOST_TEXTS = 32
_LONGEST = 100
_SMALL = 10**6
"""A number with fewer digits identifies nothing."""
_KEY = re.compile(r"[A-Za-z_]{1,40}").fullmatch
_MESSAGES = frozenset({AIMessage, HumanMessage, SystemMessage, ToolMessage})


def is_ordinary(value: object, is_plain: IsPlain) -> bool:
    """Return whether a value is of an ordinary shape, small, and its texts are plain, so that a walk finds nothing.

    False means nothing: the value has to be walked. Ordinary are dicts whose keys name no secret, lists, tuples, small
    numbers, and messages whose content is a text.
    """
    texts: list[str] = []
    return _collected(value, texts) and all(map(is_plain, texts))


def _collected(value: Any, texts: list[str]) -> bool:
    kind = type(value)
    if kind is str:
        texts.append(value)
        return len(value) <= _LONGEST and len(texts) <= _MOST_TEXTS
    if value is None or kind is bool:
        return True
    if kind is int or kind is float:
        return bool(-_SMALL < value < _SMALL)
    if kind is dict:
        return _of_dict(value, texts)
    if kind is list or kind is tuple:
        return _of_items(value, texts)
    return kind in _MESSAGES and _of_message(value, texts)


def _of_items(value: Any, texts: list[str]) -> bool:
    if len(value) > _MOST_TEXTS:
        return False
    return all(_collected(item, texts) for item in value)


def _of_dict(value: dict[Any, Any], texts: list[str]) -> bool:
    if len(value) > _MOST_TEXTS:
        return False
    for name, item in value.items():
        if not _is_ordinary_key(name) or (name == "content" and type(item) is not str):
            return False
        if not _collected(item, texts):
            return False
    return True


def _of_message(message: BaseMessage, texts: list[str]) -> bool:
    fields = vars(message)
    if message.model_extra or type(fields.get("content")) is not str:
        return False
    return all(_collected(fields.get(name), texts) for name in MESSAGE_FIELDS)


@lru_cache(maxsize=4096, typed=True)
def _is_ordinary_key(name: Any) -> bool:
    return type(name) is str and _KEY(name) is not None and not names_a_secret(name)
