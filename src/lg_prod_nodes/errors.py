"""What can go wrong, as types.

    ProductionError
    ├── ConfigurationError      the set-up is wrong; raised while building (also a ValueError)
    ├── CallRejected            a policy refused a call; `policy` and `retry_after` say which and for how long
    │   ├── RateLimitExceeded
    │   ├── BudgetExceeded      the tokens, money or calls that were granted are used up
    │   ├── Busy                as many calls are going on as may at once
    │   └── ContentBlocked      `categories` names what was found, never the text
    ├── DetectionFailed         a text could not be searched, so it was not let through
    ├── UnknownToken            a vault has nothing for a token (also a LookupError)
    ├── VaultTampered           a vault's record was changed
    └── StoreUnavailable        a store that a policy leans on cannot be reached

No message of these ever carries user content: limits, names, categories and counts only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ProductionError(Exception):
    """The base of every error that this library raises."""


class ConfigurationError(ProductionError, ValueError):
    """The set-up cannot work. Says what was given, what is allowed and what to do."""


class CallRejected(ProductionError, RuntimeError):
    """A policy refused a call.

    As a `RuntimeError` it is not retried by LangGraph's default retry policy, and LangGraph Server shows its message.

    Attributes:
        policy: Name of the policy that refused.
        retry_after: Seconds until a new try can succeed, `None` if waiting does not help.
    """

    def __init__(self, message: str, *, policy: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.policy = policy
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))


class RateLimitExceeded(CallRejected):
    """A rate limit is used up.

    Attributes:
        limit: The limit in words, such as `"10 per 1 second"`.
        retry_after: Seconds until there is room again.
    """

    retry_after: float

    def __init__(self, limit: str, *, retry_after: float, policy: str = "RateLimit") -> None:
        super().__init__(
            f"rate limit of {limit} is used up; try again in {retry_after:.2f} s",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit = limit


class BudgetExceeded(CallRejected):
    """A budget has no room for a call.

    Attributes:
        budget: The budget in words, such as `"200000 tokens per day"`.
        available: How much of it is left, in its own unit.
        retry_after: Seconds until its period ends, `None` for a budget that does not renew itself.
    """

    def __init__(
        self, budget: str, *, available: float, policy: str, retry_after: float | None = None
    ) -> None:
        again = "" if retry_after is None else f"; it renews itself in {retry_after:.0f} s"
        super().__init__(
            f"the budget of {budget} has no room for this call{again}",
            policy=policy,
            retry_after=retry_after,
        )
        self.budget = budget
        self.available = available


class Busy(CallRejected):
    """As many calls are going on as may at once.

    Attributes:
        limit: How many may.
    """

    def __init__(
        self, limit: int, *, policy: str = "Bulkhead", retry_after: float | None = None
    ) -> None:
        super().__init__(
            f"{limit} calls are going on, which is as many as may at once; try again later",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit = limit


class ContentBlocked(CallRejected):
    """Content of a blocked category was found.

    Attributes:
        categories: What was found, by name; never the text itself.
    """

    def __init__(self, categories: Iterable[str], *, policy: str = "ContentFilter") -> None:
        self.categories = tuple(sorted(set(categories)))
        super().__init__(f"blocked content: {', '.join(self.categories)}", policy=policy)


def _restored(
    kind: type[CallRejected], args: tuple[Any, ...], names: dict[str, Any]
) -> CallRejected:
    """A refusal that was pickled: its arguments are not those of its class."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(names)
    return error


class StoreUnavailable(ProductionError):
    """A store cannot be reached within its time bound."""


class DetectionFailed(ProductionError):
    """A text could not be searched for content: a recognizer failed or ran out of its time."""


class UnknownToken(ProductionError, LookupError):
    """A token stands for nothing: it was never given to this subject, or the subject was forgotten.

    Attributes:
        tokens: Which ones.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(sorted(tokens))
        super().__init__(
            f"{len(self.tokens)} of the tokens stand for nothing: never given to this subject, or it was forgotten"
        )

    def __reduce__(self) -> tuple[type[UnknownToken], tuple[tuple[str, ...]]]:
        return type(self), (self.tokens,)


class VaultTampered(ProductionError):
    """A record of the vault does not open: it was changed, moved or sealed by somebody else, and is not used."""

    def __init__(self) -> None:
        super().__init__("a record of the vault was changed or moved by somebody; it is not used")
