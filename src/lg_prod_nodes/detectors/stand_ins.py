"""Replacements for found values, by the strategy of their entity and location."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

from lg_prod_nodes.content.location import At, Keys
from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.detectors.surrogates import Surrogates

Named = Literal["redact", "mask", "hash", "tokenize", "surrogate", "keep", "block"]
Strategy = Named | Callable[[str], str]
Strategies = Mapping[Any, Strategy | Mapping[str, Strategy]]
"""By `str | At`; type checkers would refuse a `dict[str, ...]` for that."""

_SHOWN = 4
_DIGEST = 16
_REMEMBERED = 65_536
_KEYED = {
    "hash": "without one the values could be guessed",
    "surrogate": "without one the same value would get another surrogate in every process",
}


class Tokens(Protocol):
    """Issues tokens for values."""

    def token(self, entity: str, value: str) -> str:
        """The token of a value."""
        ...


@dataclass(frozen=True)
class StandIns:
    """Makes the replacements for values.

    Args:
        strategy: The strategy for entities without one of their own.
        strategies: Strategies by entity.
        located: Strategies by location, each for one entity or, with `None`, for all; the first that applies wins.
        key: The key of digests and surrogates.
        entities: The entities that are looked for.

    Raises:
        ConfigurationError: A strategy is unknown, or its key is missing.
    """

    strategy: Strategy
    strategies: Mapping[str, Strategy]
    located: tuple[tuple[At, str | None, Strategy], ...] = ()
    key: bytes | None = field(default=None, repr=False)
    entities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for given in self.used:
            if not callable(given) and given not in get_args(Named):
                advice = did_you_mean(given, get_args(Named), "choose one of")
                raise ConfigurationError(
                    f"unknown strategy {given!r}; {advice}, or give a function"
                )
        if self.key is not None and not isinstance(self.key, bytes):
            raise ConfigurationError(
                f"key is a {type(self.key).__name__}; give bytes, such as key=b'...'"
            )
        for name, why in _KEYED.items():
            if name in self.used and not self.key:
                raise ConfigurationError(f"the strategy {name!r} needs key=...; {why}")

    @property
    def used(self) -> list[Strategy]:
        """The strategies in use."""
        return [self.strategy, *self.strategies.values(), *(how for *_, how in self.located)]

    def blocks(self, entity: str, keys: Keys = ()) -> bool:
        """Whether an entity blocks the call."""
        return self._of(entity, keys) == "block"

    def make(self, tokens: Tokens | None, entity: str, value: str, keys: Keys = ()) -> str:
        """The replacement for a value; the value itself if it stays."""
        strategy = self._of(entity, keys)
        if self._was_made_here(value):
            return value
        if callable(strategy):
            return self._made(strategy, entity, value)
        match strategy:
            case "mask":
                stars = "*" * max(len(value) - _SHOWN, _SHOWN)
                return stars + (value[-_SHOWN:] if len(value) > _SHOWN else "")
            case "hash":
                digest = hmac.new(
                    self.key or b"", value.encode(errors="surrogatepass"), hashlib.sha256
                ).hexdigest()
                return f"[{entity}:{digest[:_DIGEST]}]"
            case "tokenize" if tokens is not None:
                return tokens.token(entity, value)
            case "surrogate":
                return self._surrogates.of(entity, value) or f"[{entity}]"
            case "keep":
                return value
            case _:
                return f"[{entity}]"

    def shared(self, name: str) -> str | None:
        """What a name stands for, if its strategy gives it to several values."""
        if found := self._placeholder.search(name):
            return found[1] or "a masked value"
        return self._surrogates.kind_of(name) if self._has_surrogates else None

    @cached_property
    def _placeholder(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, self.entities))
        masked = r"|\*{4,}" if "mask" in self.used else ""
        return re.compile(rf"\[({names or '(?!)'})\]{masked}")

    def _of(self, entity: str, keys: Keys) -> Strategy:
        """The strategy of an entity under some keys."""
        for at, only, strategy in self.located:
            if only in (None, entity) and at.covers(keys):
                return strategy
        return self.strategies.get(entity, self.strategy)

    @cached_property
    def _surrogates(self) -> Surrogates:
        return Surrogates(self.key or b"")

    @cached_property
    def _outputs(self) -> Outputs:
        return Outputs()

    def _was_made_here(self, value: str) -> bool:
        """Whether a value is a surrogate or the output of a function, which stays wherever it goes on to."""
        if self._has_functions and value in self._outputs:
            return True
        return self._has_surrogates and self._surrogates.has_made(value)

    @cached_property
    def _has_functions(self) -> bool:
        return any(map(callable, self.used))

    @cached_property
    def _has_surrogates(self) -> bool:
        return "surrogate" in self.used

    def _made(self, function: Callable[[str], str], entity: str, value: str) -> str:
        made = function(value)
        if not isinstance(made, str):
            raise ConfigurationError(
                f"the function for {entity} returned a {type(made).__name__}; return a text"
            )
        self._outputs.add(made)
        return made


class Outputs:
    """What functions have returned, as keyed digests: it passes further boundaries as it is."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        return bool(self._known) and self._digest(text) in self._known

    def add(self, text: str) -> None:
        """Remember a text; the oldest is forgotten."""
        self._known[self._digest(text)] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _digest(self, text: str) -> bytes:
        encoded = text.encode(errors="surrogatepass")
        return hashlib.blake2b(encoded, digest_size=16, key=self._key).digest()
