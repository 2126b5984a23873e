"""Record errors, and decide how the run continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

from langgraph.types import Command, Send

from lg_prod_nodes.content.history import replies
from lg_prod_nodes.core import log
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.error_class import (
    Classify,
    check_classes,
    check_classify,
    class_of,
    type_of,
)
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.policy import Policy, Recovery, Role
from lg_prod_nodes.core.report import CapturedError, ErrorClass, Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.stores.failures.store import Failure, FailureLog

Then = Literal["raise", "continue", "end"] | Command[Any]


@dataclass(frozen=True)
class CaptureErrors(Policy):
    """Records errors in the run's report, the log and, optionally, the state; then raises or continues the run.

    Records each error once, after the node's last attempt: its node, type, class and number of attempts, never its
    message. Interrupts, `Command`, retries and cancellations pass through untouched.

    Args:
        then: What happens next: `"raise"` the error, `"continue"` along the failed node's edges, `"end"` the branch, or
            go to other nodes with `Command(goto=...)`. One value applies to all errors except rejections by policies;
            a mapping sets it by class, `{"bad_input": "end", "permanent": Command(goto="mend")}`, and classes it omits
            are raised. Runs continue through LangGraph's own error handlers, on every node without a handler of yours.
        state_key: A state field with a list reducer. If the run continues, it receives
            `[{"node": ..., "type": ..., "attempts": ..., "error_class": ...}]`.
        reply: A message for `messages` if the run continues: one for all errors, or by class. Pending tool calls
            receive it as their result.
        critical: Types that are always raised, without retries. A run resumed from there tries the node again.
        classify: Your own classes, which take precedence: `{MyError: "transient"}`, or a function of the error that
            returns a class or `None`.
        ignore: Classes that are raised without being recorded.
        failures: Stores failed runs, without content, for inspection and retries.

    Raises:
        ConfigurationError: While building, if a setting is invalid.

    Example:
        ```python
        CaptureErrors(
            then={"bad_input": "end", "transient": "continue"},
            reply={"bad_input": "I cannot read that."},
            state_key="errors",
        )
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    then: Then | Mapping[ErrorClass, Then] = field(default="raise", kw_only=True)
    state_key: str | None = field(default=None, kw_only=True)
    reply: str | Mapping[ErrorClass, str] | None = field(default=None, kw_only=True)
    critical: tuple[type[BaseException], ...] = field(default=(), kw_only=True)
    classify: Classify | None = field(default=None, kw_only=True, repr=False)
    ignore: tuple[ErrorClass, ...] = field(default=("rejected",), kw_only=True)
    failures: FailureLog | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        for then in self._ways():
            _check_way(then)
        if not (
            isinstance(self.critical, tuple) and all(isinstance(c, type) for c in self.critical)
        ):
            raise ConfigurationError(
                f"critical is {self.critical!r}; give a tuple of exception types"
            )
        for setting, given in (("then", self.then), ("reply", self.reply)):
            check_classes(setting, given if isinstance(given, Mapping) else ())
        check_classes("ignore", self.ignore)
        check_classify(self.classify)
        if isinstance(self.then, Mapping) and self.then.get("critical", "raise") != "raise":
            raise ConfigurationError(
                f"then has {self.then['critical']!r} for critical errors, which are always raised; choose another class"
            )
        if not self._continues and (self.state_key or self.reply):
            raise ConfigurationError(
                "state_key and reply are written where a run goes on; choose then='continue' or then='end' for them"
            )

    def _ways(self) -> list[Then]:
        then = self.then
        return list(then.values()) if isinstance(then, Mapping) else [then]

    @property
    def writes(self) -> frozenset[str]:
        """`state_key`, and `messages` for a reply, if the run continues."""
        fields = (self.state_key, "messages" if self.reply else None)
        return frozenset(name for name in fields if name)

    @property
    def recovery(self) -> Recovery | None:
        """Recovers from errors of the classes after which the run continues."""
        if not self._continues:
            return None
        commands = [way for way in self._ways() if isinstance(way, Command)]
        goals = frozenset(name for way in commands for name in _goals(way))
        return Recovery(self._covers, self._recover, goes_to=goals)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The failure log, if there is one."""
        return () if self.failures is None else (self.failures,)

    @property
    def _continues(self) -> bool:
        return any(way != "raise" for way in self._ways())

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Remember which node raised an error, and record it when it leaves the run."""
        try:
            return await handler(call)
        except Exception as error:
            if call.outcome(error) in ("error", "rejected"):
                await self._note(call, error)
            raise

    def _covers(self, error: BaseException | str) -> bool:
        return self._way(self._class_of(error)) != "raise"

    def gives_up(self, error: BaseException) -> bool:
        """Return whether an error is raised without retries: if critical, and if rejected while others continue."""
        if isinstance(error, self.critical):
            return True
        return self._continues and self._class_of(error) in ("critical", "rejected")

    async def _recover(self, call: Call, error: BaseException | str) -> Any:
        """Record the error of a node that failed for good, and return an update in place of the node's own."""
        captured = self._record(call, error)
        update: dict[str, Any] = {}
        if self.state_key:
            update[self.state_key] = [captured.names()]
        if reply := self._reply(captured.error_class):
            update["messages"] = replies(call.input, reply, status="error")
        way = self._way(captured.error_class)
        if isinstance(way, Command):
            return Command(goto=way.goto, update=update)
        return update if way == "continue" else Command(update=update)

    def _class_of(self, error: BaseException | str) -> ErrorClass:
        return "critical" if isinstance(error, self.critical) else class_of(error, self.classify)

    def _way(self, error_class: ErrorClass) -> Then:
        if isinstance(self.then, Mapping):
            return self.then.get(error_class, "raise")
        return "raise" if error_class in ("critical", "rejected") else self.then

    def _reply(self, error_class: ErrorClass) -> str | None:
        return self.reply.get(error_class) if isinstance(self.reply, Mapping) else self.reply

    async def _note(self, call: Call, error: Exception) -> None:
        if call.kind != "run":
            call.run.recorder.failed(error, self._names(call, error))
        elif self._class_of(error) not in self.ignore:
            names = self._record(call, error)
            if self.failures is not None and call.is_outermost:
                await self._keep(call, names, error)

    async def _keep(self, call: Call, names: CapturedError, error: Exception) -> None:
        """Store the failed run. If the database is down, the error itself is still raised."""
        failure = Failure.of(call.run, names, error, config=call.config, at=call.clock.time())
        try:
            await call.run_blocking(cast(FailureLog, self.failures).add, failure)
        except StoreUnavailable:
            call.emit("store_unavailable", policy=type(self).__name__)

    def _record(self, call: Call, error: BaseException | str) -> CapturedError:
        names = call.run.recorder.failure(error)
        if names is None:
            names = self._names(call, error)
            call.run.recorder.failed(error, names)
        if call.run.recorder.first_time("log", id(error)):
            log.error(
                "error captured",
                node=names.node,
                error_type=names.type,
                error_class=names.error_class,
                attempts=names.attempts,
                then=_described(self._way(names.error_class)),
            )
        call.emit("error_captured", once=id(error), policy=type(self).__name__, error=names)
        return names

    def _names(self, call: Call, error: BaseException | str) -> CapturedError:
        node = call.node or getattr(error, "node", None)
        places = call.config.get("configurable", {})
        return CapturedError(
            node,
            type_of(error),
            call.attempt,
            self._class_of(error),
            checkpoint_id=places.get("checkpoint_map", {}).get(""),
            checkpoint_ns=places.get("checkpoint_ns"),
        )


def _check_way(way: object) -> None:
    if isinstance(way, Command):
        if not way.goto or way.update is not None or way.resume is not None or way.graph:
            raise ConfigurationError(
                "then has a Command with more than goto; give Command(goto=...)"
            )
    elif way not in ("raise", "continue", "end"):
        raise ConfigurationError(
            f"then is {way!r}; choose 'raise', 'continue', 'end' or Command(goto=...)"
        )


def _goals(way: Command[Any]) -> list[str]:
    goals: Any = way.goto
    listed = goals if isinstance(goals, (list, tuple)) else [goals]
    return [goal.node if isinstance(goal, Send) else goal for goal in listed]


def _described(way: Then) -> str:
    return f"goto {', '.join(_goals(way))}" if isinstance(way, Command) else way
