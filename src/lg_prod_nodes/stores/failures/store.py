"""Runs that failed, by names alone: to inspect, retry and resolve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from pydantic import SecretStr

from lg_prod_nodes.core.errors import ConfigurationError, ProductionError, UnknownFailure
from lg_prod_nodes.core.resource import Ping
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.stores.failures.failure import Failure
from lg_prod_nodes.stores.failures.memory import MemoryFailures
from lg_prod_nodes.stores.failures.settings import found_again
from lg_prod_nodes.stores.store import Store

if TYPE_CHECKING:
    from lg_prod_nodes.stores.failures.postgres import PostgresFailures

    Backend = MemoryFailures | PostgresFailures

__all__ = ["Failure", "FailureLog"]


class FailureLog(Store["Backend"]):
    """Stores runs that failed: `CaptureErrors(failures=FailureLog(dsn))` writes them.

    Args:
        dsn: The Postgres to store them in, set up at first use; `memory://` for this process alone. By default the
            database of the latest `Production` that used the log, else memory.
        timeout: Seconds to wait at most for a connection, and for a statement; twice as long for a silent server.
        retention: How long after its last run a failure is stored.

    Raises:
        ConfigurationError: A setting cannot work, or the DSN cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.

    Example:
        ```python
        log = FailureLog("postgresql://localhost/app")
        graph = harden(builder, [CaptureErrors(failures=log)]).compile(checkpointer)
        for failure in log.list():
            log.retry(failure.id, graph)
        ```
    """

    label = "failures"
    critical = False
    schemes = ("memory", "postgresql")
    stays = True

    def __init__(
        self,
        dsn: Secret | None = None,
        *,
        timeout: float = 5.0,
        retention: timedelta = timedelta(days=90),
    ) -> None:
        if not retention > timedelta(0):
            raise ConfigurationError(f"retention is {retention}; give a timedelta above 0")
        self._retention = retention
        super().__init__(dsn, timeout=timeout)

    def add(self, failure: Failure) -> None:
        """Store a failure; a known one counts one more, and is open again."""
        self._backend.add(failure, forget=failure.last - self._retention)

    def list(
        self, *, graph: str | None = None, resolved: bool = False, limit: int = 100
    ) -> Sequence[Failure]:
        """Failures, the latest first.

        Args:
            graph: Those of this graph alone.
            resolved: Those that are resolved, rather than the open ones.
            limit: The most to return.
        """
        return self._backend.find(graph, resolved=resolved, limit=limit)

    def show(self, id: str) -> Failure:
        """A failure by its id.

        Raises:
            UnknownFailure: There is none.
        """
        failure = self._backend.read(id)
        if failure is None:
            raise UnknownFailure(id)
        return failure

    def resolve(self, id: str) -> None:
        """Mark a failure as resolved."""
        self._backend.resolve(id, datetime.now(UTC))

    def retry(
        self,
        id: str,
        graph: Any,
        *,
        config: RunnableConfig | None = None,
        fork: bool = False,
        **options: Any,
    ) -> Any:
        """Resume a failed run from where it failed, and mark the failure as resolved when the run ends.

        Writes of other nodes of the failed superstep are preserved; the node that failed is called again. The run has
        the user, the tenant and all else of `configurable` that the failed one had, as its checkpoint holds them.

        Args:
            id: The failure's id.
            graph: The compiled graph, with the same checkpointer.
            config: Settings that no checkpoint holds: values that were redacted, secrets, and values that are not
                plain. Give `None` as the value of one that the run can do without.
            fork: Whether to go back to the checkpoint of the failure if the thread has continued since.
            **options: Handed to `graph.invoke`.

        Returns:
            The run's result.

        Raises:
            UnknownFailure: There is no such failure.
            ProductionError: It had no thread, its thread has continued since or has nothing to resume, or settings of
                the run are missing.
        """
        failure = self.show(id)
        place = _config(failure, graph.get_state(_thread_of(failure)), fork=fork)
        full = _with_settings(failure, place, graph.get_state(place), config, options)
        result = graph.invoke(None, full, **options)
        self.resolve(id)
        return result

    async def aretry(
        self,
        id: str,
        graph: Any,
        *,
        config: RunnableConfig | None = None,
        fork: bool = False,
        **options: Any,
    ) -> Any:
        """Like `retry`, for asynchronous callers."""
        failure = await asyncio.to_thread(self.show, id)
        place = _config(failure, await graph.aget_state(_thread_of(failure)), fork=fork)
        full = _with_settings(failure, place, await graph.aget_state(place), config, options)
        result = await graph.ainvoke(None, full, **options)
        await asyncio.to_thread(self.resolve, id)
        return result

    def ping(self) -> Ping:
        """Ask the database for a failure."""
        self.list(limit=1)
        return Ping()

    def _in_memory(self) -> Backend:
        return MemoryFailures()

    def _in_postgres(self, url: SecretStr) -> Backend:
        from lg_prod_nodes.stores.failures.postgres import PostgresFailures

        return PostgresFailures(url, self._timeout)


def _thread_of(failure: Failure) -> RunnableConfig:
    if failure.thread_id is None:
        raise ProductionError(
            f"failure {failure.id} had no thread to resume; compile the graph with a checkpointer"
        )
    return {"configurable": {"thread_id": failure.thread_id}}


def _config(failure: Failure, state: Any, *, fork: bool) -> RunnableConfig:
    config = _thread_of(failure)
    present = state.config.get("configurable", {}).get("checkpoint_id")
    if failure.checkpoint_id is None and not state.next:
        raise ProductionError(
            f"failure {failure.id} left its thread nothing to resume; give the graph its input again"
        )
    if failure.checkpoint_id in (None, present):
        return config
    if not fork:
        raise ProductionError(
            f"the thread of failure {failure.id} has continued since; give fork=True to go back to where it failed"
        )
    checkpoint = {"thread_id": failure.thread_id, "checkpoint_id": failure.checkpoint_id}
    return {"configurable": checkpoint}


def _with_settings(
    failure: Failure,
    place: RunnableConfig,
    state: Any,
    given: RunnableConfig | None,
    options: Mapping[str, Any],
) -> RunnableConfig:
    """Return the config of a retry: as the failed run's caller gave it.

    Raises:
        ProductionError: A setting is in no checkpoint, and was not given.
    """
    named = (given or {}).get("configurable") or {}
    found = found_again(failure.settings, state.metadata or {})
    in_context = {"user_id", "tenant_id"} if options.get("context") is not None else set[str]()
    if missing := sorted(failure.settings.keys() - found.keys() - named.keys() - in_context):
        names = ", ".join(missing)
        raise ProductionError(
            f"failure {failure.id} had settings that its checkpoint does not hold: {names}; pass "
            f'config={{"configurable": {{"{missing[0]}": ...}}}}, or None for what the run can do without'
        )
    full = RunnableConfig() if given is None else given.copy()
    full["configurable"] = {**found, **named, **place.get("configurable", {})}
    return full
