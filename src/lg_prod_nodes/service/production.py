"""`Production`: a hardened graph with its Postgres, for the length of a `with`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from copy import copy
from types import TracebackType
from typing import Any

from langgraph.graph.state import CompiledStateGraph, StateGraph
from pydantic import SecretStr

from lg_prod_nodes.attach.harden import harden
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy, resources_of
from lg_prod_nodes.core.secret import Secret, hidden
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres
from lg_prod_nodes.service.shutdown import GracefulShutdown

App = CompiledStateGraph[Any, Any, Any, Any]


class Production:
    """A graph in production: hardened, compiled, and persisted in Postgres while the `with` block lasts.

    Windows, accounts, circuits and the ledger are kept in the same database, where a policy was not given
    another place.

    Opens a connection pool, sets up checkpointer and store (many processes may do so at once), and closes all of it
    again. Use `async with` for `ainvoke` and `astream`, `with` for `invoke` and `stream`; under `with`, asynchronous
    calls work too, through threads. A database that is down or silent ends a run with `StoreUnavailable` within the
    `connect_timeout` and `statement_timeout` of the DSN (10 s and 30 s without); the run can go on later.

    Args:
        graph: A `StateGraph`, or a compiled graph such as `create_agent(...)`.
        policies: For the whole graph, the first one outermost.
        nodes: Further policies for single nodes, by name.
        postgres: The database's DSN. Without one that of `Settings` is used, and without that an embedded PostgreSQL in
            a data folder of its own (the extra `embedded`), which lives as long as a program that uses it.
        pool_size: The most database connections to hold.
        grace: Seconds that runs have to come to a checkpoint when the process is asked to end (SIGTERM), or at the end
            of the block, see `GracefulShutdown`.
        clock: Where policies take the time from.
        **compile_options: For `StateGraph.compile`, such as `interrupt_before`, `cache` or `name`.

    Attributes:
        dsn: The database in use, inside of the block.
        app: The compiled graph, inside of the block.

    Raises:
        ConfigurationError: A setting cannot work; from the constructor, but for a DSN that cannot be read.
        StoreUnavailable: On entering, when the database cannot be reached.
        SystemExit: At the end of the block, where the process was asked to end and nobody else handles the signal.

    Example:
        ```python
        with Production(builder, [Metrics(), Redact()], postgres=DSN) as app:
            app.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "1"}})
        ```
    """

    def __init__(
        self,
        graph: StateGraph[Any, Any, Any, Any] | App,
        policies: Sequence[Policy] = (),
        *,
        nodes: Mapping[str, Sequence[Policy]] | None = None,
        postgres: Secret | None = None,
        pool_size: int = 10,
        grace: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
        **compile_options: Any,
    ) -> None:
        if taken := {"checkpointer", "store"} & compile_options.keys():
            raise ConfigurationError(
                f"{' and '.join(sorted(taken))} given to Production, which makes its own in Postgres; "
                "to use another, call harden(...).compile(...)"
            )
        if pool_size < 1:
            raise ConfigurationError(f"pool_size is {pool_size}; give at least 1")
        self._graph = harden(graph, policies, nodes=nodes, clock=clock)
        self._policies = (*policies, *(policy for own in (nodes or {}).values() for policy in own))
        if compile_options and isinstance(self._graph, CompiledStateGraph):
            raise ConfigurationError(
                f"{', '.join(compile_options)} given for a graph that is compiled already; give them to its compile()"
            )
        self._postgres = None if postgres is None else hidden(postgres)
        self._pool_size = pool_size
        self._shutdown = GracefulShutdown(self._policies, graph=self._graph, grace=grace)
        self._compile_options = compile_options
        self.dsn: SecretStr | None = None
        self.app: App | None = None
        self._open: ExitStack | None = None
        self._aopen: AsyncExitStack | None = None

    def __enter__(self) -> App:
        with ExitStack() as stack:
            connected = open_postgres(self._postgres, pool_size=self._pool_size)
            saver, store = stack.enter_context(connected)
            app = self._compile(saver, store)
            stack.enter_context(self._shutdown)
            self._open = stack.pop_all()
        self.app = app
        return app

    def __exit__(self, *raised: Any) -> None:
        self.app = None
        stack, self._open = self._open, None
        if stack is not None:
            stack.__exit__(*raised)

    async def __aenter__(self) -> App:
        async with AsyncExitStack() as stack:
            connected = aopen_postgres(self._postgres, pool_size=self._pool_size)
            saver, store = await stack.enter_async_context(connected)
            app = self._compile(saver, store)
            await stack.enter_async_context(self._shutdown)
            self._aopen = stack.pop_all()
        self.app = app
        return app

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.app = None
        stack, self._aopen = self._aopen, None
        if stack is not None:
            await stack.__aexit__(kind, error, traceback)

    def _compile(self, saver: Any, store: Any) -> App:
        self.dsn = database = hidden(str(saver.conn.conninfo))
        for resource in resources_of(self._policies):
            resource.open(database)
        if isinstance(self._graph, StateGraph):
            return self._graph.compile(checkpointer=saver, store=store, **self._compile_options)
        app = copy(self._graph)
        app.checkpointer, app.store = saver, store
        return app
