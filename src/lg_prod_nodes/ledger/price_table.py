"""What a call costs: by a function, by the providers' price lists, or by a table of prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from importlib.util import find_spec

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.usage import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ModelPrice:
    """US dollars for a million tokens of a model.

    Args:
        input: Tokens sent.
        output: Tokens received.
        cache_read: Of those sent, the ones that the provider read from its cache; as `input` by default.
        cache_write: Of those sent, the ones that the provider wrote to its cache; as `input` by default.
        cache_write_1h: Of those written, the ones that it stores for an hour; as `cache_write` by default.
        tiers: Prices at other service tiers, `"flex"` and `"priority"`; the same as here by default.

    Raises:
        ConfigurationError: A price is below 0 or no number.
    """

    input: Decimal | float
    output: Decimal | float
    cache_read: Decimal | float | None = None
    cache_write: Decimal | float | None = None
    cache_write_1h: Decimal | float | None = None
    tiers: Mapping[str, ModelPrice] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for price in fields(self)[:-1]:
            given = getattr(self, price.name)
            if given is not None and not (isinstance(given, (int, float, Decimal)) and given >= 0):
                raise ConfigurationError(
                    f"{price.name} is {given!r}; give US dollars for a million tokens, 0 or more"
                )

    def of(self, usage: Usage) -> Decimal:
        """The price of a usage."""
        if (tier := self.tiers.get(usage.service_tier)) is not None:
            return tier.of(replace(usage, service_tier=""))
        read, written, longer = (
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.cache_write_1h_tokens,
        )
        cache_read = self.input if self.cache_read is None else self.cache_read
        cache_write = self.input if self.cache_write is None else self.cache_write
        cache_write_1h = cache_write if self.cache_write_1h is None else self.cache_write_1h
        dollars = (
            _exact(self.input) * (usage.input_tokens - read - written)
            + _exact(cache_read) * read
            + _exact(cache_write) * (written - longer)
            + _exact(cache_write_1h) * longer
            + _exact(self.output) * usage.output_tokens
        )
        return dollars / _MILLION


Price = Callable[[str, Usage], Decimal | None]
"""Gives the price of a model's usage in US dollars, `None` where it is not known."""

PriceTable = Mapping[str, ModelPrice]
"""The prices of models, by the names that providers report."""


def list_price(model: str, usage: Usage) -> Decimal | None:
    """The list price of a usage in US dollars, `None` for a model that is in no list.

    Prices are those that `genai-prices` ships (the extra `prices`).

    Raises:
        ConfigurationError: The extra is missing.
    """
    try:
        import genai_prices
    except ImportError as error:
        raise ConfigurationError(
            "list prices need an extra: pip install 'lg-prod-nodes[prices]'"
        ) from error
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    context = {"service_tier": usage.service_tier} if usage.service_tier else None
    for provider, name in _readings(model):
        with suppress(LookupError):
            return genai_prices.calc_price(
                tokens, name, provider_id=provider, price_context=context
            ).total_price
    return None


def _readings(model: str) -> list[tuple[str | None, str]]:
    """Ways to read a model's name: as its provider's, as a gateway's (`provider/name`), as Bedrock's."""
    provider, _, name = model.rpartition("/")
    return [(None, model), (provider or None, name), (None, name), ("aws", model)]


def pricing(price: Price | PriceTable | None) -> Price:
    """A price as a function; by default the list prices, if their extra is installed.

    Raises:
        ConfigurationError: It is neither a function nor a table of `ModelPrice`s.
    """
    if price is None:
        return list_price if find_spec("genai_prices") else _unpriced
    if callable(price):
        return price
    if not (isinstance(price, Mapping) and all(isinstance(p, ModelPrice) for p in price.values())):
        raise ConfigurationError(
            f"price is a {type(price).__name__} that prices nothing; give a function of the model's name and a Usage, "
            "such as lg_prod_nodes.list_price, or {'my-model': ModelPrice(input=0.15, output=0.6)}"
        )
    table = dict(price)
    return lambda model, usage: table[model].of(usage) if model in table else None


def _unpriced(model: str, usage: Usage) -> Decimal | None:
    return None


def _exact(dollars: Decimal | float) -> Decimal:
    return dollars if isinstance(dollars, Decimal) else Decimal(str(dollars))
