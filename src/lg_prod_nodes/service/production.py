"""`Production`: a hardened graph with Postgres persistence, for the duration of a `with` block."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.pregel import Pregel
from pydantic import SecretStr

from lg_prod_nodes.attach.harden import harden
from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy, resources_of
from lg_prod_nodes.core.secret import Secret, hidden
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres
from lg_prod_nodes.service.serde import AllowedType, names_of, serializer
from lg_prod_nodes.service.shutdown import GracefulShutdown
from lg_prod_nodes.service.state_types import state_types

App = CompiledStateGraph[Any, Any, Any, Any]


class Production:
    """Hardens a graph, compiles it, and persists it in Postgres for the duration of a `with` block.

    Rate limits, accounts, circuits, failures, threads, vault and ledger use the same database, unless given another
    backend.

    Entering opens a connection pool and sets up the checkpointer and the store; many processes may do so at once.
    Leaving closes everything. Enter it once per service, for example in its lifespan. Use `async with` for `ainvoke`
    and `astream`, `with` for `invoke` and `stream`; each also serves the other kind of call, through threads. A process
    forked inside the block opens its own connections. If the database is down or does not respond, a run fails with
    `StoreUnavailable` within the `connect_timeout` and `statement_timeout` of the DSN (by default 10 s and 30 s). The
    run can be resumed later.

    A checkpoint may contain only messages, plain values, and classes named by the graph's schemas and node functions;
    loading any other class raises `UntrustedType`. So write access to the database is not enough to run code in the
    service.

    Args:
        graph: A `StateGraph`, or a compiled graph such as `create_agent(...)`, without its own checkpointer.
        policies: Policies for the whole graph, the first one outermost.
        nodes: Additional policies for individual nodes, by name.
        postgres: The DSN of the database, by default that of `Settings`. `"embedded"` starts a PostgreSQL in a local
            data folder (extra `embedded`) that runs as long as a program uses it.
        pool_size: The maximum number of database connections.
        grace: Seconds that runs have to reach a checkpoint after SIGTERM or at the end of the block, see
            `GracefulShutdown`.
        clock: The clock that policies use.
        allowed_types: Additional classes that a checkpoint may contain, or their location (`module:Name`).
        serde: Another serializer for checkpoints, such as LangGraph's `EncryptedSerializer`. It decides which classes
            it loads.
        **compile_options: Options of `StateGraph.compile`, such as `interrupt_before`, `cache` or `name`.

    Attributes:
        dsn: The database in use, inside the block.
        app: The compiled graph, inside the block.

    Raises:
        ConfigurationError: A setting is invalid. The constructor raises it for everything but the database. Entering
            raises it too if the block is already open, or if its policies are in use with another database.
        StoreUnavailable: On entering, if the database cannot be reached.
        SystemExit: At the end of the block, if the process received a signal that nothing else handles.

    Example:
        ```python
        with Production(builder, [Metrics(), Redact()], postgres=DSN) as app:
            app.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "1"}})
        ```
    """

    def __init__(
        self,
        graph: StateGraph[Any, Any, Any, Any] | Pregel[Any, Any, Any, Any],
        policies: Sequence[Policy] = (),
        *,
        nodes: Mapping[str, Sequence[Policy]] | None = None,
        postgres: Secret | None = None,
        pool_size: int = 10,
        grace: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
        allowed_types: Sequence[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        **compile_options: Any,
    ) -> None:
        if taken := {"checkpointer", "store"} & compile_options.keys():
            raise ConfigurationError(
                f"{' and '.join(sorted(taken))} given to Production, which makes its own in Postgres; "
                "to use another, call harden(...).compile(...)"
            )
        if pool_size < 1:
            raise ConfigurationError(f"pool_size is {pool_size}; give at least 1")
        serializer(serde, allowed_types)
        self._graph = harden(cast(App, graph), policies, nodes=nodes, clock=clock)
        self._policies = (*policies, *(policy for own in (nodes or {}).values() for policy in own))
        _check_options(self._graph, compile_options)
        self._allowed_types, self._serde = tuple(allowed_types), serde
        self._postgres = None if postgres is None else hidden(postgres)
        self._pool_size = pool_size
        self._shutdown = GracefulShutdown(self._policies, graph=self._graph, grace=grace)
        self._compile_options = compile_options
        self.dsn: SecretStr | None = None
        self.app: App | None = None
        self._lock = threading.Lock()
        self._process: int | None = None
        self._saver: Any = None
        self._open: ExitStack | None = None
        self._aopen: AsyncExitStack | None = None

    def __enter__(self) -> App:
        self._begin()
        try:
            with ExitStack() as stack:
                saver, store = stack.enter_context(open_postgres(self._postgres, **self._settings))
                app = self._compile(saver, store)
                stack.enter_context(self._shutdown)
                self._open = stack.pop_all()
        except BaseException:
            self._process = None
            raise
        self.app = app
        return app

    def __exit__(self, *raised: Any) -> None:
        if self._is_forked():
            self._saver.conn.close()
            return
        self.app = self._process = None
        stack, self._open = self._open, None
        if stack is not None:
            stack.__exit__(*raised)

    async def __aenter__(self) -> App:
        self._begin()
        try:
            async with AsyncExitStack() as stack:
                opened = aopen_postgres(self._postgres, **self._settings)
                saver, store = await stack.enter_async_context(opened)
                app = self._compile(saver, store)
                await stack.enter_async_context(self._shutdown)
                self._aopen = stack.pop_all()
        except BaseException:
            self._process = None
            raise
        self.app = app
        return app

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_forked():
            return
        self.app = self._process = None
        stack, self._aopen = self._aopen, None
        if stack is not None:
            await stack.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(CompiledStateGraph, name):
                raise AttributeError(
                    f"Production has no {name}(): it opens the graph that has; use `with Production(...) as app:` and "
                    f"app.{name}(...), or `async with` for asynchronous calls"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "pool_size": self._pool_size,
            "serde": self._serde,
            "allowed_types": self._allowed_types,
        }

    def _begin(self) -> None:
        with self._lock:
            if self._process == os.getpid():
                raise ConfigurationError(
                    "this Production is open already; enter it once, in the lifespan of the service, and let each "
                    "request use the graph that it gives, or make a Production for each block"
                )
            self._process = os.getpid()

    def _is_forked(self) -> bool:
        """Return whether this process was forked inside the block; the parent then closes the resources."""
        return self._process not in (None, os.getpid())

    def _compile(self, saver: Any, store: Any) -> App:
        self.dsn = hidden(str(saver.conn.conninfo))
        if isinstance(self._graph, StateGraph):
            app = self._graph.compile(checkpointer=saver, store=store, **self._compile_options)
        else:
            app = copy(self._graph)
            app.store = store
        self._saver = saver
        if self._serde is None:
            saver = saver.with_allowlist(names_of(state_types(app)))
        app.checkpointer = saver
        self._open_resources(self.dsn)
        return app

    def _open_resources(self, database: SecretStr) -> None:
        with ExitStack() as stack:
            for resource in resources_of(self._policies):
                resource.open(database)
                stack.callback(resource.close)
            stack.pop_all()  # all are open, so the end of the block closes them


def _check_options(graph: object, options: Mapping[str, Any]) -> None:
    """Raise if a graph cannot be compiled with these options."""
    if isinstance(graph, Pregel):
        if options:
            raise ConfigurationError(
                f"{', '.join(options)} given for a graph that is compiled already; give them to its compile() or "
                "@entrypoint(), or leave them out"
            )
        own = [name for name in ("checkpointer", "store") if getattr(graph, name) is not None]
        if own:
            raise ConfigurationError(
                f"the graph was compiled with a {' and a '.join(own)}, which Production would replace by its own in "
                "Postgres; compile it without, or keep them by harden(graph, policies)"
            )
    known = inspect.signature(StateGraph.compile).parameters
    for name in options.keys() - known:
        advice = did_you_mean(name, [n for n in known if n != "self"], "give some of")
        raise ConfigurationError(f"{name} is no option of Production or of compile(); {advice}")
