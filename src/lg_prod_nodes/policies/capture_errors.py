"""Record errors where they can be seen, and decide how the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import structlog
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from lg_prod_nodes.call import Call, Handler, Kind
from lg_prod_nodes.errors import CallRejected, ConfigurationError
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
        critical: Types that are always raised.

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

    def recover(self, call: Call, error: BaseException) -> Any:
        """Record the error of a node that failed for good, and give the update that stands in for its own."""
        if isinstance(error, (*self.critical, CallRejected)):
            raise error
        captured = self._record(call, error)
        update: dict[str, Any] = {}
        if self.state_key:
            update[self.state_key] = [asdict(captured)]
        if self.reply:
            update["messages"] = _replies(call.input, self.reply)
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
            names = CapturedError(call.node, type(error).__name__, call.attempt)
            call.run.failed(error, names)
        if call.run.first_time("log", names):
            structlog.get_logger("lg_prod_nodes").error(
                "error captured",
                node=names.node,
                error_type=names.type,
                attempts=names.attempts,
                then=self.then,
            )
        call.emit("error_captured", once=id(error), policy=type(self).__name__, error=names)
        return names


def _replies(state: Any, reply: str) -> list[BaseMessage]:
    """The reply as the answer of each tool call that waits for one, else as the assistant's."""
    waiting = _waiting_calls(state)
    if not waiting:
        return [AIMessage(reply)]
    return [
        ToolMessage(reply, tool_call_id=call["id"], name=call["name"], status="error")
        for call in waiting
    ]


def _waiting_calls(state: Any) -> list[Any]:
    if isinstance(state, Mapping) and "tool_call" in state:  # one call, sent to a tool node
        return [state["tool_call"]]
    messages = (
        state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", state)
    )
    if not isinstance(messages, list):
        return []
    answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    asked = (call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls)
    return [call for call in asked if call["id"] not in answered]
