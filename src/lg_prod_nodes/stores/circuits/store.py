"""Circuits that whoever calls a dependency shares: each is one short text, changed by compare and swap."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import LiteralString, Protocol, TypeVar

from pydantic import SecretStr

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping, Resource
from lg_prod_nodes.core.secret import Secret, hidden, scheme_of
from lg_prod_nodes.databases.sharing import Sharing
from lg_prod_nodes.stores.circuits.circuit import Circuit

T = TypeVar("T")

_MOST_SWAPS = 1000
_MOST_IN_MEMORY = 10_000
TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_circuits": """
        CREATE UNLOGGED TABLE IF NOT EXISTS lg_prod_nodes_circuits (
            name text PRIMARY KEY, circuit text NOT NULL, at timestamptz NOT NULL DEFAULT now())"""
}
_READ: LiteralString = "SELECT circuit FROM lg_prod_nodes_circuits WHERE name = %(name)s"
_ADD: LiteralString = """
    WITH old AS (
        DELETE FROM lg_prod_nodes_circuits WHERE name IN (
            SELECT name FROM lg_prod_nodes_circuits WHERE at < now() - interval '1 day' AND name <> %(name)s
            LIMIT 100 FOR UPDATE SKIP LOCKED))
    INSERT INTO lg_prod_nodes_circuits VALUES (%(name)s, %(new)s) ON CONFLICT DO NOTHING
    RETURNING name"""
_SWAP: LiteralString = """
    UPDATE lg_prod_nodes_circuits SET circuit = %(new)s, at = now()
    WHERE name = %(name)s AND circuit = %(old)s RETURNING name"""


class CircuitBackend(Protocol):
    """Keeps texts by name."""

    def read(self, name: str) -> str | None:
        """What is kept."""
        ...

    def swap(self, name: str, old: str | None, new: str) -> bool:
        """Keep another text, if that which is kept still is `old`; tells whether."""
        ...

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        ...


class CircuitStore(Resource):
    """Keeps circuits: what is open, since when, how many probes went through.

    Args:
        url: `memory://` for this process alone; `postgresql://...`, `redis://...` or `valkey://...` for all workers.
            Without one, the database of the `Production` that it is used in, else memory.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.

    Raises:
        ConfigurationError: The place is not known or its URL cannot be read, or its client library is missing.
    """

    label = "circuits"

    def __init__(self, url: Secret | None = None, *, timeout: float = 1.0) -> None:
        if not timeout > 0:
            raise ConfigurationError(f"timeout is {timeout}; give seconds, more than 0")
        self._is_placed, self._timeout = url is not None, timeout
        self._sharing = Sharing("CircuitStore")
        self._at_end: weakref.finalize[..., CircuitStore] | None = None
        self._put(hidden("memory://" if url is None else url))

    def _put(self, url: SecretStr) -> None:
        self._backend = _backend(url, self._timeout)
        if self._at_end is not None:
            self._at_end.detach()
        self._at_end = weakref.finalize(self, self._backend.close)

    def open(self, database: Secret | None = None) -> None:
        """Store in a Postgres until the store is closed, unless another backend was given.

        Raises:
            ConfigurationError: An open `Production` uses the store in another database.
        """
        if database is not None and not self._is_placed and self._sharing.join(database):
            self._close()
            self._put(hidden(database))

    async def change(
        self, name: str, step: Callable[[Circuit], tuple[Circuit, T]], call: Call
    ) -> T:
        """Change a circuit by a step that nothing comes between; the very same circuit is not written.

        Raises:
            StoreUnavailable: The place cannot be reached in time.
        """
        if isinstance(self._backend, _MemoryCircuits):
            return self._change(name, step)
        return await call.run_blocking(self._change, name, step)

    def _change(self, name: str, step: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        for _ in range(_MOST_SWAPS):
            old = self._backend.read(name)
            before = Circuit.of(old)
            after, answer = step(before)
            if after == before or self._backend.swap(name, old, str(after)):
                return answer
        raise StoreUnavailable("the store of circuits is changed by too many at once")

    def ping(self) -> Ping:
        """Ask the backend for a circuit."""
        self._backend.read(NOBODY)
        return Ping()

    def close(self) -> None:
        """Close the connections, unless an open `Production` uses them too; the next use opens new ones."""
        if self._sharing.leave():
            self._close()

    def _close(self) -> None:
        self._backend.close()
        if not (self._is_placed or isinstance(self._backend, _MemoryCircuits)):
            self._put(hidden("memory://"))


class _MemoryCircuits:
    def __init__(self) -> None:
        self._kept: dict[str, str] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> str | None:
        return self._kept.get(name)

    def swap(self, name: str, old: str | None, new: str) -> bool:
        with self._lock:
            if self._kept.get(name) != old:
                return False
            self._kept.pop(name, None)
            self._kept[name] = new
            if len(self._kept) > _MOST_IN_MEMORY:
                del self._kept[
                    next(iter(self._kept))
                ]  # the one that has not changed for the longest
            return True

    def close(self) -> None:
        """Nothing is open."""


class _PostgresCircuits:
    def __init__(self, dsn: SecretStr, timeout: float) -> None:
        from lg_prod_nodes.databases.postgres import Postgres

        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)

    def read(self, name: str) -> str | None:
        rows = self._postgres.rows(_READ, name=name)
        return str(rows[0][0]) if rows else None

    def swap(self, name: str, old: str | None, new: str) -> bool:
        return bool(
            self._postgres.rows(_ADD if old is None else _SWAP, name=name, old=old, new=new)
        )

    def close(self) -> None:
        self._postgres.close()


def _backend(url: SecretStr, timeout: float) -> CircuitBackend:
    scheme = scheme_of(url)
    if scheme == "memory":
        return _MemoryCircuits()
    if scheme in ("postgres", "postgresql"):
        return _PostgresCircuits(url, timeout)
    if scheme in ("redis", "rediss", "valkey", "valkeys"):
        redis = import_module("lg_prod_nodes.stores.circuits.redis")  # needs an extra
        backend: CircuitBackend = redis.RedisCircuits(url, timeout)
        return backend
    raise ConfigurationError(
        "the store of circuits is not known; give memory://, postgresql://, redis:// or valkey://"
    )
