"""What can go wrong, as types.

    ProductionError
    ├── ConfigurationError      the set-up is wrong; raised while building (also a ValueError)
    ├── CallRejected            a policy refused a call; `policy` and `retry_after` say which and for how long
    │   ├── RateLimitExceeded
    │   ├── BudgetExceeded      the tokens, money or calls that were granted are used up
    │   ├── Busy                as many calls are going on as may at once
    │   ├── CircuitOpen         what is called fails, so it is left alone for a while
    │   ├── DeadlineExceeded    the time of the run is over
    │   ├── ShuttingDown        the process is about to end, so no run begins
    │   └── ContentBlocked      `categories` names what was found, never the text
    ├── DetectionFailed         a text could not be searched, so it was not let through
    ├── UnknownToken            a vault has nothing for a token (also a LookupError)
    ├── UnknownFailure          a log of failures has none with an id (also a LookupError)
    ├── UntrustedType           a checkpoint names a class that the graph's state does not
    ├── VaultTampered           a vault's record was changed
    └── StoreUnavailable        a store that a policy leans on cannot be reached

    MemoryStoreWarning          limits in memory count for each of several workers by itself (a UserWarning)
    RetriesWarning              more than one layer tries the same calls again (a UserWarning)

No message of these ever carries user content: limits, names, categories and counts only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lg_prod_nodes.core.report import LimitState

_TYPE = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}")


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
        retry_after: Seconds until there is room again, `None` for a call that counts more than the limit ever allows.
        limits: How each limit stands that was asked.
    """

    def __init__(
        self,
        limit: str,
        *,
        retry_after: float | None,
        policy: str = "RateLimit",
        limits: Iterable[LimitState] = (),
    ) -> None:
        super().__init__(
            f"rate limit of {limit} never has room for a call that counts more than that; make it smaller"
            if retry_after is None
            else f"rate limit of {limit} is used up; try again in {retry_after:.2f} s",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit = limit
        self.limits = tuple(limits)


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


class CircuitOpen(CallRejected):
    """What is called has failed too often, so it is not called for a while.

    Attributes:
        circuit: What is called, such as the name of a model.
        retry_after: Seconds until it is tried again.
    """

    def __init__(self, circuit: str, *, retry_after: float, policy: str = "CircuitBreaker") -> None:
        super().__init__(
            f"the circuit of {circuit} is open; it is tried again in {retry_after:.2f} s",
            policy=policy,
            retry_after=retry_after,
        )
        self.circuit = circuit


class DeadlineExceeded(CallRejected):
    """The time that a run has does not suffice for a call, or is over.

    Attributes:
        seconds: How long the run might take.
    """

    def __init__(self, seconds: float, *, policy: str = "Deadline") -> None:
        super().__init__(
            f"the run's deadline of {seconds:g} s leaves no time for this call", policy=policy
        )
        self.seconds = seconds


class ShuttingDown(CallRejected):
    """The process is about to end, so that no run begins in it; another worker may take it.

    Attributes:
        retry_after: Seconds after which another worker will have taken over.
    """

    def __init__(self, *, retry_after: float = 1.0, policy: str = "GracefulShutdown") -> None:
        super().__init__(
            f"this worker is shutting down and takes no new runs; try again in {retry_after:g} s",
            policy=policy,
            retry_after=retry_after,
        )


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


class MemoryStoreWarning(UserWarning):
    """Rate limits in memory count for each of several workers by itself."""


class RetriesWarning(UserWarning):
    """More than one layer tries the same calls again, so that their tries multiply."""


class DetectionFailed(ProductionError):
    """A text could not be searched for content: a recognizer failed or timed out.

    Attributes:
        findings: What the other recognizers found: places and names, none of the text.
    """

    def __init__(self, message: str, findings: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


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


class UnknownFailure(ProductionError, LookupError):
    """There is no failure with an id.

    Attributes:
        id: Which one.
    """

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no failure {id!r}; list() tells which there are")
        self.id = id

    def __reduce__(self) -> tuple[type[UnknownFailure], tuple[str]]:
        return type(self), (self.id,)


class UntrustedType(ProductionError):
    """A checkpoint names a class that the graph's state does not, which was neither imported nor called.

    Attributes:
        types: Which ones, as `module:Name`.
    """

    def __init__(self, types: Iterable[str]) -> None:
        self.types = tuple(sorted({name if _TYPE.fullmatch(name) else "?" for name in types}))
        names = ", ".join(map(repr, self.types))
        super().__init__(
            f"a checkpoint names {names}, which the graph's state does not, so that it was not read; where it is "
            f"yours, allow it: Production(allowed_types=[{names}]), or LG_PROD_ALLOWED_TYPES"
        )

    def __reduce__(self) -> tuple[type[UntrustedType], tuple[tuple[str, ...]]]:
        return type(self), (self.types,)


class VaultTampered(ProductionError):
    """A record of the vault does not open: it was changed, moved or sealed by somebody else, and is not used."""

    def __init__(self) -> None:
        super().__init__("a record of the vault was changed or moved by somebody; it is not used")
