"""The life cycle of every store: a URL chooses its backend, or a `Production` gives it a database."""

from __future__ import annotations

import os
import re
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, Generic, Literal, ParamSpec, Protocol, TypeVar

from pydantic import SecretStr

from lg_prod_nodes.core.clock import check_seconds
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.secret import Secret, hidden, scheme_of
from lg_prod_nodes.stores.blocking import BlockingStep

P = ParamSpec("P")
T = TypeVar("T")

_SCHEME = re.compile(r"[a-z][a-z0-9.-]{0,30}(\+[a-z0-9.-]{1,30})?")
_SERVERS: dict[str, Literal["memory", "postgresql", "redis"]] = {
    "memory": "memory",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys"), "redis"),
}


class Backend(Protocol):
    """Where a store stores: memory, Postgres or Redis."""

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        ...


B = TypeVar("B", bound=Backend)


class Store(Resource, ABC, Generic[B]):
    """Stores in memory, in Postgres, or in Redis and Valkey.

    The scheme of its URL chooses the backend. If omitted, the store is in memory until `open` moves it to the Postgres
    of a `Production`, and `close` moves it back.

    Args:
        url: The backend.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The store has no such backend, the URL cannot be read, its client library is missing, or
            `timeout` is not above 0.

    Attributes:
        schemes: The backends that it has.
        variants: Schemes such as `redis+sentinel` that it knows besides, by what follows the `+`.
        threads: How many operations of asynchronous callers are under way at once, at most.
        stays: Whether it stays in the database of the latest `Production`, so that it can be read afterwards.
        is_in_memory: Whether it is in the memory of this process now, where no operation waits.
    """

    schemes: ClassVar[tuple[str, ...]] = ("memory", "postgresql", "redis", "valkey")
    variants: ClassVar[tuple[str, ...]] = ()
    threads: ClassVar[int] = 8
    stays: ClassVar[bool] = False
    is_in_memory: bool

    def __init__(self, url: Secret | None, *, timeout: float) -> None:
        check_seconds(timeout=timeout)
        self._timeout, self._is_given = timeout, url is not None
        self._database, self._uses = "", 0
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._finalizer: weakref.finalize[..., Store[B]] | None = None
        self._move("memory://" if url is None else url)

    @abstractmethod
    def _in_memory(self) -> B:
        """The backend of this process."""

    @abstractmethod
    def _in_postgres(self, url: SecretStr) -> B:
        """The backend in a Postgres."""

    def _in_redis(self, url: SecretStr) -> B:
        """The backend in a Redis or Valkey, for stores whose `schemes` have it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self._scheme}://...')"

    def open(self, database: Secret | None = None) -> None:
        """Store in a Postgres until the store is closed, unless it was given another backend.

        Raises:
            ConfigurationError: An open `Production` uses the store in another database.
        """
        if database is None or self._is_given or not self._join(database):
            return
        if hidden(database) != self._url:
            self._release()
            self._move(database)

    def close(self) -> None:
        """Close the connections, unless an open `Production` uses them too; the next use opens new ones."""
        if not self._leave():
            return
        self._release()
        if not (self._is_given or self.stays or self.is_in_memory):
            self._move("memory://")

    def _join(self, database: Secret) -> bool:
        """Note another use by an open `Production`; whether it is the first."""
        from lg_prod_nodes.databases.dsn import database_of, schema_of  # loads psycopg

        wanted = f"{database_of(database)} {schema_of(database)}".strip()
        with self._lock:
            if (
                self._uses and wanted != self._database
            ):  # counts of one would be counted in the other
                name = type(self).__name__
                raise ConfigurationError(
                    f"a {name} of these policies is used by an open Production in {self._database}, and cannot be in "
                    f"{wanted} too; give each Production its own policies, or the {name} a URL"
                )
            self._database, self._uses = wanted, self._uses + 1
            return self._uses == 1

    def _leave(self) -> bool:
        """Note the end of a use; whether none is left."""
        with self._lock:
            self._uses = max(self._uses - 1, 0)
            return self._uses == 0

    def _move(self, url: Secret) -> None:
        backend, scheme = self._backend_at(url)
        if self._finalizer is not None:
            self._finalizer.detach()
        self._url, self._scheme, self._backend = hidden(url), scheme, backend
        self.is_in_memory = scheme == "memory"
        self._finalizer = weakref.finalize(self, backend.close)

    def _release(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown()
        self._backend.close()

    def _backend_at(self, url: Secret) -> tuple[B, str]:
        scheme = scheme_of(url)
        server, _, variant = scheme.partition("+")
        if isinstance(url, str | SecretStr) and not scheme and "redis" not in self.schemes:
            return self._in_postgres(
                hidden(url)
            ), "postgresql"  # key=value pairs, as libpq reads them
        match _SERVERS.get(server):
            case "memory" if not variant:
                return self._in_memory(), "memory"
            case "postgresql":  # which explains what is wrong with a variant
                return self._in_postgres(hidden(url)), "postgresql"
            case "redis" if "redis" in self.schemes and (not variant or variant in self.variants):
                return self._in_redis(hidden(url)), scheme
            case _:
                pass
        kind = f"a value of type {type(url).__name__} that is not a URL"
        given = f"{scheme}://" if _SCHEME.fullmatch(scheme) else kind
        *most, last = (f"{allowed}://" for allowed in self.schemes)
        raise ConfigurationError(
            f"{type(self).__name__} was given {given}; use {', '.join(most)} or {last}"
        )

    async def _run(
        self, blocking: bool, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do a step here for a synchronous caller or in memory, else in a thread, off the event loop."""
        if blocking or self.is_in_memory:
            return step(*args, **kwargs)
        return await self._in_thread(partial(step, *args, **kwargs))

    async def _in_thread(
        self, step: Callable[[], T], undo: Callable[[T], object] | None = None
    ) -> T:
        with self._lock:
            if self._threads is None or self._process != os.getpid():  # no thread survives a fork
                self._threads = ThreadPoolExecutor(self.threads, self.label)
                self._process = os.getpid()
            threads = self._threads
        return await BlockingStep(step, undo).answer(threads)
