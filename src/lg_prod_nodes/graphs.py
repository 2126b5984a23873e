"""`harden`: policies around any graph, without changing what the graph means.

The one file that touches LangGraph's private parts. A graph is hardened after it is compiled: a copy of it gets each
node's runnable replaced by a transparent one, and a boundary around the four methods that every public entry point
ends in (`stream`, `astream`, `bulk_update_state`, `abulk_update_state`). The user's builder and graph stay untouched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeVar, cast, overload

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._config import ensure_config
from langgraph._internal._constants import CONF, CONFIG_KEY_RUNTIME
from langgraph._internal._runnable import RunnableCallable
from langgraph.constants import START
from langgraph.errors import NodeError
from langgraph.graph._node import StateNodeSpec
from langgraph.graph.state import CompiledStateGraph, StateGraph, _NodeDefaults
from langgraph.pregel import Pregel
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode
from langgraph.pregel._utils import _runnable_has_native_async
from langgraph.runtime import Runtime
from langgraph.types import Command

from lg_prod_nodes._engine import Chunk, act, drive, drive_astream, drive_stream
from lg_prod_nodes._watch import watched
from lg_prod_nodes.call import SYSTEM_CLOCK, Call, Clock, outcome_of
from lg_prod_nodes.errors import ConfigurationError
from lg_prod_nodes.policy import Policy, Stack, as_update, validate
from lg_prod_nodes.run import Run, attempt_of, run_of

G = TypeVar("G", StateGraph[Any, Any, Any, Any], CompiledStateGraph[Any, Any, Any, Any])
_REPLY_NODE = "__reply__"


@overload
def harden(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> CompiledStateGraph[Any, Any, Any, Any]: ...
@overload
def harden(
    graph: StateGraph[Any, Any, Any, Any],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> StateGraph[Any, Any, Any, Any]: ...


def harden(
    graph: Any,
    policies: Sequence[Policy] = (),
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Any:
    """Put policies around a graph.

    Args:
        graph: A `StateGraph`, or a compiled graph (`create_agent`, a supervisor, a swarm). It is not changed.
        policies: For the whole graph, the first one outermost. Each acts where it belongs: on runs, nodes, models.
        nodes: Further policies for single nodes, by name, inside of those for the graph.
        clock: Where policies take the time from.

    Returns:
        What was given, hardened: a fresh `StateGraph` to compile, or a compiled graph. Subgraphs added as nodes are
        reached too; one that was hardened by itself keeps its own policies and gets those that it lacks.
        Hardening twice wraps once.

    Raises:
        ConfigurationError: A node name is not known, or the policies cannot stand together.
    """
    if not isinstance(graph, (StateGraph, Pregel)):
        raise ConfigurationError(
            f"harden was given a {type(graph).__name__}; give a StateGraph or a compiled graph, not a function or name"
        )
    _check_nodes(graph, nodes or {})
    hardening = _Hardening(tuple(policies), {n: tuple(p) for n, p in (nodes or {}).items()}, clock=clock)
    existing = _hardening_of(graph)
    hardening = existing.around_with(hardening) if existing is not None else hardening
    hardening.check()
    if isinstance(graph, Pregel):
        return _hardened(_plain(graph), hardening)
    builder = _copy_builder(graph)
    builder.__class__ = _builder_class(_plain_class(type(graph)))
    vars(builder)["_hardening"] = hardening
    return builder


@dataclass(frozen=True)
class _Hardening:
    """The policies of one graph: its own, those of single nodes, and those of the graphs around it."""

    own: tuple[Policy, ...]
    nodes: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    inherited: tuple[Policy, ...] = ()
    path: str = ""
    clock: Clock = SYSTEM_CLOCK

    def check(self) -> None:
        validate(self.own)
        for policies in self.nodes.values():
            validate(policies)

    def around_with(self, outer: _Hardening) -> _Hardening:
        nodes = {
            name: _without(outer.nodes.get(name, ()), self.nodes.get(name, ())) + self.nodes.get(name, ())
            for name in {**self.nodes, **outer.nodes}
        }
        return dataclasses.replace(self, own=_without(outer.own, self.own) + self.own, nodes=nodes, clock=outer.clock)

    def within(self, outer: _Hardening, name: str) -> _Hardening:
        """This graph's hardening as a subgraph: what the graphs around it have and it lacks comes from outside."""
        kinds_of_own = {type(policy) for policy in self.own}
        inherited = tuple(p for p in outer.inherited + outer.own if type(p) not in kinds_of_own)
        return dataclasses.replace(self, inherited=inherited, path=f"{outer.path}{name}/", clock=outer.clock)

    @cached_property
    def runs(self) -> Stack:
        """The stack at the boundary of a run."""
        return Stack.at("graph", self.own, self.clock)

    def node(self, name: str, *, recovering: bool = False) -> Stack:
        """The stack at a node; an error handler is never asked for admission."""
        graph_wide = [(p, p.kinds_at("graph") - {"run", "update"}) for p in self.inherited + self.own]
        single = [(p, p.kinds_at("node")) for p in self.nodes.get(name, ())]
        placed = graph_wide + single
        return Stack([(p, kinds) for p, kinds in placed if not recovering or p.role != "admit"], self.clock)

    def recoverer(self, name: str) -> Policy | None:
        """The policy that takes over when a node has failed for good, the innermost one first."""
        candidates = reversed(self.inherited + self.own + self.nodes.get(name, ()))
        return next((policy for policy in candidates if policy.recovers), None)


def _without(policies: tuple[Policy, ...], present: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(policy for policy in policies if policy not in present)


def _check_nodes(graph: StateGraph[Any, Any, Any, Any] | Pregel[Any, Any, Any, Any], names: Mapping[str, Any]) -> None:
    known = sorted(name for name in graph.nodes if not name.startswith("__"))
    if unknown := sorted(set(names) - set(known)):
        raise ConfigurationError(f"no node named {', '.join(map(repr, unknown))}; the graph has {', '.join(known)}")


# --- builders ---------------------------------------------------------------------------------------------------


def _copy_builder(builder: StateGraph[Any, Any, Any, Any]) -> StateGraph[Any, Any, Any, Any]:
    """A builder of its own: `compile` changes the one it is called on, and a second one may raise."""
    clone = copy(builder)
    clone.__class__ = _plain_class(type(builder))
    clone.nodes = {name: dataclasses.replace(spec) for name, spec in builder.nodes.items()}
    clone.edges, clone.waiting_edges = set(builder.edges), set(builder.waiting_edges)
    clone.branches = type(builder.branches)(dict, {start: dict(b) for start, b in builder.branches.items()})
    clone.schemas = {schema: dict(channels) for schema, channels in builder.schemas.items()}
    clone.channels, clone.managed = dict(builder.channels), dict(builder.managed)
    clone._node_defaults = dataclasses.replace(builder._node_defaults)
    return clone


@cache
def _builder_class(cls: type[Any]) -> type[Any]:
    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _hardened(_copy_builder(self).compile(*args, **kwargs), self._hardening)

    return type(cls.__name__, (cls,), {"compile": compile, "__module__": cls.__module__, "_plain_class": cls})


def _plain_class(cls: type[Any]) -> type[Any]:
    return getattr(cls, "_plain_class", cls)


def _hardening_of(graph: object) -> _Hardening | None:
    return vars(graph).get("_hardening")


# --- nodes ------------------------------------------------------------------------------------------------------


class _Node(RunnableCallable):
    """A node's runnable with policies around it, in every other way like the one inside."""

    def __init__(self, inner: Runnable[Any, Any], name: str, path: str, stack: Stack) -> None:
        if isinstance(inner, RunnableCallable):
            vars(self).update(vars(inner))
        else:
            # LangGraph finds a node's subgraphs in the closure of `func`, and refuses timeouts by the lack of `afunc`.
            def func(input: Any, config: RunnableConfig) -> Any:
                return inner.invoke(input, config)

            async def afunc(input: Any, config: RunnableConfig) -> Any:
                return await inner.ainvoke(input, config)

            native = afunc if _runnable_has_native_async(inner) else None
            super().__init__(func, native, name=inner.get_name(), trace=False)
        self._inner = inner
        self._node_name = name
        self._path = path
        self._stack = stack
        self._wraps = stack.wraps("node")
        self._buffers = stack.changes("node")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        async def handler(call: Call) -> Any:
            return self._inner.invoke(call.input, config, **kwargs)

        return drive(act(self._wraps, self._call(input, config, blocking=True), handler))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        async def handler(call: Call) -> Any:
            return await self._inner.ainvoke(call.input, config, **kwargs)

        return await act(self._wraps, self._call(input, config, blocking=False), handler)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        async def handler(call: Call) -> Any:
            last = None
            for last in self._inner.stream(call.input, config, **kwargs):
                if not self._buffers:
                    await Chunk(last)
            return last

        def chain() -> Any:
            return act(self._wraps, self._call(input, config, blocking=True), handler)

        if self._buffers:
            yield drive(chain())
        else:
            yield from drive_stream(chain)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async def handler(call: Call) -> Any:
            last = None
            async for last in self._inner.astream(call.input, config, **kwargs):
                if not self._buffers:
                    await Chunk(last)
            return last

        def chain() -> Any:
            return act(self._wraps, self._call(input, config, blocking=False), handler)

        if self._buffers:
            yield await chain()
        else:
            async with aclosing(drive_astream(chain)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _call(self, input: Any, config: RunnableConfig | None, *, blocking: bool) -> Call:
        return _node_call(self._stack, self._node_name, self._path, input, config, blocking=blocking)


def _node_call(
    stack: Stack, name: str, path: str, input: Any, config: RunnableConfig | None, *, blocking: bool
) -> Call:
    config = config if config is not None else RunnableConfig()
    runtime = config.get(CONF, {}).get(CONFIG_KEY_RUNTIME)
    run = run_of(runtime)
    if run is None:
        run = Run()
        run.start("", config)
    return Call(
        kind="node",
        name=name,
        input=input,
        run=run,
        config=config,
        runtime=runtime,
        node=path,
        attempt=attempt_of(runtime),
        blocking=blocking,
        clock=stack.clock,
        observers=stack.observers,
        answer_with=as_update,
    )


def _guarded(name: str, node: PregelNode, hardening: _Hardening) -> PregelNode:
    if node.bound is DEFAULT_BOUND:
        return node
    inner, subgraphs = node.bound, node.subgraphs
    if isinstance(inner, Pregel):
        inner = _hardened_within(inner, hardening, name)
        subgraphs = [inner] if subgraphs else []
    stack = hardening.node(name, recovering=node.is_error_handler)
    if stack.wraps("node"):
        inner = _Node(inner, name, hardening.path + name, stack)
    return node if inner is node.bound else node.copy({"bound": inner, "subgraphs": subgraphs})


def _hardened_within(graph: Any, outer: _Hardening, name: str) -> Any:
    own = _hardening_of(graph)
    hardening = (own or _Hardening(())).within(outer, name)
    return graph if own is not None and not hardening.inherited else _hardened(_plain(graph), hardening)


def _add_recovery(graph: Any, name: str, hardening: _Hardening) -> None:
    """Give a node the native error handler of a policy that recovers, unless the user gave it one."""
    policy, node = hardening.recoverer(name), graph.nodes[name]
    if policy is None or node.is_error_handler or name in graph.node_error_handler_map or name == START:
        return
    stack, path = hardening.node(name), hardening.path + name

    def recover(state: Any, error: NodeError, config: RunnableConfig) -> Any:
        return policy.recover(_node_call(stack, name, path, state, config, blocking=True), error.error)

    handler = f"__error_handler__{name}"
    spec = StateNodeSpec(
        RunnableCallable(recover, name=handler, trace=False),
        metadata=None,
        input_schema=graph.builder.nodes[name].input_schema,
        retry_policy=None,
        cache_policy=None,
        is_error_handler=True,
    )
    graph.attach_node(handler, spec)
    if policy.recovers == "continue":
        graph.nodes[handler].writers.extend(node.writers[1:])  # the first writes the state, the rest are its edges
    graph.nodes[name] = node.copy({"error_handler_node": handler})
    graph.node_error_handler_map = {**graph.node_error_handler_map, name: handler}


# --- compiled graphs --------------------------------------------------------------------------------------------


def _hardened(graph: Any, hardening: _Hardening) -> Any:
    clone = copy(graph)
    clone.nodes, clone.channels = dict(graph.nodes), dict(graph.channels)
    if isinstance(clone, CompiledStateGraph):
        for name in graph.nodes:
            _add_recovery(clone, name, hardening)
    vars(clone)["_drawn_nodes"] = dict(clone.nodes)
    clone.nodes = {name: _guarded(name, node, hardening) for name, node in clone.nodes.items()}
    clone.__class__ = _boundary_class(type(graph))
    vars(clone)["_hardening"] = hardening
    vars(clone)["_plain"] = graph
    return clone.validate()


def _plain(graph: Any) -> Any:
    """The graph as it was before it was hardened, with what was assigned to it since."""
    if _hardening_of(graph) is None:
        return graph
    plain = copy(vars(graph)["_plain"])
    plain.checkpointer, plain.store, plain.cache = graph.checkpointer, graph.store, graph.cache
    plain.config, plain.name = graph.config, graph.name
    return plain


@cache
def _boundary_class(cls: type[Any]) -> type[Any]:
    """A compiled graph's class whose runs pass through the policies.

    The class derives from the given one alone: a mixin before it would change the object's layout, and
    `graph.__class__ = ...` would be refused.
    """

    def stream(self: Any, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        if not self._hardening.own:
            return cast(Iterator[Any], cls.stream(self, input, config, **kwargs))
        return drive_stream(lambda: _Passage(self, cls, input, config, kwargs, blocking=True).run())

    def astream(self: Any, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        if not self._hardening.own:
            return cast(AsyncIterator[Any], cls.astream(self, input, config, **kwargs))
        return drive_astream(lambda: _Passage(self, cls, input, config, kwargs, blocking=False).run())

    def bulk_update_state(self: Any, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        async def handler(call: Call) -> Any:
            return cls.bulk_update_state(self, config, call.input)

        call = _Passage(self, cls, supersteps, config, {}, blocking=True).call.replace(kind="update")
        return cast(RunnableConfig, drive(act(self._hardening.runs.wraps("update"), call, handler)))

    async def abulk_update_state(self: Any, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        async def handler(call: Call) -> Any:
            return await cls.abulk_update_state(self, config, call.input)

        call = _Passage(self, cls, supersteps, config, {}, blocking=False).call.replace(kind="update")
        return cast(RunnableConfig, await act(self._hardening.runs.wraps("update"), call, handler))

    def copy_graph(self: Any, update: dict[str, Any] | None = None) -> Any:
        clone = cls.copy(self, update)
        for name in ("_hardening", "_plain", "_drawn_nodes"):
            vars(clone)[name] = vars(self)[name]
        return clone

    def get_graph(self: Any, *args: Any, **kwargs: Any) -> Any:
        return cls.get_graph(_as_drawn(self), *args, **kwargs)

    async def aget_graph(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await cls.aget_graph(_as_drawn(self), *args, **kwargs)

    methods = {f.__name__: f for f in (stream, astream, bulk_update_state, abulk_update_state, get_graph, aget_graph)}
    return type(cls.__name__, (cls,), {**methods, "copy": copy_graph, "__module__": cls.__module__})


def _as_drawn(graph: Any) -> Any:
    drawn = copy(graph)
    drawn.nodes = graph._drawn_nodes
    return drawn


class _Passage:
    """One run on its way through the boundary of a hardened graph."""

    def __init__(
        self,
        graph: Any,
        cls: type[Any],
        input: Any,
        config: RunnableConfig | None,
        kwargs: dict[str, Any],
        *,
        blocking: bool,
    ) -> None:
        self._graph, self._cls = graph, cls
        hardening: _Hardening = graph._hardening
        self._stack = hardening.runs
        full = ensure_config(graph.config, config)
        runtime = full[CONF].get(CONFIG_KEY_RUNTIME)
        control = kwargs.get("control")
        outer = run_of(runtime)
        self._is_root = outer is None
        self._run = outer or (control if isinstance(control, Run) else Run())
        if self._is_root:
            self._run.start(
                graph.get_name(), full, context=kwargs.get("context"), control=None if control is self._run else control
            )
            self._run.observers = self._stack.observers
        self.call = Call(
            kind="run",
            name=graph.get_name(),
            input=input,
            run=self._run,
            config=full,
            runtime=runtime,
            resumed=input is None or (isinstance(input, Command) and input.resume is not None),
            blocking=blocking,
            clock=hardening.clock,
            observers=self._stack.observers,
            answer_with=self._answer if isinstance(graph, CompiledStateGraph) else None,
        )
        self._config = watched(config, self.call) if self._is_root else config
        self._kwargs = {**kwargs, "control": self._run} if self._is_root else kwargs

    async def run(self) -> Any:
        """Send the run through the policies, and note how it ended."""
        error: BaseException | None = None
        try:
            return await act(self._stack.wraps("run"), self.call, self._serve)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._is_root:
                self._run.report.outcome = self._run.outcome(outcome_of(error))

    async def _serve(self, call: Call) -> None:
        if call.blocking:
            with closing(self._cls.stream(self._graph, call.input, self._config, **self._kwargs)) as chunks:
                for chunk in chunks:
                    await Chunk(chunk)
        else:
            async with aclosing(self._cls.astream(self._graph, call.input, self._config, **self._kwargs)) as chunks:
                async for chunk in chunks:
                    await Chunk(chunk)

    async def _answer(self, call: Call, reply: Any) -> None:
        """Serve the reply in the run's stead, as a run of the same thread: its input and the reply land in state."""
        self._run.reply = await as_update(call, reply)
        self._graph, self._cls = _reply_graph(self._graph), CompiledStateGraph
        self._kwargs = {k: v for k, v in self._kwargs.items() if k not in ("interrupt_before", "interrupt_after")}
        content = tuple(p.wrap for p, kinds in self._stack.placed if p.role == "content" and "run" in kinds)
        await act(content, call, self._serve)


def _reply_graph(graph: Any) -> Any:
    """A graph of the same state whose only way from the start is a node that replies what the run says."""
    if "_replying" not in vars(graph):
        builder = _copy_builder(graph.builder)
        builder.compiled = False
        builder._node_defaults = _NodeDefaults()  # compiling has applied them already
        builder.edges = {(start, end) for start, end in builder.edges if start != START}
        builder.branches.pop(START, None)
        builder.add_node(_REPLY_NODE, _reply)
        builder.add_edge(START, _REPLY_NODE)
        vars(graph)["_replying"] = builder.compile(name=graph.name)
    replying = copy(vars(graph)["_replying"])
    replying.checkpointer, replying.store, replying.config = graph.checkpointer, graph.store, graph.config
    return replying


def _reply(state: Any, runtime: Runtime[Any]) -> Any:
    return cast(Run, run_of(runtime)).reply
