"""Circuits in Redis or Valkey, for all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lg_prod_nodes.errors import ConfigurationError, StoreUnavailable

try:
    from valkey import Valkey
    from valkey.backoff import NoBackoff
    from valkey.exceptions import ConnectionError as Broken
    from valkey.exceptions import ValkeyError
    from valkey.retry import Retry
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "circuits in Redis need an extra: pip install 'lg-prod-nodes[redis]'"
    ) from error

_FORGOTTEN = 86_400  # seconds after which a circuit that nobody changed is as good as new
_SWAP = """
if (redis.call('get', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class InRedis:
    """Keeps texts by name.

    Args:
        url: The server.
        timeout: Seconds to wait at most for a connection, and for an answer.

    Raises:
        ConfigurationError: The URL cannot be read.
        StoreUnavailable: From the methods: the server cannot be reached in time.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._scheme = url.partition("://")[0]
        try:
            self._client: Any = Valkey.from_url(
                url.replace("redis", "valkey", 1) if self._scheme.startswith("redis") else url,
                decode_responses=True,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 1),  # a restart of the server cuts every connection
                retry_on_error=[Broken],
            )
        except ValueError:
            raise ConfigurationError(
                f"the {self._scheme} URL cannot be read; write {self._scheme}://user:password@host:6379/0"
            ) from None
        self._swap = self._client.register_script(_SWAP)

    def read(self, name: str) -> str | None:
        """What is kept."""
        kept: str | None = self._told(lambda: self._client.get(_key(name)))
        return kept

    def swap(self, name: str, old: str | None, new: str) -> bool:
        """Keep another text, if that which is kept still is `old`; tells whether."""
        arguments: list[str | int] = [old or "", new, _FORGOTTEN]
        return bool(self._told(lambda: self._swap(keys=[_key(name)], args=arguments)))

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._client.close()

    def _told(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ValkeyError as error:
            raise StoreUnavailable(
                f"the store of circuits ({self._scheme}) cannot be reached or used"
            ) from error


def _key(name: str) -> str:
    return f"lg_prod_nodes:circuit:{name}"
