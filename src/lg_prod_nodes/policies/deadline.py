"""Bound the time of a run, and of a node's attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from langgraph.errors import NodeTimeoutError

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.clock import TimeLimit
from lg_prod_nodes.core.errors import ConfigurationError, DeadlineExceeded
from lg_prod_nodes.core.policy import Policy, Role, Site
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.timeouts import Cut, cut_off


@dataclass(frozen=True)
class Deadline(Policy):
    """Bounds the time of a run: its nodes, retries, models, tools and waits, those of subgraphs too.

    When the time is over an asynchronous node is cancelled, no node, model or tool is called any more, and no policy
    and no retry waits beyond it. A synchronous node is not cut; its next call of a model or tool is refused. Nodes ask
    `current_run().remaining()` for what is left. A run that resumes has its time anew.

    Args:
        seconds: How long a run may take.

    Raises:
        DeadlineExceeded: The time does not suffice for a call, or is over.
        ConfigurationError: While building, when it is given for a node, or the seconds cannot be.

    Example:
        ```python
        harden(builder, [Deadline(30.0), RateLimit("10/second", max_wait=60.0)])
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model", "tool"})
    role: ClassVar[Role | None] = "admit"
    single: ClassVar[bool] = True

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigurationError(f"seconds is {self.seconds}; give a number above 0")

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Runs and all that they call."""
        if site != "graph":
            raise ConfigurationError(
                "Deadline is for a whole run; give it to harden(graph, [Deadline(...)]), and Timeout(...) for a node"
            )
        return self.kinds

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Begin the run's time, or see what is left of it."""
        if call.kind == "run":
            if call.is_outermost:  # a graph inside of another has the time of the whole run
                ends = call.now() + self.seconds
                call.run.deadline = TimeLimit(self.seconds, ends, call.clock)
            return await handler(call)
        left = call.remaining()
        if left is None:
            return await handler(call)
        if left <= 0:
            return await call.refuse(DeadlineExceeded(self.seconds))
        if call.kind != "node" or call.blocking:
            return await handler(call)
        try:
            return await cut_off(left, call, handler)
        except Cut:
            return await call.refuse(DeadlineExceeded(self.seconds))


@dataclass(frozen=True)
class Timeout(Policy):
    """Gives up a node's attempt that takes too long, synchronous nodes too, which LangGraph's `timeout=` refuses.

    An asynchronous node is cancelled. A synchronous one runs in a thread of its own: Python cannot end it, so it goes
    on, and what it returns is discarded; what else it does (a store, a stream, a request) still happens.

    Args:
        seconds: How long an attempt may take; a run's deadline that is nearer cuts it earlier.

    Raises:
        NodeTimeoutError: LangGraph's own, which its default retry policy tries again.
        DeadlineExceeded: The run's deadline was nearer.
        ConfigurationError: While building, when the seconds cannot be.

    Example:
        ```python
        harden(builder, nodes={"search": [Timeout(10.0)]})
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"node"})

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ConfigurationError(f"seconds is {self.seconds}; give a number above 0")

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Wait for the attempt, as long as it may take."""
        start, deadline = call.now(), call.run.deadline
        left = deadline.remaining() if deadline is not None else self.seconds
        try:
            return await cut_off(max(min(self.seconds, left), 0.0), call, handler)
        except Cut:
            if deadline is not None and left < self.seconds:
                return await call.refuse(DeadlineExceeded(deadline.seconds))
            name = call.node or call.name
            call.emit("node_timed_out", policy="Timeout", seconds=self.seconds)
            raise NodeTimeoutError(
                name, call.now() - start, kind="run", run_timeout=self.seconds
            ) from None
