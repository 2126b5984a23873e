"""Budgets for model calls, in tokens or money per period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import ClassVar

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger import Price, PriceTable, list_price
from lg_prod_nodes.ledger.price_table import pricing
from lg_prod_nodes.policies._budget import Budget


@dataclass(frozen=True)
class TokenBudget(Budget):
    """Caps the tokens that model calls send and receive per period.

    Acts on every model call, including those of tools and subgraphs. Before a call it reserves the estimated input
    tokens plus the longest answer the model may give. After the call it settles the usage that the provider reports
    and releases the rest, also if the call failed. Across all workers, calls never spend more than the budget, as long
    as each stays within its reservation: set `max_tokens` on the model, or a sufficient `max_output` here.

    A node that runs again (a retry, a resumption, a re-run after a crash) is charged again, as the provider bills it.

    Args:
        budget: The tokens, in total or per calendar period (UTC): `"1000000"`, `"200000/day"`. The periods are second,
            minute, hour, day, week (from Monday), month and year.
        by: The key to count by: `by_user`, `by_tenant`, `by_run` or any function of the call.
        anonymous: What to do if `by` returns `None`: `"raise"` an `AnonymousCall` error, or `"share"` one key among all
            such calls.
        store: Where the accounts are stored: a URL or an `AccountStore`. `memory://` counts in this process only, until
            it ends; `postgresql://`, `redis://` and `valkey://` count across all workers. Defaults to the database of
            `Production`, else memory.
        max_output: Tokens to reserve for the answer if the model has no maximum of its own. Defaults to 4096.
        counting: `"each"` charges every execution, as the provider does; `"once"` replaces the charge of a task's
            earlier execution when it runs again. With `"once"` a caller who can make tasks run again spends more than
            the budget.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the `BudgetExceeded`
            that returns a string or message.
        ask: Whether to ask a person for more through LangGraph's `interrupt`, whose value has `needed` and `available`.
            `Command(resume=50000)` or `Command(resume={"grant": 50000})` grants it; any other answer refuses.
        lease: Seconds after which a crashed worker's reservations are released.
        name: The budget's name. Budgets with the same name and store share their accounts, across all graphs.
        store_down: What to do while the store cannot be reached: `"raise"` a `StoreUnavailable` error, or `"admit"`
            calls uncounted.

    Raises:
        BudgetExceeded: The budget does not cover the call; `retry_after` says when the period ends.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` returned `None` for the call and `anonymous` is `"raise"`.
        ConfigurationError: While building, if a setting is invalid. At a call, if neither the model nor `max_output`
            sets a maximum for the answer and the default exceeds the whole budget.

    Example:
        ```python
        TokenBudget("200000/day", by=by_user, store="postgresql://localhost/app", reply="Come back tomorrow.")
        ```
    """

    unit: ClassVar[str] = "tokens"
    scale: ClassVar[int] = 1

    name: str = field(default="TokenBudget", kw_only=True)

    def amount(self, call: Call, usage: Usage) -> Decimal:
        """Return the tokens sent and received."""
        return Decimal(usage.total_tokens)


@dataclass(frozen=True)
class CostBudget(Budget):
    """Caps what model calls cost per period, in US dollars. Otherwise like `TokenBudget`.

    Args:
        budget: US dollars, in total or per calendar period (UTC): `"5.00/day"`, `"100/month"`.
        by: As for `TokenBudget`.
        anonymous: As for `TokenBudget`.
        store: As for `TokenBudget`.
        max_output: As for `TokenBudget`.
        counting: As for `TokenBudget`.
        reply: As for `TokenBudget`.
        ask: As for `TokenBudget`; the amounts are US dollars.
        lease: As for `TokenBudget`.
        name: As for `TokenBudget`.
        store_down: As for `TokenBudget`.
        price: A function of a model's name and a usage, or a mapping of models to `ModelPrice`, as for `Ledger`.
            Defaults to the providers' price lists (the extra `prices`).
        unpriced: US dollars per million tokens for models without a known price. If omitted, calling such a model
            raises `ConfigurationError`.

    Raises:
        BudgetExceeded: The budget does not cover the call; `retry_after` says when the period ends.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: As for `TokenBudget`.
        ConfigurationError: While building, if a setting is invalid. At a call, if its price is not known, and as for
            `TokenBudget`.

    Example:
        ```python
        CostBudget("5.00/day", by=by_tenant, store="postgresql://localhost/app", unpriced=10)
        ```
    """

    unit: ClassVar[str] = "US dollars"
    scale: ClassVar[int] = 10**9

    name: str = field(default="CostBudget", kw_only=True)
    price: Price | PriceTable | None = field(default=None, kw_only=True, hash=False)
    unpriced: Decimal | float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._price

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid setting."""
        if self.price is not None:
            pricing(self.price)
        if self.unpriced is not None and not self.unpriced > 0:
            yield f"unpriced is {self.unpriced}; give US dollars a million tokens, more than 0"
        yield from super().problems()

    @cached_property
    def _price(self) -> Price:
        return list_price if self.price is None else pricing(self.price)

    def amount(self, call: Call, usage: Usage) -> Decimal:
        """Return the price in US dollars."""
        price = self._price(call.name, usage)
        if price is not None:
            return price
        if self.unpriced is None:
            raise ConfigurationError(
                f"no price is known for the model {call.name}, so {self.name} cannot count it; "
                "give price= or unpriced="
            )
        return Decimal(str(self.unpriced)) * usage.total_tokens / 1_000_000
