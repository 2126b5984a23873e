"""The exceptions of this library.

    ProductionError
    ├── ConfigurationError      the configuration is invalid; raised while building (also a ValueError)
    │   └── AnonymousCall       a policy with `by=` got a call without a user, tenant or thread
    ├── CallRejected            a policy refused a call; `policy` names it, `retry_after` says when to retry
    │   ├── RateLimitExceeded
    │   ├── BudgetExceeded      a budget of tokens, money or calls is exhausted
    │   ├── Busy                every slot of a bulkhead is in use
    │   │   └── ThreadBusy      another run has the thread
    │   ├── CircuitOpen         a dependency keeps failing, so calls to it are paused
    │   ├── DeadlineExceeded    the run's deadline has passed, or is too near
    │   ├── ShuttingDown        the worker is stopping and accepts no new runs
    │   └── ContentBlocked      blocked content was found; `categories` names it, never the text
    ├── RunInterrupted          another run took over the thread, or the run was cancelled; `action` says which
    ├── AlreadyRun              a run with this idempotency key ended, and newer ones followed on its thread
    ├── EventsExpired           a stream cannot be resumed: the events that the client missed are no longer kept
    ├── LeaseLost               the run's worker fell silent, and its thread passed on; nothing more was written
    ├── DetectionFailed         a text could not be scanned, so it was not admitted
    ├── UnknownToken            a vault does not know a token (also a LookupError)
    ├── UnknownFailure          a failure log has no entry with this id (also a LookupError)
    ├── UntrustedType           a checkpoint names a type that the graph's state does not use
    ├── VaultTampered           a vault record was changed
    ├── ServerUnavailable       a LangGraph Server does not answer, or fails
    └── StoreUnavailable        a store that a policy depends on cannot be reached

Each class has a stable `code`, such as `"rate-limit-exceeded"`, which is also its anchor on the page "Errors" of the
documentation. Tracebacks link to it in a note below the message.

Messages never contain user content, only limits, names, categories and counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from lg_prod_nodes.core.advice import duration

if TYPE_CHECKING:
    from lg_prod_nodes.core.report import LimitState

_TYPE = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_]\w{0,100}")


PAGE = "docs/reference/errors.md"
"""The page that explains the cause of every error and how to fix it."""


class ProductionError(Exception):
    """The base class of every error raised by this library.

    Attributes:
        code: A stable name for the kind of error, for alerts, clients and the documentation.
    """

    code: ClassVar[str] = "production-error"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.add_note(f"[{self.code}] see {self.help}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))

    @property
    def help(self) -> str:
        """The page and anchor of the documentation that explain this error."""
        return f"{PAGE}#{self.code}"


class ConfigurationError(ProductionError, ValueError):
    """The configuration is invalid. The message says what was given, what is allowed and what to do."""

    code = "configuration-error"


class AnonymousCall(ConfigurationError):
    """A call has no key: the policy's `by=` gave `None`, for example because there is no user.

    Attributes:
        policy: Name of the policy.
    """

    code = "anonymous-call"

    def __init__(self, policy: str, by: str, cure: str) -> None:
        super().__init__(
            f"{policy} counts by={by}, which gave None for this call; {cure}, "
            f"or let such calls share one key: {policy}(..., anonymous='share')"
        )
        self.policy = policy


class CallRejected(ProductionError, RuntimeError):
    """A policy refused a call.

    It is a `RuntimeError`, so LangGraph's default retry policy does not retry it, and LangGraph Server shows its
    message.

    Attributes:
        policy: Name of the policy that refused the call.
        retry_after: Seconds until a retry can succeed, `None` if waiting does not help.
    """

    code = "call-rejected"

    def __init__(self, message: str, *, policy: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.policy = policy
        self.retry_after = retry_after


class RateLimitExceeded(CallRejected):
    """A rate limit is exceeded.

    Attributes:
        limit: The limit in words, such as `"10 per second"`.
        retry_after: Seconds until the limit admits the call, `None` if the call exceeds the whole limit.
        limits: The state of each limit that was checked.
    """

    code = "rate-limit-exceeded"

    def __init__(
        self,
        limit: str,
        *,
        retry_after: float | None,
        policy: str = "RateLimit",
        limits: Iterable[LimitState] = (),
    ) -> None:
        super().__init__(
            f"call costs more than the rate limit ever allows ({limit}); make the call smaller"
            if retry_after is None
            else f"rate limit exceeded ({limit}); retry in {duration(retry_after)}",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit = limit
        self.limits = tuple(limits)


class BudgetExceeded(CallRejected):
    """A budget is exhausted, or too small for a call.

    Attributes:
        budget: The budget in words, such as `"daily budget of 200,000 tokens"`.
        available: What is left, in the budget's unit.
        retry_after: Seconds until it resets, `None` if waiting does not help.
    """

    code = "budget-exceeded"

    def __init__(
        self,
        budget: str,
        *,
        available: float,
        policy: str,
        retry_after: float | None = None,
        fits: bool = True,
    ) -> None:
        resets = "" if retry_after is None else f"; resets in {duration(retry_after)}"
        super().__init__(
            f"{budget} exhausted{resets}"
            if fits
            else f"call may need more than the whole {budget}; send less, or lower max_tokens",
            policy=policy,
            retry_after=retry_after,
        )
        self.budget = budget
        self.available = available


class Busy(CallRejected):
    """Every slot of a bulkhead is in use.

    Attributes:
        limit: The number of slots.
    """

    code = "bulkhead-full"

    def __init__(
        self, limit: int, *, policy: str = "Bulkhead", retry_after: float | None = None
    ) -> None:
        super().__init__(
            f"bulkhead full ({limit} of {limit} slots in use)",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit = limit


class ThreadBusy(Busy):
    """Another run has the thread.

    Attributes:
        waiting: The number of runs that have the thread or wait for it.
    """

    code = "thread-busy"

    def __init__(
        self, waiting: int, *, policy: str = "DoubleTexting", retry_after: float | None = None
    ) -> None:
        others = "another run" if waiting == 1 else f"{waiting} other runs"
        CallRejected.__init__(
            self,
            f"thread is busy with {others}; send the message again when it has ended",
            policy=policy,
            retry_after=retry_after,
        )
        self.limit, self.waiting = 1, waiting


class CircuitOpen(CallRejected):
    """A dependency keeps failing, so calls to it are paused.

    Attributes:
        circuit: The dependency, such as the name of a model.
        retry_after: Seconds until the next probe.
    """

    code = "circuit-open"

    def __init__(self, circuit: str, *, retry_after: float, policy: str = "CircuitBreaker") -> None:
        super().__init__(
            f"circuit open for {circuit}; next probe in {duration(retry_after)}",
            policy=policy,
            retry_after=retry_after,
        )
        self.circuit = circuit


class DeadlineExceeded(CallRejected):
    """The run's deadline has passed, or is too near for a call.

    Attributes:
        seconds: The most seconds that the run may take.
    """

    code = "deadline-exceeded"

    def __init__(self, seconds: float, *, policy: str = "Deadline") -> None:
        super().__init__(
            f"run deadline of {seconds:g} s exceeded, or too near for this call", policy=policy
        )
        self.seconds = seconds


class ShuttingDown(CallRejected):
    """The worker is stopping and accepts no new runs; another worker may take this one.

    Attributes:
        retry_after: Seconds until another worker should have taken over.
    """

    code = "shutting-down"

    def __init__(self, *, retry_after: float = 1.0, policy: str = "GracefulShutdown") -> None:
        super().__init__(
            f"worker is shutting down and accepts no new runs; retry in {duration(retry_after)}",
            policy=policy,
            retry_after=retry_after,
        )


class ContentBlocked(CallRejected):
    """Blocked content was found.

    Attributes:
        categories: The names of the categories found, never the text itself.
    """

    code = "content-blocked"

    def __init__(self, categories: Iterable[str], *, policy: str = "ContentFilter") -> None:
        self.categories = tuple(sorted(set(categories)))
        super().__init__(f"blocked content: {', '.join(self.categories)}", policy=policy)


def _restored(
    kind: type[ProductionError], args: tuple[Any, ...], names: dict[str, Any]
) -> ProductionError:
    """Rebuild a pickled error without `__init__`, whose arguments are not in `args`."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(names)
    return error


class RunInterrupted(ProductionError):
    """A run was ended from outside: by a newer run of its thread, or because somebody cancelled it.

    Attributes:
        action: `"interrupt"` or `"cancel"`: completed steps stay. `"rollback"`: what it wrote is removed.
        started: Whether the run had begun; if not, it waited for its thread and wrote nothing.
    """

    code = "run-interrupted"

    def __init__(self, action: str, *, started: bool) -> None:
        why = "cancelled" if action == "cancel" else "ended by a newer run of its thread"
        kept = "what it wrote is removed" if action == "rollback" else "its completed steps stay"
        super().__init__(f"run {why}; {kept if started else 'it had not begun'}")
        self.action, self.started = action, started


class AlreadyRun(ProductionError):
    """A run with the same idempotency key ended, and newer runs followed on its thread. Nothing was run or written.

    Attributes:
        checkpoint_id: The last checkpoint of that run.
    """

    code = "already-run"

    def __init__(self, checkpoint_id: str) -> None:
        super().__init__(
            "a run with this idempotency key has ended, and newer ones followed on its thread; use a new key for a "
            f"new message, or read the result at checkpoint {checkpoint_id}"
        )
        self.checkpoint_id = checkpoint_id


class EventsExpired(ProductionError):
    """A stream cannot be resumed: the events that the client missed are no longer kept."""

    code = "events-expired"


class LeaseLost(ProductionError):
    """A run no longer has its thread: its worker fell silent for too long. Nothing that it wrote since is stored."""

    code = "lease-lost"

    def __init__(self) -> None:
        super().__init__(
            "run no longer has its thread: its worker was silent for longer than its lease; nothing that it wrote "
            "since then is stored. Read the thread, and send the message again if it is not there"
        )


class StoreUnavailable(ProductionError):
    """A store cannot be reached within its timeout."""

    code = "store-unavailable"


class ServerUnavailable(ProductionError):
    """A LangGraph Server does not answer, or fails. The run `run_id` continues and can be joined."""

    code = "server-unavailable"

    def __init__(self, run_id: str | None = None) -> None:
        cure = f"join its run {run_id}" if run_id else "read the thread before sending again"
        super().__init__(f"the server does not answer or fails; {cure}")
        self.run_id = run_id


class DetectionFailed(ProductionError):
    """A text could not be scanned: a recognizer failed or timed out.

    Attributes:
        findings: What the other recognizers found: positions and names, no text.
    """

    code = "detection-failed"

    def __init__(self, message: str, findings: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


class UnknownToken(ProductionError, LookupError):
    """A vault does not know a token: it was never issued to this subject, or the subject was forgotten.

    Attributes:
        tokens: The unknown tokens.
    """

    code = "unknown-token"

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(sorted(tokens))
        super().__init__(
            f"{len(self.tokens)} unknown token(s): never issued to this subject, or the subject was forgotten"
        )


class UnknownFailure(ProductionError, LookupError):
    """A failure log has no entry with this id.

    Attributes:
        id: The unknown id.
    """

    code = "unknown-failure"

    def __init__(self, id: str) -> None:
        super().__init__(f"no failure {id!r}; list() shows those in the log")
        self.id = id


class UntrustedType(ProductionError):
    """A checkpoint names a type that the graph's state does not use; it was neither imported nor called.

    Attributes:
        types: The types, as `module:Name`.
    """

    code = "untrusted-type"

    def __init__(self, types: Iterable[str]) -> None:
        self.types = tuple(sorted({name if _TYPE.fullmatch(name) else "?" for name in types}))
        names = ", ".join(map(repr, self.types))
        super().__init__(
            f"a checkpoint names {names}, which the graph's state does not use, so it was not loaded; if it is yours, "
            f"allow it with Production(allowed_types=[{names}]) or LG_PROD_ALLOWED_TYPES"
        )


class VaultTampered(ProductionError):
    """A vault record cannot be decrypted: it was changed, moved or sealed with another key. It is not used."""

    code = "vault-tampered"

    def __init__(self) -> None:
        super().__init__("a vault record was changed or moved, so it is not used")
