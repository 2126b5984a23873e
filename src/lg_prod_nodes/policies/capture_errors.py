"""Record errors where they can be seen, and decide how the run goes on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import structlog

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.errors import CallRejected, ConfigurationError
from lg_prod_nodes.history import replies
from lg_prod_nodes.policy import Policy, Recovery, Role
from lg_prod_nodes.run import CapturedError


@dataclass(frozen=True)
class CaptureErrors(Policy):
    """Records errors in the run's report, the log and, if asked, the state; then raises, or lets the run go on.

    Records once, after a node's last attempt, by names alone: node, type, number of attempts; never the message.
    Interrupts, `Command`, retries and cancellations pass through untouched.

    Args:
        then: What follows: `"raise"` the error, `"continue"` along the failed node's edges, or `"end"` its branch
            there. The latter two are LangGraph's own error handlers, for each node that has none of the user's.
        state_key: A state field that gets the error's names as a list of one, to be used with a list reducer:
            `[{"node": ..., "type": ..., "attempts": ...}]`; only where the run goes on.
        reply: A message for `messages`, where the run goes on. Tool calls that wait for an answer get it as theirs.
        critical: Types that are always raised, at once: a run that goes on from there tries the node again.

    Raises:
        ConfigurationError: While building, when `state_key` or `reply` is given but errors are raised.

    Example:
        ```python
        CaptureErrors(then="continue", state_key="errors", critical=(PermissionError,))
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    then: Literal["raise", "continue", "end"] = field(default="raise", kw_only=True)
    state_key: str | None = field(default=None, kw_only=True)
    reply: str | None = field(default=None, kw_only=True)
    critical: tuple[type[BaseException], ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.then not in ("raise", "continue", "end"):
            raise ConfigurationError(f"then is {self.then!r}; choose 'raise', 'continue' or 'end'")
        if not (
            isinstance(self.critical, tuple) and all(isinstance(c, type) for c in self.critical)
        ):
            raise ConfigurationError(
                f"critical is {self.critical!r}; give a tuple of exception types"
            )
        if self.then == "raise" and (self.state_key or self.reply):
            raise ConfigurationError(
                "state_key and reply are written where a run goes on; choose then='continue' or then='end' for them"
            )

    @property
    def writes(self) -> frozenset[str]:
        """Where the run goes on: `state_key`, and `messages` for a reply."""
        fields = (self.state_key, "messages" if self.reply else None)
        return frozenset(name for name in fields if name)

    @property
    def recovers(self) -> Recovery | None:
        """Where the graph goes after a failed node."""
        return None if self.then == "raise" else self.then

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Remember which node an error comes from; at the run's boundary, record it."""
        try:
            return await handler(call)
        except Exception as error:
            if call.outcome(error) == "error":
                self._note(call, error)
            raise

    def recovers_from(self, error: Exception) -> bool:
        """Not from refusals, and not from critical errors."""
        return not isinstance(error, (*self.critical, CallRejected))

    def recover(self, call: Call, error: BaseException) -> Any:
        """Record the error of a node that failed for good, and give the update that stands in for its own."""
        captured = self._record(call, error)
        update: dict[str, Any] = {}
        if self.state_key:
            update[self.state_key] = [asdict(captured)]
        if self.reply:
            update["messages"] = replies(call.input, self.reply, status="error")
        return update

    def _note(self, call: Call, error: Exception) -> None:
        if call.kind == "run":
            self._record(call, error)
        else:
            names = CapturedError(call.node or call.name, type(error).__name__, call.attempt)
            call.run.failed(error, names)

    def _record(self, call: Call, error: BaseException) -> CapturedError:
        names = call.run.failure(error)
        if names is None:
            names = _names_of(call, error)
            call.run.failed(error, names)
        if call.run.first_time("log", id(error)):
            structlog.get_logger("lg_prod_nodes").error(
                "error captured",
                node=names.node,
                error_type=names.type,
                attempts=names.attempts,
                then=self.then,
            )
        call.emit("error_captured", once=id(error), policy=type(self).__name__, error=names)
        return names


def _names_of(call: Call, error: object) -> CapturedError:
    """An error by its names; one that LangGraph has read back from a checkpoint is the text of its `repr`."""
    stored = re.match(r"\w+", error) if isinstance(error, str) else None
    node = call.node or getattr(error, "node", None)
    return CapturedError(node, stored[0] if stored else type(error).__name__, call.attempt)
