"""Bound the time of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from langgraph.errors import NodeTimeoutError

from lg_prod_nodes.core.call import Call, Handler, Kind
from lg_prod_nodes.core.errors import ConfigurationError, DeadlineExceeded
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.timeouts import Cut, cut_off


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
