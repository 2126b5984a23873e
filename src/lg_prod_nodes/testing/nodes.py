"""The laws that nodes must obey."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt
from typing_extensions import TypedDict

from lg_prod_nodes.attach.harden import harden
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.testing.laws import LawBroken
from lg_prod_nodes.testing.ways import Runner, Way, cancelled

_THREAD = {"configurable": {"thread_id": "1"}}


@dataclass(frozen=True)
class _Bench:
    """A graph with a single node and one policy around it that observes or interferes."""

    function: Callable[..., Any]
    state: Any
    schema: Any
    way: Way

    def graph(self, policy: Policy) -> Any:
        builder = StateGraph(self.schema).add_node("node", self.function).add_edge(START, "node")
        return harden(builder, nodes={"node": [policy]}).compile(InMemorySaver())

    def run(self, policy: Policy) -> Any:
        return Runner(self.way).run(self.graph(policy), deepcopy(self.state), _THREAD)


@dataclass(frozen=True)
class _Looks(Policy):
    """Records inputs and outputs."""

    seen: list[Any] = field(default_factory=list)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        before = deepcopy(call.input)
        result = await handler(call)
        self.seen.append((before, call.input, result))
        return result


@dataclass(frozen=True)
class _Interrupts(Policy):
    """Interrupts the first call of a model or tool."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"model", "tool"})

    calls: list[str] = field(default_factory=list)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        self.calls.append(call.name)
        raise GraphInterrupt((Interrupt("the law asks"),))


@dataclass(frozen=True)
class _Stands(Policy):
    """Signals that the node starts."""

    started: asyncio.Event

    async def wrap(self, call: Call, handler: Handler) -> Any:
        asyncio.get_running_loop().call_soon(self.started.set)
        return await handler(call)


def updates(bench: _Bench) -> str | None:
    """It gives an update of fields in the state's schema, a Command, or nothing."""
    looks = _Looks()
    seen = bench.run(looks)
    if not looks.seen:
        return None if _is_paused(seen) else f"it ends with {seen}"
    result = looks.seen[0][2]
    given = result.update if isinstance(result, Command) else result
    if isinstance(given, Mapping):
        fields = bench.graph(looks).channels
        lost = sorted(str(name) for name in given if name not in fields)
        return (
            f"the state has no {', '.join(lost)}; what is written there is lost" if lost else None
        )
    if (
        given is None
        or isinstance(result, (Command, list))
        or not isinstance(given, (str, int, float))
    ):
        return None
    return f"it gives a {type(given).__name__}"


def inputs(bench: _Bench) -> str | None:
    """It does not mutate its input state: a retry would see the changes."""
    looks = _Looks()
    bench.run(looks)
    if any(before != after for before, after, _ in looks.seen):
        return "the state is another one after it"
    return None


def interrupts(bench: _Bench) -> str | None:
    """An interrupt in it, its models or its tools pauses the run: it is an exception that must not be caught."""
    with _interrupts_made() as made:
        paused = _is_paused(bench.run(_Looks()))
    if made and not paused:
        return "it calls interrupt, and the run goes on; it catches what interrupt raises"
    policy = _Interrupts()
    if not _is_paused(bench.run(policy)) and policy.calls:
        return f"an interrupt in {policy.calls[0]} does not pause the run; it is caught"
    return None


def cancellations(bench: _Bench) -> str | None:
    """A cancellation ends it: it never catches CancelledError without raising it again."""
    if bench.way != "ainvoke" or not inspect.iscoroutinefunction(bench.function):
        return None
    looks = _Looks()

    async def begin(started: asyncio.Event) -> Any:
        builder = StateGraph(bench.schema).add_node("node", bench.function).add_edge(START, "node")
        graph = harden(builder, nodes={"node": [_Stands(started), looks]}).compile()
        return await graph.ainvoke(deepcopy(bench.state))

    ended = cancelled(begin)
    return None if ended == "cancelled" or looks.seen else f"it {ended} instead"


_LAWS: tuple[Callable[[_Bench], str | None], ...] = (updates, inputs, interrupts, cancellations)
_WAYS: tuple[Way, ...] = ("invoke", "ainvoke")


@dataclass(frozen=True)
class NodeLaw:
    """A law, checked in one way to run a graph: call it with a node function and a state for it.

    Attributes:
        law: The law to check.
        way: The way to run the graph.
    """

    law: Callable[[_Bench], str | None]
    way: Way

    def __call__(self, function: Callable[..., Any], state: Any, *, schema: Any = None) -> None:
        """Check a node.

        Args:
            function: The node.
            state: The input of the node, such as `{"messages": [("user", "hi")]}`.
            schema: The graph's state schema; by default the type of the function's first parameter, otherwise the
                fields of `state`.

        Raises:
            LawBroken: The node breaks the law.
        """
        if self.way == "invoke" and inspect.iscoroutinefunction(function):
            return
        bench = _Bench(function, state, schema or _schema(function, state), self.way)
        if (wrong := self.law(bench)) is not None:
            name = getattr(function, "__name__", type(function).__name__)
            text = (self.law.__doc__ or "").strip()
            raise LawBroken(f"{name} in {self.way} breaks the law: {text}\n  {wrong}")

    def __str__(self) -> str:
        return f"{self.law.__name__}-{self.way}"


def node_laws() -> tuple[NodeLaw, ...]:
    """Return every law in every way, to parametrize a test of your own with `ids=str`."""
    return tuple(NodeLaw(law, way) for law in _LAWS for way in _WAYS)


def check_node(function: Callable[..., Any], state: Any, *, schema: Any = None) -> None:
    """Check that a node function is safe for LangGraph's runs, retries and interrupts.

    The models and tools that it uses are really called, so use fakes.

    Args:
        function: The node.
        state: The input of the node, such as `{"messages": [("user", "hi")]}`.
        schema: The graph's state schema; by default the type of the function's first parameter, otherwise the fields of
            `state`.

    Raises:
        LawBroken: Lists each broken law, and what is wrong.

    Example:
        ```python
        check_node(agent, {"messages": [("user", "hi")]})
        ```
    """
    broken: list[str] = []
    for law in node_laws():
        try:
            law(function, state, schema=schema)
        except LawBroken as error:
            broken.append(str(error))
    if broken:
        raise LawBroken("\n".join(broken))


def _schema(function: Callable[..., Any], state: Any) -> Any:
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    first = next(iter(inspect.signature(function).parameters), None)
    if (hinted := hints.get(str(first))) not in (None, Any, dict):
        return hinted
    return TypedDict("GivenState", dict.fromkeys(state, Any), total=False)  # type: ignore[operator]


def _is_paused(seen: Any) -> bool:
    return "__interrupt__" in seen if isinstance(seen, dict) else False


@contextmanager
def _interrupts_made() -> Generator[list[GraphInterrupt]]:
    """Collect the interrupts raised inside the block, caught or not."""
    made: list[GraphInterrupt] = []
    native = GraphInterrupt.__init__

    def begin(self: GraphInterrupt, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        native(self, *args, **kwargs)

    GraphInterrupt.__init__ = begin  # type: ignore[method-assign]
    try:
        yield made
    finally:
        GraphInterrupt.__init__ = native  # type: ignore[method-assign]
