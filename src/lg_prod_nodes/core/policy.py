"""The base class of policies: frozen values with the settings of one production concern.

To write your own, subclass `Policy` and implement one method, for synchronous and asynchronous callers alike:

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

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.report import Event, Kind

if TYPE_CHECKING:
    from lg_prod_nodes.core.resource import Resource

T = TypeVar("T")
_DATA = re.compile(
    r"(bool|float|int|str|list|tuple|dict|Collection|Iterable|Mapping|Sequence)\b(?!.*Callable)"
)

Site = Literal["graph", "node", "agent", "client"]
"""Where a policy is attached: to a whole graph, one node, `create_agent` as middleware, or a client of a server."""

REQUESTS: frozenset[Kind] = frozenset({"request"})
"""What a policy wraps at a client."""

Role = Literal["observe", "admit", "content"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a policy takes over from nodes that failed for good.

    It runs as LangGraph's native error handler: once, after the last attempt, never for an interrupt.

    Attributes:
        covers: Returns whether to take over from an error. After a crash the error is given as its `repr`.
        act: Returns the replacement for the failed node's result: an update, which follows the node's edges, or a
            `Command`.
        node: A node function that runs after `act` and whose result is used instead.
        goes_to: The nodes that it may send a run to. The graph must have them.
    """

    covers: Callable[[BaseException | str], bool]
    act: Callable[[Call, BaseException | str], Awaitable[Any]]
    node: Callable[..., Any] | None = None
    goes_to: frozenset[str] = frozenset()


class _NotMiddleware(ConfigurationError, AttributeError):
    """A policy was passed where LangChain expects middleware. `hasattr` treats it as a missing attribute."""


class _OfMiddleware:
    """Raises an error with advice when LangChain looks up a middleware method on a policy."""

    def __get__(self, policy: object, cls: type) -> NoReturn:
        name = cls.__name__
        raise _NotMiddleware(
            f"{name} is a policy, not middleware of LangChain; give "
            f"create_agent(middleware=[as_middleware({name}(...))]), or harden(create_agent(...), [{name}(...)])"
        )


class Policy:
    """One production concern, as a frozen value.

    Attributes:
        kinds: The calls that the policy wraps when attached to a whole graph.
        role: What the policy does with a call: `"observe"` it, `"admit"` or refuse it, or change or refuse its
            `"content"`; `None` if none of these. Observers are placed outside the others, so that they see refused
            calls. The user's error handlers never need admission.
        single: Whether a second policy of this class on the same call is an error.
        reveal_to: The tools and nodes that get originals of what the policy replaced, before their input is validated.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"node"})
    role: ClassVar[Role | None] = None
    single: ClassVar[bool] = False
    reveal_to: frozenset[str] = frozenset()

    wrap_model_call = awrap_model_call = wrap_tool_call = awrap_tool_call = _OfMiddleware()

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Create a policy.

        Raises:
            ConfigurationError: A setting is unknown, or the class is used as a decorator without parentheses.
        """
        if args or settings:
            _check_settings(cls, args, settings)
        return super().__new__(cls)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Wrap one attempt of a call. The return value is the call's result.

        May await only `handler`, `call.sleep`, `call.run_blocking`, `call.answer` and the policy's store. Exceptions
        that it does not handle must propagate, above all `GraphBubbleUp` (interrupts are exceptions) and cancellations.
        """
        return await handler(call)

    def observe(self, event: Event) -> None:
        """Handle an event emitted by any policy of the run. Must neither block nor raise."""

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """Return the calls that the policy wraps when attached there."""
        if site == "graph":
            return self.kinds
        if site == "client":
            return self.kinds & REQUESTS
        if site == "node":
            return (self.kinds - {"run", "update"}) or frozenset({"node"})
        if self.role in ("admit", "content"):
            return (self.kinds & {"run", "model", "tool"}) or frozenset({"model"})
        if "node" in self.kinds:  # an agent's nodes are its model and its tools
            return frozenset({"model", "tool"})
        return self.kinds & {"model", "tool"}

    @property
    def writes(self) -> frozenset[str]:
        """The state fields that the policy may write. A graph that it is attached to must have them."""
        return frozenset()

    @property
    def recovery(self) -> Recovery | None:
        """How the policy takes over from nodes that failed for good, `None` if it does not."""
        return None

    def gives_up(self, error: BaseException) -> bool:
        """Return whether an error ends a node's retries, whatever its retry policy says."""
        return False

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The stores, detectors and clients that the policy uses, which have to be opened and closed."""
        return ()

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings only; values derived from them are recomputed."""
        settings = getattr(self, "__dataclass_fields__", vars(self))
        return {name: value for name, value in vars(self).items() if name in settings}

    def __call__(self, function: T) -> T:
        """Attach the policy to one node function, model or tool: `@RateLimit("10/second")`."""
        from lg_prod_nodes import guard  # here, as it is in a higher layer

        return guard(self)(function)


def _check_settings(cls: type[Policy], args: tuple[Any, ...], settings: Iterable[str]) -> None:
    known = dict(inspect.signature(cls.__init__).parameters)
    known.pop("self", None)
    kinds = {parameter.kind for parameter in known.values()}
    unknown = next((name for name in settings if name not in known), None)
    if unknown is not None and inspect.Parameter.VAR_KEYWORD not in kinds:
        advice = did_you_mean(unknown, known, "choose among")
        raise ConfigurationError(f"{cls.__name__} has no setting {unknown!r}; {advice}")
    if (
        len(args) == 1
        and isinstance(args[0], FunctionType)
        and not _takes_functions(known.values())
    ):
        raise ConfigurationError(
            f"{cls.__name__} was given the function {args[0].__name__}; a policy as a decorator has parentheses: "
            f"@{cls.__name__}(...)"
        )


def _takes_functions(parameters: Iterable[inspect.Parameter]) -> bool:
    first = next(iter(parameters), None)
    if first is None or first.kind is inspect.Parameter.KEYWORD_ONLY:
        return False
    annotation = getattr(first.annotation, "__name__", str(first.annotation))
    return _DATA.match(annotation) is None


def resources_of(policies: Iterable[Policy]) -> tuple[Resource, ...]:
    """Return the resources of policies, each once."""
    found = {id(resource): resource for policy in policies for resource in policy.resources}
    return tuple(found.values())
