"""Stores that were given no backend, and use the database of their `Production`."""

from __future__ import annotations

import threading

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret


class Sharing:
    """Which database a store is in, and how many open Productions use it there.

    Args:
        store: The name of the store's class.
    """

    def __init__(self, store: str) -> None:
        self._store, self._database, self._uses = store, "", 0
        self._lock = threading.Lock()

    def join(self, database: Secret) -> bool:
        """Note another use; whether it is the first.

        Raises:
            ConfigurationError: It is used in another database, so counts of one would be counted in the other.
        """
        from lg_prod_nodes.databases.dsn import database_of, schema_of  # loads psycopg

        wanted = f"{database_of(database)} {schema_of(database)}".strip()
        with self._lock:
            if self._uses and wanted != self._database:
                raise ConfigurationError(
                    f"a {self._store} of these policies is used by an open Production in {self._database}, and cannot "
                    f"be in {wanted} too; give each Production its own policies, or the {self._store} a URL"
                )
            self._database, self._uses = wanted, self._uses + 1
            return self._uses == 1

    def leave(self) -> bool:
        """Note the end of a use; whether none is left."""
        with self._lock:
            self._uses = max(self._uses - 1, 0)
            return self._uses == 0
