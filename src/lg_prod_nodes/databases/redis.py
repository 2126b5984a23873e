"""A Redis or Valkey for a store, with a bound on every wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.secret import Secret, bare, revealed, scheme_of
from lg_prod_nodes.databases.silence import Silence, forget_idle

try:
    from valkey import Valkey
    from valkey.backoff import NoBackoff
    from valkey.exceptions import ConnectionError as Broken
    from valkey.exceptions import TimeoutError as Silent
    from valkey.exceptions import ValkeyError
    from valkey.retry import Retry
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "a store in Redis needs an extra: pip install 'lg-prod-nodes[redis]'"
    ) from error

T = TypeVar("T")


class Redis:
    """Connects at first use.

    Args:
        url: The server.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server,
            where one call at a time waits and the others fail at once.
        holds: What is stored there, for errors.

    Raises:
        ConfigurationError: The URL cannot be read.
    """

    def __init__(self, url: Secret, timeout: float, *, holds: str) -> None:
        self._scheme, self._holds = scheme_of(url), holds
        self._silence = Silence(Silent)
        try:
            self.client: Any = Valkey.from_url(
                re.sub("^redis", "valkey", revealed(url)),
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

    def ask(self, command: Callable[[], T]) -> T:
        """The server's answer to a command.

        Raises:
            StoreUnavailable: There is no answer in time, or it is an error.
        """
        try:
            with self._silence.asking():
                return command()
        except ValkeyError as error:
            if isinstance(error, Silent):
                forget_idle(self.client)
            raise StoreUnavailable(
                f"the store of {self._holds} ({self._scheme}) cannot be reached, or refuses commands"
            ) from bare(error)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self.client.close()
