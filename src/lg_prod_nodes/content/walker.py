"""Walks a value under a rule set of `rules.py`.

It returns the very same object if nothing changed, otherwise a new one of the same shape, id and type.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.types import Command, Interrupt, Send, StateUpdate

from lg_prod_nodes.content.exceptions import rewritten
from lg_prod_nodes.content.json_text import still_json
from lg_prod_nodes.content.location import Keys
from lg_prod_nodes.content.rebuild import fill, hollow, renamed, replaced, updated, with_items
from lg_prod_nodes.content.rules import Rules, field_names, names_a_secret, shown
from lg_prod_nodes.content.wire import (
    ARGUMENTS,
    CALLS,
    MESSAGE_FIELDS,
    is_call,
    is_encoded,
    is_message,
    is_signed_thought,
    is_withdrawn,
    marker_of,
    neighbours,
    said,
    saying,
    skipped_keys,
)

Visit = Callable[[str, Keys], str]
"""Returns the replacement for a text, given the keys it is under."""

_PLAIN_KEY = re.compile(r"[A-Za-z_]{1,40}").fullmatch
_IDENTIFIES = re.compile(
    r"(?:^|[_\W])(?:id|ids|pk|seq|ts|time|timestamp|epoch|offset|size|version|hash|seed)$|[a-z]Ids?$"
)
"""Keys whose numbers are identifiers or measurements, and not a card number by chance."""
_WHOLE = re.compile(r"-?[1-9]\d{0,99}").fullmatch
_LEAST_NUMBER = 10**6
"""A number with fewer digits identifies nothing."""
_EACH = 1e-6
"""Approximate time in seconds for an item that contains no text."""
_CHANGEABLE = (
    "name",
    "additional_kwargs",
    "artifact",
    "tool_calls",
    "invalid_tool_calls",
    "model_extra",
)
"""Fields that may have been changed in place in a message whose text is clean."""


def _identifies(key: Any) -> bool:
    return isinstance(key, str) and _IDENTIFIES.search(key) is not None


class TakesLong(Exception):
    """Raised if a walk would exceed its time limit."""


class Walker:
    """A single walk; `wire` means inside a message, where some keys hold only identifiers."""

    __slots__ = (
        "_clean",
        "_errors",
        "_once_seen",
        "_open",
        "_rules",
        "_seen",
        "_until",
        "_visit",
        "changes",
    )

    def __init__(
        self,
        rules: Rules,
        visit: Visit,
        clean: Mapping[int, Any] | None = None,
        seconds: float | None = None,
    ) -> None:
        self.changes = 0
        self._rules = rules
        self._visit = visit
        self._clean = clean or {}
        self._until = None if seconds is None else perf_counter() + seconds
        self._errors: dict[int, BaseException] = {}
        self._seen: dict[tuple[int, Keys, bool], tuple[Any, Any]] = {}
        self._once_seen: set[int] = set()
        self._open: dict[int, Any] = {}  # by identity, with the copy of a self-referencing value

    def value(self, value: Any, keys: Keys = (), wire: bool = False) -> Any:
        """Return the new form of a value under the given keys."""
        kind = type(value)
        if kind is str:
            return self._text(value, keys)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            return self._number(value, keys)
        return self._once(value, keys, wire)

    def error(self, error: BaseException) -> BaseException:
        """Return an exception, changed in place."""
        return rewritten(error, self.value, self._errors)

    def _once(self, value: Any, keys: Keys, wire: bool) -> Any:
        """Walk a value that may occur in several places, or contain itself."""
        known = id(value)
        place = (known, keys, wire)
        if place in self._seen:
            return self._seen[place][1]
        is_inside = known in self._open
        if is_inside and (copied := self._copy(value, keys)) is not None:
            return copied
        if not is_inside:
            self._open[known] = None
        new = self._shape(value, keys, wire)
        if not is_inside and (copied := self._open.pop(known)) is not None:
            new = fill(copied, new)
        if new is not value or known in self._once_seen:
            self._seen[place] = (value, new)
        else:  # most values occur once: an entry for each would keep the garbage collector busy
            self._once_seen.add(known)
        return new

    def _copy(self, value: Any, keys: Keys) -> Any:
        """Return the stand-in for a value inside itself; `None` for a tuple, which only nests through another."""
        if self._rules.show is not None:
            return self._text(shown(value), keys)
        if self._open[id(value)] is None:
            self._open[id(value)] = hollow(value)
        return self._open[id(value)]

    def _shape(self, value: Any, keys: Keys, wire: bool) -> Any:  # noqa: C901 - one branch a shape of content
        if (show := self._rules.show) is not None:
            value = show(value) if len(self._open) <= self._rules.depth else shown(value)
        match value:
            case dict():
                return self._mapping(value, keys, wire)
            case StateUpdate():
                return self._part(value, "values", keys)
            case Send():
                return self._part(value, "arg", keys)
            case Interrupt():
                return self._part(value, "value", keys)
            case list() | tuple() | set() | frozenset() | deque():
                return self._collection(value, keys, wire)
            case str():
                return self._text(value, keys)
            case bytes() | bytearray():
                return self._bytes(value, keys)
            case int() | float():
                return self._number(value, keys)
            case BaseMessage():
                return self._message(value, keys)
            case Mapping():
                return self._mapping(value, keys, wire)
            case BaseException():
                return self.error(value)
            case Command():
                return self._command(value, keys)
            case _:
                return self._object(value, field_names(value), keys)

    def _take_time(self, items: int) -> None:
        if self._until is not None and perf_counter() + items * _EACH > self._until:
            raise TakesLong

    def _text(self, text: str, keys: Keys) -> str:
        self._take_time(1)
        if self._rules.has_names and is_encoded(text):
            return text
        try:
            changed = self._visit(text, keys)
        except Exception:
            if self._rules.unreadable is None:
                raise
            changed = self._rules.unreadable
        if changed == text:
            return text
        self.changes += 1
        return still_json(text, changed)

    def _bytes(self, data: Any, keys: Keys) -> Any:
        """Rewrite bytes that are text; in other bytes, any match would be accidental."""
        errors = "surrogateescape" if self._rules.reads_binary else "strict"
        try:
            text = data.decode(errors=errors)
        except UnicodeDecodeError:
            return data
        changed = self._text(text, keys)
        return data if changed is text else type(data)(changed.encode(errors=errors))

    def _number(self, number: float, keys: Keys) -> Any:
        rules = self._rules
        is_small = -_LEAST_NUMBER < number < _LEAST_NUMBER
        if is_small and not (keys and names_a_secret(keys[-1])):
            return number
        if not (rules.has_floats if isinstance(number, float) else rules.has_numbers):
            return number
        if rules.trusts_ids and keys and _identifies(keys[-1]):
            return number
        is_whole = isinstance(number, int) or number.is_integer()
        text = f"{number:.0f}" if isinstance(number, float) and is_whole else str(number)
        changed = self._text(text, keys)
        is_plain = rules.show is None or math.isfinite(number)
        if changed is text and is_plain:
            return number
        is_still_one = isinstance(number, int) and str(number) != changed and _WHOLE(changed)
        return int(changed) if is_still_one else changed

    def _under(self, keys: Keys, name: Any) -> Keys:
        if self._rules.has_paths:
            return (*keys, name)
        return (*keys[1 - self._rules.keys :], name) if isinstance(name, str) else keys

    def _mapping(self, value: Mapping[Any, Any], keys: Keys, wire: bool) -> Any:
        rules = self._rules
        wire = rules.has_names and (wire or is_call(value) or is_message(value))
        skipped = skipped_keys(value) if wire else ()
        inside = self._within(keys, value) if wire else ()
        self._take_time(len(value))
        changed: dict[Any, Any] = {}
        names: dict[Any, Any] = {}
        for name, old in value.items():
            if name in skipped:
                continue
            if (
                not (type(name) is str and _PLAIN_KEY(name))
                and (key := self._key(name)) is not name
            ):
                names[name] = key
            if rules.hidden is not None and old is not None and names_a_secret(name):
                new: Any = old if isinstance(old, bool) else rules.hidden
            elif not wire:
                new = self.value(old, self._under(keys, name))
            elif name == "content" and isinstance(old, list):
                new = self._blocks(old, inside)
            else:
                new = self.value(old, inside, name not in ARGUMENTS)
            if new is not old:
                changed[name] = new
        if names:
            return renamed(value, names, changed)
        return updated(value, changed) if changed else value

    def _within(self, keys: Keys, value: Any) -> Keys:
        """Return the keys inside a message, block or call, whose own names belong to its format."""
        return (*keys, marker_of(value)) if self._rules.has_locations else ()

    def _key(self, name: Any) -> Any:
        if self._rules.has_paths:
            return name
        if isinstance(name, str):
            return self._text(name, ())
        if self._rules.show is None:
            return self.value(name)
        is_number = isinstance(name, (int, float))
        return str(self._number(name, ())) if is_number else self._text(shown(name), ())

    def _collection(self, value: Any, keys: Keys, wire: bool) -> Any:
        self._take_time(len(value))
        if self._rules.has_paths:
            items = [self.value(item, (*keys, at)) for at, item in enumerate(value)]
        else:
            items = [self.value(item, keys, wire) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return with_items(value, items)

    def _message(self, message: BaseMessage, keys: Keys) -> Any:
        if self._is_clean(message):
            return message
        names = (*MESSAGE_FIELDS, *(message.model_extra or ()))
        if self._rules.has_paths:
            return self._object(message, names, keys)
        changed: dict[str, Any] = {}
        inside = self._within(keys, message)
        for name in names:
            if old := getattr(message, name, None):
                in_blocks = name == "content" and isinstance(old, list)
                new = (
                    self._blocks(old, inside)
                    if in_blocks
                    else self.value(old, inside, name in CALLS)
                )
                if new is not old:
                    changed[name] = new
        return replaced(message, changed)

    def _is_clean(self, message: BaseMessage) -> bool:
        """Return whether a message was cleaned before, and has no field that may have been mutated since."""
        known = self._clean.get(id(message))
        if known is None or known is not message.content:
            return False
        return not any(getattr(message, name, None) for name in _CHANGEABLE)

    def _blocks(self, blocks: list[Any], keys: Keys) -> list[Any]:
        """Rewrite content blocks; a match across adjacent texts goes to the first of them.

        A thought signed by its provider is dropped if it changed, since the provider would reject it.
        """
        cleaned = [self.value(block, keys, True) for block in blocks]
        for run in neighbours(blocks):
            for glue in ("", " "):
                whole = glue.join(said(blocks[at]) for at in run)
                parts = glue.join(said(cleaned[at]) for at in run)
                if (changed := self._visit(whole, keys)) not in (whole, parts):
                    for at in run:
                        cleaned[at] = saying(blocks[at], changed if at == run[0] else "")
                    self.changes += 1
                    break
        kept = [
            new
            for new, old in zip(cleaned, blocks, strict=True)
            if not (is_withdrawn(old) or (new is not old and is_signed_thought(old)))
        ]
        if len(kept) == len(blocks) and all(map(lambda a, b: a is b, kept, blocks)):
            return blocks
        self.changes += 1
        return kept

    def _command(self, command: Command[Any], keys: Keys) -> Any:
        goto = command.goto if isinstance(command.goto, list | tuple) else [command.goto]
        sent = [self.value(to, keys) if isinstance(to, Send) else to for to in goto]
        if any(new is not old for new, old in zip(sent, goto, strict=True)):
            command = replaced(command, {"goto": sent if goto is command.goto else sent[0]})
        for name in ("update", "resume"):
            command = self._part(command, name, keys)
        return command

    def _part(self, value: Any, name: str, keys: Keys) -> Any:
        """Rewrite the one field of a LangGraph type that holds content."""
        old = getattr(value, name)
        new = self.value(old, self._under(keys, name) if self._rules.has_paths else keys)
        return value if new is old else replaced(value, {name: new})

    def _object(self, value: Any, names: Sequence[str], keys: Keys) -> Any:
        changed = {}
        for name in names:
            old = getattr(value, name, None)
            new = self.value(old, self._under(keys, name))
            if new is not old:
                changed[name] = new
        return replaced(value, changed)
