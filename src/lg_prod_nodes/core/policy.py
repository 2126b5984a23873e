"""The contract: a policy is a frozen value with the settings of one production concern.

A policy of one's own is one class with one method, for synchronous and asynchronous callers alike:

    @dataclass(frozen=True)
    class SlowCalls(Policy):
        threshold: float = 2.0

        async def wrap(self, call: Call, handler: Handler) -> Any:
            start = call.now()
            result = await handler(call)
            if (seconds := call.now() - start) >= self.threshold:
                call.emit("slow_call", seconds=seconds)
            return result
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.report import Event, Kind

if TYPE_CHECKING:
    from lg_prod_nodes.core.resource import Resource

T = TypeVar("T")

Site = Literal["graph", "node", "agent"]
"""What a policy is attached to: a whole graph, one node, or the middleware of `create_agent`."""

Role = Literal["observe", "admit", "content"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a policy takes over from nodes that have failed for good.

    It runs as LangGraph's native error handler: once, after the last attempt, never for an interrupt.

    Attributes:
        covers: Whether it takes over from an error, which after a crash is the text of its `repr`.
        act: Gives what stands in for the failed node's result: an update follows the node's edges, a `Command` goes
            its own way.
        node: A node function; its result is taken instead, after `act`.
        goes_to: Nodes that it may send a run to, which the graph must have.
    """

    covers: Callable[[BaseException | str], bool]
    act: Callable[[Call, BaseException | str], Awaitable[Any]]
    node: Callable[..., Any] | None = None
    goes_to: frozenset[str] = frozenset()


class Policy:
    """One production concern, as a frozen value.

    Attributes:
        kinds: The calls that the policy wraps when it is given for a whole graph.
        role: What the policy does with a call: `"observe"` it, `"admit"` or refuse it, change or refuse its
            `"content"`; `None` says nothing. Observers stand outside the others, so that they see what those refuse;
            error handlers of the user's are never asked for admission.
        single: Whether a second one on the same call is a mistake.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"node"})
    role: ClassVar[Role | None] = None
    single: ClassVar[bool] = False

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Do something around an attempt of a call; what this returns is the call's result.

        May await only `handler`, `call.sleep`, `call.run_blocking`, `call.answer` and its store. Must let pass what it
        does not handle: above all `GraphBubbleUp` (an interrupt is an exception) and cancellations.
        """
        return await handler(call)

    def observe(self, event: Event) -> None:
        """Take note of an event that any policy of the run emits. Must neither block nor raise."""

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """The calls that the policy wraps where it is attached."""
        if site == "graph":
            return self.kinds
        if site == "node":
            return (self.kinds - {"run", "update"}) or frozenset({"node"})
        if self.role in ("admit", "content"):
            return (self.kinds & {"run", "model", "tool"}) or frozenset({"model"})
        if "node" in self.kinds:  # an agent's nodes are its model and its tools
            return frozenset({"model", "tool"})
        return self.kinds & {"model", "tool"}

    @property
    def writes(self) -> frozenset[str]:
        """Fields of the state that the policy may write, which a graph that it is attached to must have."""
        return frozenset()

    @property
    def recovery(self) -> Recovery | None:
        """How the policy takes over from nodes that have failed for good, `None` if it does not."""
        return None

    def gives_up(self, error: BaseException) -> bool:
        """Whether a node that failed with this error is not tried again, whatever its retry policy says."""
        return False

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What the policy uses and has to be opened and closed: stores, detectors, clients."""
        return ()

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: what was made of them is made again."""
        settings = getattr(self, "__dataclass_fields__", vars(self))
        return {name: value for name, value in vars(self).items() if name in settings}

    def __call__(self, function: T) -> T:
        """Attach the policy to one node function, model or tool: `@RateLimit("10/second")`."""
        from lg_prod_nodes import guard  # a face of the policy, which stands above the contract

        return guard(self)(function)


def resources_of(policies: Iterable[Policy]) -> tuple[Resource, ...]:
    """What policies use, each once."""
    found = {id(resource): resource for policy in policies for resource in policy.resources}
    return tuple(found.values())
