"""Cap the model calls, tool calls and steps of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import BudgetExceeded, ConfigurationError
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.run import run_of


@dataclass(frozen=True)
class RunBudget(Policy):
    """Caps the model calls, tool calls and steps of a run, including its subgraphs.

    LangGraph limits a run to 10,007 steps by default, which does not bound the cost of an agent in a loop. A resumed
    run starts counting from 0.

    Args:
        model_calls: The most model calls, retries included; `None` for no cap.
        tool_calls: The most tool calls, `None` for no cap.
        steps: The most supersteps of the graph and its subgraphs together, `None` for no cap. Nodes that run in
            parallel are one step, and so are all attempts of a node.
        reply: The answer to a refused call, instead of an exception: a string, or a function of the `BudgetExceeded`
            that returns a string or a state update. The run ends after that step, and its thread stays usable.
        name: The budget's name in events and errors.

    Raises:
        BudgetExceeded: The run has reached a cap.
        ConfigurationError: While building, if a setting is invalid. At a call in a graph that is not hardened.

    Example:
        ```python
        RunBudget(model_calls=20, tool_calls=50, reply="This takes me too long.")
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model", "tool"})
    role: ClassVar[Role | None] = "admit"

    model_calls: int | None = field(default=50, kw_only=True)
    tool_calls: int | None = field(default=100, kw_only=True)
    steps: int | None = field(default=250, kw_only=True)
    reply: str | Callable[[BudgetExceeded], Any] | None = field(default=None, kw_only=True)
    name: str = field(default="RunBudget", kw_only=True)

    def __post_init__(self) -> None:
        for setting in _SETTINGS.values():
            most = getattr(self, setting)
            if most is not None and (not isinstance(most, int) or most < 1):
                raise ConfigurationError(
                    f"{setting} is {most!r}; give a whole number, 1 or more, or None"
                )
        if not (self.reply is None or isinstance(self.reply, str) or callable(self.reply)):
            raise ConfigurationError(f"reply is {self.reply!r}; give a text or a function")

    @property
    def writes(self) -> frozenset[str]:
        """`messages`, if the reply is a string."""
        return frozenset({"messages"} if isinstance(self.reply, str) else ())

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Count the call or refuse it; end a run that was answered without an error."""
        if call.kind == "run":
            return await self._run(call, handler)
        refusal = self._count(call)
        if refusal is None:
            return await handler(call)
        if self.reply is None:
            return await call.refuse(refusal)
        call.run.answered = True
        # Drains this run only: the method of `Run` would also drain the caller's control.
        RunControl.request_drain(call.run, self.name)
        is_first = call.run.recorder.first_time(self, "answered")
        return await call.refuse(refusal, self.reply) if is_first or call.kind != "node" else None

    async def _run(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except GraphDrained:
            if call.run.drain_reason != self.name:
                raise

    def _count(self, call: Call) -> BudgetExceeded | None:
        setting = _SETTINGS[call.kind]
        most = getattr(self, setting)
        if most is None:
            return None
        if call.runtime is not None and run_of(call.runtime) is None:
            raise ConfigurationError(
                f"{self.name} counts on the run of a hardened graph; give it by harden(graph, [RunBudget(...)])"
            )
        step = _step(call) if call.kind == "node" else None
        left = most - call.run.charges.count((self, call.kind), step)
        call.emit(
            "budget_checked",
            policy=self.name,
            budget=f"{self.name}.{setting}",
            available=max(left, 0),
        )
        if left >= 0:
            return None
        words = f"run budget of {most:,} {setting.replace('_', ' ')}"
        return BudgetExceeded(words, available=0, policy=self.name)


_SETTINGS: dict[Kind, str] = {"model": "model_calls", "tool": "tool_calls", "node": "steps"}


def _step(call: Call) -> tuple[str, int]:
    """Return the superstep of a node: its graph's namespace, and its number."""
    metadata = call.config.get("metadata") or {}
    place = metadata.get("langgraph_checkpoint_ns") or ""
    return place.rpartition("|")[0], metadata.get("langgraph_step", 0)
