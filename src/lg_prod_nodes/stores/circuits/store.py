"""Circuits that all callers of a dependency share: each is one short text, changed by compare and swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.stores.circuits.circuit import Circuit
from lg_prod_nodes.stores.circuits.memory import MemoryCircuits
from lg_prod_nodes.stores.store import Store

T = TypeVar("T")

_MOST_SWAPS = 1000


if TYPE_CHECKING:
    from lg_prod_nodes.stores.circuits.postgres import PostgresCircuits
    from lg_prod_nodes.stores.circuits.redis import RedisCircuits

    Backend = MemoryCircuits | PostgresCircuits | RedisCircuits


class CircuitStore(Store["Backend"]):
    """Stores circuits: which are open, since when, and how many probes were let through.

    Args:
        url: `memory://` for this process alone; `postgresql://...`, `redis://...` or `valkey://...` for all workers.
            By default the database of the `Production` that uses it, else memory.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.

    Raises:
        ConfigurationError: The backend is unknown, its URL cannot be read, or its client library is missing.
    """

    label = "circuits"

    def __init__(self, url: Secret | None = None, *, timeout: float = 1.0) -> None:
        super().__init__(url, timeout=timeout)

    async def change(
        self, name: str, step: Callable[[Circuit], tuple[Circuit, T]], *, blocking: bool
    ) -> T:
        """Change a circuit in one atomic step; a circuit that stays the same is not written.

        Args:
            name: Which circuit.
            step: Gives the changed circuit and an outcome; called again if somebody else was faster.
            blocking: Whether the caller is synchronous.

        Returns:
            The step's outcome.

        Raises:
            StoreUnavailable: The backend cannot be reached in time.
        """
        return await self._run(blocking, self._change, name, step)

    def _change(self, name: str, step: Callable[[Circuit], tuple[Circuit, T]]) -> T:
        for _ in range(_MOST_SWAPS):
            old = self._backend.read(name)
            before = Circuit.of(old)
            after, outcome = step(before)
            if after == before or self._backend.swap(name, old, str(after)):
                return outcome
        raise StoreUnavailable("too many callers change this circuit at once")

    def ping(self) -> Ping:
        """Ask the backend for a circuit."""
        self._backend.read(NOBODY)
        return Ping()

    def _in_memory(self) -> Backend:
        return MemoryCircuits()

    def _in_postgres(self, url: SecretStr) -> Backend:
        from lg_prod_nodes.stores.circuits.postgres import PostgresCircuits

        return PostgresCircuits(url, self._timeout)

    def _in_redis(self, url: SecretStr) -> Backend:
        from lg_prod_nodes.stores.circuits.redis import RedisCircuits

        return RedisCircuits(url, self._timeout)
