"""Policies around the nodes, edges and runs of a compiled graph.

Hardening copies the compiled graph. In the copy, a transparent runnable replaces each node's own (`node.py`), and a
boundary surrounds runs and updates (`boundary.py`). The user's graph stays untouched.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import Any, cast
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph.constants import START
from langgraph.errors import NodeError
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

from lg_prod_nodes.core.call import Call, Unrecoverable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.policy import Policy, Recovery
from lg_prod_nodes.runtime.boundary import hardening_of, set_boundary
from lg_prod_nodes.runtime.graph_node import guarded_graph, is_guarded
from lg_prod_nodes.runtime.langgraph import (
    PregelNode,
    RunnableCallable,
    StateNodeSpec,
    copy_builder,
    has_no_function,
    runtime_in,
    unless_command,
    with_guarded_branches,
    with_noted_threads,
    write_again,
)
from lg_prod_nodes.runtime.node import GuardedNode, guarded_branch, noted
from lg_prod_nodes.runtime.placement import Hardening
from lg_prod_nodes.runtime.retry_layers import warn_of_layers
from lg_prod_nodes.runtime.scope import Scope
from lg_prod_nodes.runtime.unheard import unheard


def hardened(graph: Any, hardening: Hardening) -> Any:
    """A copy of a compiled graph with policies around it."""
    clone = copy(graph)
    clone.nodes, clone.channels = dict(graph.nodes), dict(graph.channels)
    recoverers = _add_recoveries(clone, hardening) if isinstance(clone, CompiledStateGraph) else {}
    clone.nodes = {
        name: _guarded(name, node, hardening, recoverers.get(name, ()), clone)
        for name, node in clone.nodes.items()
    }
    if isinstance(clone, CompiledStateGraph):
        clone.builder = hardened_builder(clone.builder, hardening)
    set_boundary(clone, hardening, plain=graph)
    return clone.validate()


def hardened_builder(builder: Any, hardening: Hardening) -> Any:
    """A copy of a builder that compiles to a graph with policies around it."""
    clone = copy_builder(builder, _hardened_class(cast(Any, _plain_class(type(builder)))))
    vars(clone)["_hardening"] = hardening
    return clone


@cache
def _hardened_class(cls: Any) -> type[Any]:
    """Return a subclass of a builder's class that compiles to a hardened graph."""

    def compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        compiled = copy_builder(self, cls).compile(*args, **kwargs)
        warn_of_retries(compiled)
        return hardened(compiled, self._hardening)

    def shown(self: Any) -> str:
        return f"<{cls.__name__} hardened by {self._hardening.run!r}>"

    body = {
        "compile": compile,
        "__repr__": shown,
        "__module__": cls.__module__,
        "_plain_class": cls,
    }
    return type(cls.__name__, (cls,), body)


def _plain_class(cls: type[Any]) -> type[Any]:
    return getattr(cls, "_plain_class", cls)


def warn_of_retries(graph: Any) -> None:
    """Warn of nodes whose calls are visibly retried in more than one layer."""
    for name, node in graph.nodes.items():
        warn_of_layers(name, node.bound, node.retry_policy or graph.retry_policy)


def plain(graph: Any) -> Any:
    """The graph before hardening, with everything assigned to it since."""
    if hardening_of(graph) is None:
        return graph
    before = copy(vars(graph)["_plain"])
    for name in _ASSIGNED:
        setattr(before, name, getattr(graph, name))
    return before


_ASSIGNED = ("checkpointer", "store", "cache", "config", "name")
"""The attributes that services assign to a compiled graph."""


def called_graph(name: str, scope: Scope, native: Any, graph: Any, *args: Any, **kw: Any) -> Any:
    """Run a graph that a guarded node's function calls, adding those of the node's content policies that it lacks.

    Its retry pauses end with the run that it belongs to.
    """
    own = hardening_of(graph) or Hardening()
    lacking = tuple(p for p in scope.policies.content if p not in own.inherited + own.own)
    if not lacking and (hardening_of(graph) is not None or not _retries(graph)):
        return native(graph, *args, **kw)
    return getattr(_within(graph, own, lacking, scope), name)(*args, **kw)


_WITHIN: WeakKeyDictionary[Any, dict[tuple[int, ...], Any]] = WeakKeyDictionary()
"""Hardened copies of called graphs, by the identity of the policies that they lacked."""


def _within(graph: Any, own: Hardening, lacking: tuple[Policy, ...], scope: Scope) -> Any:
    known = _WITHIN.setdefault(graph, {})
    key = tuple(map(id, lacking))
    if key not in known:
        known[key] = hardened(
            plain(graph), own.inside_of(Hardening(lacking, clock=scope.call.clock))
        )
    within = copy(known[key])
    for name in _ASSIGNED:  # assigned since
        setattr(within, name, getattr(graph, name))
    return within


def _retries(graph: Any) -> bool:
    return bool(graph.retry_policy) or any(node.retry_policy for node in graph.nodes.values())


def _guarded(
    name: str,
    node: PregelNode,
    hardening: Hardening,
    recoverers: Sequence[Policy],
    graph: Any,
) -> PregelNode:
    stack, path = (
        hardening.node(name, is_error_handler=node.is_error_handler),
        hardening.path + name,
    )
    if not stack.inner.is_empty:
        node = with_guarded_branches(node, lambda branch: guarded_branch(branch, name, path, stack))
    if has_no_function(node) or is_guarded(node.bound):
        return node
    inner, subgraphs = node.bound, node.subgraphs
    if isinstance(inner, Pregel):
        inner = _subgraph(inner, hardening, name)
        subgraphs = [inner] if subgraphs else []
    calls_tasks = not isinstance(graph, CompiledStateGraph)
    waits = any(name in policy.reveal_to for policy, _ in stack.placed)
    guarded = GuardedNode(
        inner,
        name,
        path,
        stack,
        recoverers=recoverers,
        calls_tasks=calls_tasks,
        mapper=node.mapper if waits else None,
    )
    asked = guarded.retries(node.retry_policy or graph.retry_policy)
    meets = bool(stack.wraps("node") or stack.observers) or not stack.inner.is_empty
    if asked is not None or meets or calls_tasks:
        inner = guarded_graph(guarded) if isinstance(inner, Pregel) else guarded
    elif isinstance(inner, RunnableCallable):
        inner = with_noted_threads(inner, noted)
    if inner is node.bound:
        return node
    return unheard(
        node.copy(
            {
                "bound": inner,
                "subgraphs": subgraphs,
                "mapper": None if waits else node.mapper,
                "retry_policy": node.retry_policy if asked is None else asked,
            }
        )
    )


def _subgraph(graph: Any, outer: Hardening, name: str) -> Any:
    own = hardening_of(graph)
    hardening = (own or Hardening()).as_subgraph(outer, name)
    keeps_its_own = own is not None and not hardening.inherited
    return graph if keeps_its_own else hardened(plain(graph), hardening)


def _add_recoveries(graph: Any, hardening: Hardening) -> dict[str, Sequence[Policy]]:
    """Add the recovering policies' error handlers to nodes that have none of their own."""
    recoverers: dict[str, Sequence[Policy]] = {}
    for name, node in list(graph.nodes.items()):
        if node.is_error_handler or name in (START, *graph.node_error_handler_map):
            continue
        # If the subgraph lacks the fields or nodes, the parent graph's node recovers.
        fitting = [policy for policy in hardening.recoverers(name) if _fits(policy, graph)]
        if fitting:
            recoverers[name] = fitting
    for name, policies in recoverers.items():
        _add_recovery(graph, name, policies, hardening)
    return recoverers


def _fits(policy: Policy, graph: Any) -> bool:
    recovery = policy.recovery
    goes_to = recovery.goes_to if recovery is not None else frozenset[str]()
    return policy.writes <= set(graph.channels) and goes_to <= set(graph.nodes)


def _add_recovery(graph: Any, name: str, policies: Sequence[Policy], hardening: Hardening) -> None:
    node = graph.nodes[name]
    stack, path = hardening.node(name), hardening.path + name
    recoveries = [recovery for policy in policies if (recovery := policy.recovery) is not None]

    async def recovered(
        state: Any, error: NodeError, config: RunnableConfig, *, blocking: bool
    ) -> Any:
        if isinstance(error.error, str) and await write_again(config, blocking=blocking):
            return Command()
        call = stack.node_call(name, path, state, config, runtime_in(config), blocking=blocking)
        return await _recovered(recoveries, call, error.error)

    def recover(state: Any, error: NodeError, config: RunnableConfig) -> Any:
        return drive(recovered(state, error, config, blocking=True))

    async def arecover(state: Any, error: NodeError, config: RunnableConfig) -> Any:
        return await recovered(state, error, config, blocking=False)

    handler = f"__error_handler__{name}"
    runnable = RunnableCallable(recover, arecover, name=handler, trace=False)
    spec = StateNodeSpec(
        GuardedNode(runnable, name, path, hardening.recovery(name)),
        metadata=None,
        input_schema=graph.builder.nodes[name].input_schema,
        retry_policy=None,
        cache_policy=None,
        is_error_handler=True,
    )
    graph.attach_node(handler, spec)
    # The first writer writes the state; the others are the node's edges and branches.
    graph.nodes[handler].writers.extend(map(unless_command, node.writers[1:]))
    graph.nodes[name] = node.copy({"error_handler_node": handler})
    graph.node_error_handler_map = {**graph.node_error_handler_map, name: handler}


async def _recovered(recoveries: Sequence[Recovery], call: Call, error: BaseException | str) -> Any:
    """The result of the first policy that covers the error."""
    recovery = next((recovery for recovery in recoveries if recovery.covers(error)), None)
    if recovery is None:
        if isinstance(error, Exception):
            raise Unrecoverable(error)
        recovery = recoveries[0]
    result = await recovery.act(call, error)
    if recovery.node is None:
        return result
    node = _runnable(recovery.node)
    if call.blocking:
        return node.invoke(call.input, call.config)
    return await node.ainvoke(call.input, call.config)


def _runnable(node: Any) -> RunnableCallable:
    """A node function as LangGraph runs it, with the config, runtime, store and writer that it asks for."""
    if inspect.iscoroutinefunction(node):
        return RunnableCallable(None, node, trace=False)
    return RunnableCallable(node, trace=False)
