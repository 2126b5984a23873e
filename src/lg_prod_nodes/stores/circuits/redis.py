"""Circuits in Redis or Valkey, for all processes."""

from __future__ import annotations

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.redis import Redis

_FORGOTTEN = 86_400  # seconds after which an unchanged circuit is forgotten
_SWAP = """
if (redis.call('get', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class RedisCircuits:
    """Circuits as texts, by name.

    Args:
        url: The server.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL cannot be read.
        StoreUnavailable: From the methods: the server cannot be reached in time.
    """

    def __init__(self, url: Secret, timeout: float) -> None:
        self._redis = Redis(url, timeout, holds="circuits")
        self._swap = self._redis.client.register_script(_SWAP)

    def read(self, name: str) -> str | None:
        """What is stored."""
        circuit: str | None = self._redis.ask(lambda: self._redis.client.get(_key(name)))
        return circuit

    def swap(self, name: str, old: str | None, new: str) -> bool:
        """Store another text if the stored one still is `old`; whether it was."""
        arguments: list[str | int] = [old or "", new, _FORGOTTEN]
        return bool(self._redis.ask(lambda: self._swap(keys=[_key(name)], args=arguments)))

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._redis.close()


def _key(name: str) -> str:
    return f"lg_prod_nodes:circuit:{name}"
