"""What a graph leans on, found in the graph itself: its checkpointer, and what its policies keep things in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.pregel import Pregel

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.databases.timings import Pool
from lg_prod_nodes.ledger import Ledger
from lg_prod_nodes.runtime.boundary import hardening_of
from lg_prod_nodes.service.health.checks import Check, CheckResult
from lg_prod_nodes.service.health.servers import PostgresServer, RedisServer, of_pools
from lg_prod_nodes.stores.accounts.store import Account, AccountStore
from lg_prod_nodes.stores.circuits.store import CircuitStore
from lg_prod_nodes.stores.failures.store import FailureLog
from lg_prod_nodes.stores.limits.store import LimitStore, parse_limits
from lg_prod_nodes.stores.vault.store import Vault

_NOBODY = "lg_prod_nodes.service.health"  # whom checks ask about
_NO_TOKEN = "[HEALTH_aaaaaaaa]"
_MOST_LAG = 60.0  # seconds


@runtime_checkable
class HasApp(Protocol):
    """What has a compiled graph while it is open, such as `Production`."""

    @property
    def app(self) -> CompiledStateGraph[Any, Any, Any, Any] | None:
        """The graph; `None` while it is closed."""
        ...


Kept = LimitStore | AccountStore | CircuitStore | FailureLog | Vault | Ledger
Leaning = (
    HasApp
    | StateGraph[Any, Any, Any, Any]
    | Pregel[Any, Any, Any, Any]
    | Policy
    | BaseCheckpointSaver[Any]
    | Kept
    | PostgresServer
    | RedisServer
)
"""What health can be asked of."""

Found = tuple[str, object, Check]
"""A check's name, what it asks, the check."""


def found_in(thing: Leaning) -> Iterator[Found]:
    """The checks of a thing and of what it leans on.

    Raises:
        ConfigurationError: Nothing is known of such a thing.
    """
    match thing:
        case PostgresServer() | RedisServer():
            yield thing.name, thing, Check(thing.check)
        case StateGraph() | Pregel():
            yield from _graph(thing)
        case Policy():
            thing.warm_up()  # what it leans on is made now, if no graph has it yet
            yield from _policy(thing)
        case BaseCheckpointSaver():
            yield _checkpointer(thing)
        case LimitStore() | AccountStore() | CircuitStore() | FailureLog() | Vault() | Ledger():
            yield _kept(thing)
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
    """What a policy has in its fields; it says itself what happens while a store is down."""
    stops_calls = getattr(policy, "store_down", "raise") == "raise"
    for value in vars(policy).values():
        if isinstance(value, Kept):
            yield _kept(value, stops_calls=stops_calls)


def _kept(store: Kept, *, stops_calls: bool = True) -> Found:
    """A store, asked for something that is not there: with its own patience, by its own connections."""
    name, ask = _question(store)
    critical = stops_calls and not isinstance(store, (FailureLog, Ledger))
    return name, store, Check(ask, critical=critical)


def _question(store: Kept) -> tuple[str, Callable[[], Any]]:
    match store:
        case LimitStore():
            limits = parse_limits("1/day")
            return "limits", lambda: drive(
                store.adjust(limits, _NOBODY, by=0, since=0.0, blocking=True)
            )
        case AccountStore():
            account = Account(_NOBODY, limit=1)
            return "accounts", lambda: drive(store.balance(account, blocking=True))
        case CircuitStore():
            call = Call(kind="run", name=_NOBODY, input=None, run=Run(), blocking=True)
            return "circuits", lambda: drive(
                store.change(_NOBODY, lambda circuit: (circuit, None), call)
            )
        case FailureLog():
            return "failures", lambda: store.list(limit=1)
        case Vault():
            return "vault", lambda: store.resolve(_NOBODY, [_NO_TOKEN])
        case Ledger():
            return "ledger", partial(_ledger, store)


def _ledger(ledger: Ledger) -> CheckResult:
    """Runs never wait for a ledger's database, so it is not asked: what matters is whether entries get there."""
    lag, unsent = ledger.lag, ledger.unsent
    return CheckResult(
        "degraded" if lag > _MOST_LAG else "ok", f"{unsent} bytes wait, for {lag:.0f} s"
    )


def _checkpointer(saver: Any) -> Found:
    """A checkpointer, asked for a thread that is not there: by the connections that runs use."""
    pool: Any = getattr(saver, "conn", None)
    pools: list[Pool] = [pool] if hasattr(pool, "get_stats") else []
    nowhere = {"configurable": {"thread_id": _NOBODY, "checkpoint_ns": ""}}

    def ask() -> CheckResult:
        try:
            saver.get_tuple(nowhere)
        except NotImplementedError:
            return CheckResult(detail="not asked: it is for asynchronous callers alone")
        return of_pools(pools)

    return "postgres" if pools else "checkpointer", saver, Check(ask)
