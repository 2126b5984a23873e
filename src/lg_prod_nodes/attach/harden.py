"""`harden`: policies around any graph, without changing what the graph means.

A graph is hardened after it is compiled: a copy of it gets each node's runnable replaced by a transparent one
(`runtime/node.py`), and a boundary around its runs and updates (`runtime/boundary.py`). The user's builder and graph stay untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache, partial
from typing import Any, cast, overload

from langchain_core.runnables import RunnableConfig
from langgraph.constants import START
from langgraph.errors import NodeError
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, RetryPolicy
from langgraph.typing import ContextT, InputT, OutputT, StateT

from lg_prod_nodes.core.call import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy, validate
from lg_prod_nodes.runtime.boundary import hardening_of, set_boundary
from lg_prod_nodes.runtime.calls import Place, lead
from lg_prod_nodes.runtime.langgraph import (
    PregelNode,
    RunnableCallable,
    StateNodeSpec,
    copy_builder,
    does_nothing,
    make_pauses_wakeable,
    runtime_in,
    unless_command,
    with_guarded_branches,
    with_guarded_edges,
    write_again,
)
from lg_prod_nodes.runtime.node import GuardedNode, guarded_branch
from lg_prod_nodes.runtime.placement import Hardening
from lg_prod_nodes.runtime.retry_layers import warn_of_layers


@overload
def harden(
    graph: CompiledStateGraph[StateT, ContextT, InputT, OutputT],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]: ...
@overload
def harden(
    graph: StateGraph[StateT, ContextT, InputT, OutputT],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> StateGraph[StateT, ContextT, InputT, OutputT]: ...


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
    for given in (policies, *(nodes or {}).values()):
        validate(given)
    single = {name: tuple(given) for name, given in (nodes or {}).items()}
    hardening = Hardening(tuple(policies), single, clock=clock)
    if (existing := hardening_of(graph)) is not None:
        hardening = existing.inside_of(hardening)
    hardening.prepare()
    _lead_graphs()
    _check_writes(graph, hardening)
    if isinstance(graph, Pregel):
        _warn_of_retries(graph)
        return _hardened(_plain(graph), hardening)
    builder = copy_builder(graph, _hardened_class(cast(Any, _plain_class(type(graph)))))
    vars(builder)["_hardening"] = hardening
    return builder


@cache
def _lead_graphs() -> None:
    """Let the policies around a node reach the graphs that its function calls, and a drain their pauses."""
    make_pauses_wakeable()
    for name in ("stream", "astream"):
        lead(Pregel, name, partial(_called_graph, name))


def _called_graph(name: str, place: Place, native: Any, graph: Any, *args: Any, **kw: Any) -> Any:
    own = hardening_of(graph) or Hardening()
    lacking = [policy for policy in place.content if policy not in own.inherited + own.own]
    if not lacking:
        return native(graph, *args, **kw)
    inner = own.inside_of(Hardening(tuple(lacking), clock=place.call.clock))
    return getattr(_hardened(_plain(graph), inner), name)(*args, **kw)


def _check_nodes(graph: Any, names: Mapping[str, Any]) -> None:
    known = sorted(name for name in graph.nodes if not name.startswith("__"))
    if unknown := sorted(set(names) - set(known)):
        raise ConfigurationError(
            f"no node named {', '.join(map(repr, unknown))}; the graph has {', '.join(known)}"
        )


def _check_writes(graph: Any, hardening: Hardening) -> None:
    for policy in (*hardening.own, *(p for given in hardening.nodes.values() for p in given)):
        if missing := sorted(policy.writes - set(graph.channels)):
            raise ConfigurationError(
                f"{type(policy).__name__} writes to {', '.join(missing)}, which the graph's state lacks; add the "
                "field, or give a function that returns an update of the fields it has"
            )
        if unknown := sorted(policy.goes_to - set(graph.nodes)):
            raise ConfigurationError(
                f"{type(policy).__name__} goes to {', '.join(unknown)}, which the graph lacks; name one of its nodes"
            )


def _warn_of_retries(graph: Any) -> None:
    for name, node in graph.nodes.items():
        warn_of_layers(name, node.bound, node.retry_policy or graph.retry_policy)


@cache
def _hardened_class(cls: Any) -> type[Any]:
    """A builder's class that compiles to a hardened graph."""

    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        compiled = copy_builder(self, cls).compile(*args, **kwargs)
        _warn_of_retries(compiled)
        return _hardened(compiled, self._hardening)

    body = {"compile": compile, "__module__": cls.__module__, "_plain_class": cls}
    return type(cls.__name__, (cls,), body)


def _plain_class(cls: type[Any]) -> type[Any]:
    return getattr(cls, "_plain_class", cls)


def _hardened(graph: Any, hardening: Hardening) -> Any:
    clone = copy(graph)
    clone.nodes, clone.channels = dict(graph.nodes), dict(graph.channels)
    recoverers = _add_recoveries(clone, hardening) if isinstance(clone, CompiledStateGraph) else {}
    clone.nodes = {
        name: _guarded(name, node, hardening, recoverers, clone.retry_policy)
        for name, node in clone.nodes.items()
    }
    set_boundary(clone, hardening, plain=graph)
    return clone.validate()


def _plain(graph: Any) -> Any:
    """The graph as it was before it was hardened, with what was assigned to it since."""
    if hardening_of(graph) is None:
        return graph
    plain = copy(vars(graph)["_plain"])
    for name in ("checkpointer", "store", "cache", "config", "name"):
        setattr(plain, name, getattr(graph, name))
    return plain


def _guarded(
    name: str,
    node: PregelNode,
    hardening: Hardening,
    recoverers: Mapping[str, Sequence[Policy]],
    retries: Sequence[RetryPolicy],
) -> PregelNode:
    stack = hardening.node(name, is_error_handler=node.is_error_handler)
    if stack.wraps("node", role="content"):
        path = hardening.path + name
        node = with_guarded_branches(node, lambda branch: guarded_branch(branch, name, path, stack))
    if does_nothing(node) or isinstance(node.bound, GuardedNode):
        return node
    inner, subgraphs = node.bound, node.subgraphs
    if isinstance(inner, Pregel):
        inner = _subgraph(inner, hardening, name)
        subgraphs = [inner] if subgraphs else []
    watches = hardening.watches_models(name)
    retries = node.retry_policy or retries
    if stack.wraps("node") or stack.reaches or watches or name in recoverers or retries:
        inner = GuardedNode(
            inner,
            name,
            hardening.path + name,
            stack,
            watches=watches,
            recoverers=recoverers.get(name, ()),
            retries=retries,
        )
        if name in recoverers or retries:
            node = with_guarded_edges(node, inner.passed_on_from_edge)
    return node if inner is node.bound else node.copy({"bound": inner, "subgraphs": subgraphs})


def _subgraph(graph: Any, outer: Hardening, name: str) -> Any:
    own = hardening_of(graph)
    hardening = (own or Hardening()).as_subgraph(outer, name)
    return (
        graph
        if own is not None and not hardening.inherited
        else _hardened(_plain(graph), hardening)
    )


def _add_recoveries(graph: Any, hardening: Hardening) -> dict[str, Sequence[Policy]]:
    """Give nodes the native error handlers of the policies that recover, unless the user gave them one."""
    recoverers: dict[str, Sequence[Policy]] = {}
    for name, node in list(graph.nodes.items()):
        if node.is_error_handler or name in (START, *graph.node_error_handler_map):
            continue
        # Of a subgraph that lacks the fields or nodes, the node of the graph around it recovers.
        fitting = [policy for policy in hardening.recoverers(name) if _fits(policy, graph)]
        if fitting:
            recoverers[name] = fitting
    for name, policies in recoverers.items():
        _add_recovery(graph, name, policies, hardening)
    return recoverers


def _fits(policy: Policy, graph: Any) -> bool:
    return policy.writes <= set(graph.channels) and policy.goes_to <= set(graph.nodes)


def _add_recovery(graph: Any, name: str, policies: Sequence[Policy], hardening: Hardening) -> None:
    node = graph.nodes[name]
    stack, path = hardening.node(name), hardening.path + name

    async def recovered(
        state: Any, error: NodeError, config: RunnableConfig, *, blocking: bool
    ) -> Any:
        if isinstance(error.error, str) and await write_again(config, blocking=blocking):
            return Command()
        call = stack.node_call(name, path, state, config, runtime_in(config), blocking=blocking)
        taking = (policy for policy in policies if policy.recovers_from(error.error))
        return await next(taking, policies[0]).recover(call, error.error)

    def recover(state: Any, error: NodeError, config: RunnableConfig) -> Any:
        return drive(recovered(state, error, config, blocking=True))

    async def arecover(state: Any, error: NodeError, config: RunnableConfig) -> Any:
        return await recovered(state, error, config, blocking=False)

    handler = f"__error_handler__{name}"
    recovery = RunnableCallable(recover, arecover, name=handler, trace=False)
    spec = StateNodeSpec(
        GuardedNode(recovery, name, path, hardening.recovery(name)),
        metadata=None,
        input_schema=graph.builder.nodes[name].input_schema,
        retry_policy=None,
        cache_policy=None,
        is_error_handler=True,
    )
    graph.attach_node(handler, spec)
    # The first writer writes the state, the others are the node's edges and branches.
    graph.nodes[handler].writers.extend(map(unless_command, node.writers[1:]))
    graph.nodes[name] = node.copy({"error_handler_node": handler})
    graph.node_error_handler_map = {**graph.node_error_handler_map, name: handler}
