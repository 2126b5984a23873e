"""Replacements for found values, by the strategy of their entity."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.errors import ConfigurationError

Strategy = Literal["redact", "mask", "hash", "tokenize", "block"]

_SHOWN = 4
_DIGEST = 16


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
        key: The key of the digests.

    Raises:
        ConfigurationError: A strategy is unknown, or its key is missing.
    """

    strategy: Strategy
    strategies: Mapping[str, Strategy]
    key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if unknown := sorted(self.used - set(get_args(Strategy))):
            raise ConfigurationError(
                f"unknown strategy {unknown[0]!r}; {did_you_mean(unknown[0], get_args(Strategy), 'choose one of')}"
            )
        if self.key is not None and not isinstance(self.key, bytes):
            raise ConfigurationError(
                f"key is a {type(self.key).__name__}; give bytes, such as key=b'...'"
            )
        if "hash" in self.used and not self.key:
            raise ConfigurationError(
                "the strategy 'hash' needs key=...; without one the values could be guessed"
            )

    @property
    def used(self) -> set[str]:
        """The strategies in use."""
        return {self.strategy, *self.strategies.values()}

    def blocks(self, entity: str) -> bool:
        """Whether an entity blocks the call."""
        return self._of(entity) == "block"

    def make(self, tokens: Tokens | None, entity: str, value: str) -> str:
        """The replacement for a value."""
        match self._of(entity):
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
            case _:
                return f"[{entity}]"

    def _of(self, entity: str) -> Strategy:
        return self.strategies.get(entity, self.strategy)
