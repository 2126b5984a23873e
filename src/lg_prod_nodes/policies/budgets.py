"""Let model calls spend so much in a time: tokens, or money."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import ClassVar

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger import Price
from lg_prod_nodes.policies._budget import Budget


@dataclass(frozen=True)
class TokenBudget(Budget):
    """Lets model calls spend so many tokens, sent and received, in a time.

    Acts on model calls, those of tools and subgraphs too. Before a call it reserves the estimated tokens of its input
    and the most that the model may answer; after the call it settles what the provider says was used. A call that
    fails gives back what it did not spend. Together, the calls of all workers never spend more than the budget, as
    long as none spends more than was reserved for it: give models a `max_tokens`, or a `max_output` that is enough.

    A node that runs again (a retry, a resumption, a re-run after a crash) is charged for its last execution alone.

    Args:
        budget: The tokens, for ever or in each period of the calendar (UTC): `"200000/day"`, `"1000000"`. The periods
            are second, minute, hour, day, week (from Monday), month and year.
        by: Whom a call counts for: `by_user`, `by_tenant`, `by_run`, any function of the call.
        anonymous: Calls for which `by` gives `None` are an `AnonymousCall` error by default (`"raise"`); `"share"`
            counts them together.
        store: Where the accounts are kept, as a URL or an `AccountStore`. `memory://` counts for this process alone
            and forgets with it; `postgresql://`, `redis://` and `valkey://` for all workers. Without one, the database
            of `Production`, else memory.
        max_output: Tokens that an answer may have where the model is not told how many; 4096 by default.
        counting: `"once"` charges a task's repetition in place of its earlier execution; `"each"` charges every
            execution, as the provider does.
        reply: Answers a refused call in the model's stead instead of raising: a text, or a function of the
            `BudgetExceeded` that gives a text or message.
        ask: Whether a person is asked for more by LangGraph's `interrupt`, whose value has `needed` and `available`.
            They grant it with `Command(resume=50000)` or `Command(resume={"grant": 50000})`; any other answer refuses.
        lease: Seconds after which what a dead worker has reserved is given back.
        name: Tells budgets apart. Those with the same name and store share their accounts, in all graphs.
        store_down: Whether a call is refused by `"raise"` (`StoreUnavailable`) or let through uncounted by `"admit"`
            while the store cannot be reached.

    Raises:
        BudgetExceeded: There is no room for the call; `retry_after` says when the period ends.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: `by` gave `None` for the call and `anonymous` is `"raise"`.
        ConfigurationError: While building, when a setting cannot work; at a call, when the model is not told how many
            tokens it may answer, no `max_output` was given, and its default is more than the whole budget.

    Example:
        ```python
        TokenBudget("200000/day", by=by_user, store="postgresql://localhost/app", reply="Come back tomorrow.")
        ```
    """

    unit: ClassVar[str] = "tokens"
    scale: ClassVar[int] = 1

    name: str = field(default="TokenBudget", kw_only=True)

    def amount(self, call: Call, usage: Usage) -> Decimal:
        """Tokens sent and received."""
        return Decimal(usage.total_tokens)


@dataclass(frozen=True)
class CostBudget(Budget):
    """Lets model calls cost so many US dollars in a time. All else is as in `TokenBudget`.

    Args:
        budget: US dollars, for ever or in each period of the calendar (UTC): `"5.00/day"`, `"100/month"`.
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
        price: Prices a model's usage; by default the providers' price lists (the extra `prices`).
        unpriced: US dollars for a million tokens of a model whose price is not known. Without it, such a model is
            refused with a `ConfigurationError`.

    Raises:
        BudgetExceeded: There is no room for the call; `retry_after` says when the period ends.
        StoreUnavailable: The store cannot be reached and `store_down` is `"raise"`.
        AnonymousCall: As for `TokenBudget`.
        ConfigurationError: While building, when a setting cannot work; at a call, when its price is not known, and
            as for `TokenBudget`.

    Example:
        ```python
        CostBudget("5.00/day", by=by_tenant, store="postgresql://localhost/app", unpriced=10)
        ```
    """

    unit: ClassVar[str] = "US dollars"
    scale: ClassVar[int] = 10**9

    name: str = field(default="CostBudget", kw_only=True)
    price: Price | None = field(default=None, kw_only=True)
    unpriced: Decimal | float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self._price

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings."""
        if not (self.price is None or callable(self.price)):
            yield f"price is {self.price!r}; give a function of a model's name and a usage"
        if self.unpriced is not None and not self.unpriced > 0:
            yield f"unpriced is {self.unpriced}; give US dollars a million tokens, more than 0"
        yield from super().problems()

    @cached_property
    def _price(self) -> Price:
        if self.price is not None:
            return self.price
        from lg_prod_nodes import list_price

        return list_price

    def amount(self, call: Call, usage: Usage) -> Decimal:
        """The price, in US dollars."""
        price = self._price(call.name, usage)
        if price is not None:
            return price
        if self.unpriced is None:
            raise ConfigurationError(
                f"no price is known for the model {call.name}, so {self.name} cannot count it; "
                "give price= or unpriced="
            )
        return Decimal(str(self.unpriced)) * usage.total_tokens / 1_000_000
