"""Deadlines for runs, and timeouts for the attempts of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from langgraph.errors import NodeTimeoutError

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.clock import TimeLimit, nearest
from lg_prod_nodes.core.errors import ConfigurationError, DeadlineExceeded
from lg_prod_nodes.core.policy import REQUESTS, Policy, Role, Site
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.timeouts import Cut, cut_off


@dataclass(frozen=True)
class Deadline(Policy):
    """Bounds the time of a run, including its retries, waits and subgraphs.

    After the deadline no node, model or tool is called, and an asynchronous node is cancelled. No policy or retry waits
    past the deadline. A synchronous node is not interrupted; its next model or tool call is refused. Inside a node,
    `current_run().remaining()` returns the seconds left. A resumed run starts with the full time.

    At a client made by `connect` it bounds each request, including its retries and its stream.

    Args:
        seconds: The most seconds that a run may take.

    Raises:
        DeadlineExceeded: The deadline has passed, or is too near for the call.
        ConfigurationError: While building, if it is attached to a node, or `seconds` is not above 0.

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
        """Runs and everything that they call, or requests."""
        if site == "client":
            return REQUESTS
        if site != "graph":
            raise ConfigurationError(
                "Deadline is for a whole run; give it to harden(graph, [Deadline(...)]), and Timeout(...) for a node"
            )
        return self.kinds

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Start the run's deadline, or hold a call to it."""
        if call.kind == "run":
            if call.is_outermost:  # a nested graph shares the deadline of the whole run
                ends = call.now() + self.seconds
                call.run.deadline = TimeLimit(self.seconds, ends, call.clock)
            return await handler(call)
        if call.kind == "request" and call.attempt == 1:
            own = TimeLimit(self.seconds, call.now() + self.seconds, call.clock)
            call.run.deadline = nearest(call.run.deadline, own)
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
    """Times out a node's attempt. Works for synchronous nodes too, unlike LangGraph's `timeout=`.

    An asynchronous node is cancelled. A synchronous node runs in a thread of its own. Python cannot stop that thread:
    its return value is discarded, but its side effects (store writes, stream output, requests) still happen.

    Args:
        seconds: The most seconds that an attempt may take; less if the run's deadline is nearer.

    Raises:
        NodeTimeoutError: The attempt timed out. LangGraph's own error, which its default retry policy retries.
        DeadlineExceeded: The run's deadline came first.
        ConfigurationError: While building, if `seconds` is not above 0.

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
        """Run the attempt until it times out."""
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
