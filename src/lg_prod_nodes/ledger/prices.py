"""What providers charge, by the price lists that `genai-prices` ships (the extra `prices`)."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.usage import Usage

try:
    import genai_prices
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "list prices need an extra: pip install 'lg-prod-nodes[prices]'"
    ) from error


def list_price(model: str, usage: Usage) -> Decimal | None:
    """The list price of a usage in US dollars, `None` for a model that no list has."""
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    for provider, name in _readings(model):
        with suppress(LookupError):
            return genai_prices.calc_price(tokens, name, provider_id=provider).total_price
    return None


def _readings(model: str) -> list[tuple[str | None, str]]:
    """A model's name as its provider gives it, as a gateway does (`provider/name`), and as Bedrock does."""
    provider, _, name = model.rpartition("/")
    return [(None, model), (provider or None, name), (None, name), ("aws", model)]
