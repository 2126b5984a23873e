"""Discovers what a graph depends on: its checkpointer, and the resources of its policies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.pregel import Pregel

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.resource import NOBODY, Resource
from lg_prod_nodes.databases.timings import MeasuredPool
from lg_prod_nodes.runtime.boundary import hardening_of
from lg_prod_nodes.service.health.checks import Check, CheckResult
from lg_prod_nodes.service.health.servers import NO_WRITES, PostgresServer, RedisServer, of_pools


@runtime_checkable
class HasApp(Protocol):
    """Anything with a compiled graph while it is open, such as `Production`."""

    @property
    def app(self) -> CompiledStateGraph[Any, Any, Any, Any] | None:
        """The graph; `None` while closed."""
        ...


Dependency = (
    HasApp
    | StateGraph[Any, Any, Any, Any]
    | Pregel[Any, Any, Any, Any]
    | Policy
    | BaseCheckpointSaver[Any]
    | Resource
    | PostgresServer
    | RedisServer
)
"""Anything whose health can be checked."""

Found = tuple[str, object, Check]
"""A check's name, the object it checks, and the check."""


def found_in(thing: Dependency) -> Iterator[Found]:
    """Yield the checks of an object and of its dependencies.

    Raises:
        ConfigurationError: The type of the object is unknown.
    """
    match thing:
        case PostgresServer() | RedisServer():
            yield thing.name, thing, Check(thing.check)
        case StateGraph() | Pregel():
            yield from _graph(thing)
        case Policy():
            yield from _policy(thing)
        case BaseCheckpointSaver():
            yield _checkpointer(thing)
        case Resource():
            yield from _resource(thing)
        case HasApp():
            yield from _opened(thing)
        case _:
            raise ConfigurationError(
                f"Health was given a {type(thing).__name__}; give a Production, a graph, policies one by one, a store, "
                "or a URL such as postgresql://...; what is yours as checks={name: function}"
            )


def _opened(production: HasApp) -> Iterator[Found]:
    app = production.app
    if app is None:
        yield "graph", production, Check(lambda: CheckResult("down", "it is not open"))
    else:
        yield from _graph(app)


def _graph(graph: Any) -> Iterator[Found]:
    nodes = sum(not name.startswith("__") for name in graph.nodes)
    said = CheckResult("ok" if nodes else "down", f"{nodes} nodes")
    yield "graph", graph, Check(lambda: said)
    if isinstance(saver := getattr(graph, "checkpointer", None), BaseCheckpointSaver):
        yield _checkpointer(saver)
    inside = graph.get_subgraphs(recurse=True) if isinstance(graph, Pregel) else ()
    for each in (graph, *(subgraph for _, subgraph in inside)):
        if (hardening := hardening_of(each)) is not None:
            for policies in (hardening.own, *hardening.nodes.values()):
                for policy in policies:
                    yield from _policy(policy)


def _policy(policy: Policy) -> Iterator[Found]:
    """Yield checks for the resources of a policy; its `store_down` decides whether they are critical."""
    stops_calls = getattr(policy, "store_down", "raise") == "raise"
    for resource in policy.resources:
        yield from _resource(resource, stops_calls=stops_calls)


def _resource(resource: Resource, *, stops_calls: bool = True) -> Iterator[Found]:
    """Yield a check for a resource outside the process, over the resource's own connections."""
    if type(resource).ping is not Resource.ping:
        ask = partial(_ping, resource)
        yield resource.label, resource, Check(ask, critical=stops_calls and resource.critical)


def _ping(resource: Resource) -> CheckResult:
    answer = resource.ping()
    return CheckResult("degraded" if answer.is_degraded else "ok", answer.detail)


def _checkpointer(saver: Any) -> Found:
    """Return a check that reads a nonexistent thread from a checkpointer, over the connections that runs use."""
    pool: Any = getattr(saver, "conn", None)
    pools: list[MeasuredPool] = [pool] if hasattr(pool, "get_stats") else []
    nowhere = {"configurable": {"thread_id": NOBODY, "checkpoint_ns": ""}}

    def ask() -> CheckResult:
        if takes_writes := getattr(saver, "takes_writes", None):
            return of_pools(pools) if takes_writes() else NO_WRITES
        try:
            saver.get_tuple(nowhere)
        except NotImplementedError:
            return CheckResult(detail="not asked: it is for asynchronous callers alone")
        return of_pools(pools)

    return "postgres" if pools else "checkpointer", saver, Check(ask)
