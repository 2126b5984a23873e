"""Checks of servers given by URL, over the check's own connection."""

from __future__ import annotations

from typing import LiteralString

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret, scheme_of
from lg_prod_nodes.databases.timings import POOLS, MeasuredPool
from lg_prod_nodes.service.health.checks import CheckResult

NO_WRITES = CheckResult("down", "it takes no writes (read-only)")
_TAKES_WRITES: LiteralString = "SELECT current_setting('transaction_read_only') = 'off'"


def server_at(url: Secret, timeout: float) -> PostgresServer | RedisServer:
    """Return the check of the server at a URL.

    Raises:
        ConfigurationError: The scheme is not supported, the URL is invalid, or an extra is missing.
    """
    match scheme_of(url):
        case "postgresql" | "postgres":
            return PostgresServer(url, timeout)
        case "redis" | "rediss" | "valkey" | "valkeys":
            return RedisServer(url, timeout)
        case scheme:
            given = f"{scheme}://" if scheme else "what is no URL"
            raise ConfigurationError(
                f"Health cannot check {given}; give postgresql://, redis:// or valkey://, and what is yours as "
                "checks={name: function}"
            )


class PostgresServer:
    """A Postgres server, and this process's pools for the same database."""

    name = "postgres"

    def __init__(self, dsn: Secret, timeout: float) -> None:
        from lg_prod_nodes.databases.postgres import Postgres

        self._server = Postgres(dsn, tables={}, timeout=timeout)

    def check(self) -> CheckResult:
        """Check that it accepts writes; a replica is fine if this process has no pool for it."""
        ((takes_writes,),) = self._server.rows(_TAKES_WRITES)
        pools = [pool for pool in list(POOLS) if self._serves(pool)]
        if not takes_writes:
            self._server.close()  # a new connection may reach the new primary
        return NO_WRITES if pools and not takes_writes else of_pools(pools)

    def close(self) -> None:
        """Close the connection; the next check opens a new one."""
        self._server.close()

    def _serves(self, pool: MeasuredPool) -> bool:
        from lg_prod_nodes.databases.dsn import database_of

        dsn = getattr(pool, "conninfo", None)
        return isinstance(dsn, str) and database_of(dsn) == self._server.database


class RedisServer:
    """A Redis or Valkey server."""

    def __init__(self, url: Secret, timeout: float) -> None:
        from lg_prod_nodes.databases.redis import Redis

        self.name = "redis" if scheme_of(url).startswith("redis") else "valkey"
        self._server = Redis(url, timeout, holds="health")

    def check(self) -> CheckResult:
        """Ping the server."""
        self._server.ask(self._server.client.ping)
        return CheckResult()

    def close(self) -> None:
        """Close the connection; the next check opens a new one."""
        self._server.close()


def of_pools(pools: list[MeasuredPool]) -> CheckResult:
    """Return the usage of connection pools; degraded if as many requests wait as there are connections."""
    if not pools:
        return CheckResult()
    stats = [pool.get_stats() for pool in pools]
    most, size, idle, waiting = (
        sum(each.get(name, 0) for each in stats)
        for name in ("pool_max", "pool_size", "pool_available", "requests_waiting")
    )
    detail = f"{size - idle} of {most} connections in use, {waiting} requests wait"
    return CheckResult("degraded" if waiting >= max(most, 1) else "ok", detail)
