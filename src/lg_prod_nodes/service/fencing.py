"""Fenced writes: a run whose thread has passed to another one writes no more rows.

Each transaction that writes checkpoints checks the leases of its runs, in the same round trip. The check locks a lease
until the transaction ends, so that the thread cannot pass on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from time import monotonic
from typing import Any, LiteralString

from psycopg import DatabaseError

from lg_prod_nodes.core.errors import LeaseLost
from lg_prod_nodes.core.secret import revealed
from lg_prod_nodes.databases.cursors import AsyncBoundedCursors, BoundedCursors
from lg_prod_nodes.databases.dsn import database_of, schema_of
from lg_prod_nodes.stores.threads.lease import HELD, Lease
from lg_prod_nodes.stores.threads.postgres import FENCED_STATE

CHECK: LiteralString = """
    SELECT lg_prod_nodes_fence(name, fence) FROM unnest(%s::text[], %s::bigint[]) AS held (name, fence)"""
"""Fails with `FENCED_STATE` unless all leases are held."""


def leases_in(database: str) -> Sequence[Lease]:
    """Return the leases of the calling run that are stored in a database, given its DSN.

    A lease that is stored elsewhere cannot be checked there. It is trusted for as long as its worker cannot have been
    taken for dead.

    Raises:
        LeaseLost: It may have been.
    """
    held = HELD.get().values()
    here = [lease for lease in held if _is_in(lease, database)]
    for lease in held:
        if lease not in here and lease.alive_until < monotonic():
            lease.stop.pull(LeaseLost())
            raise LeaseLost
    return here


def values_of(leases: Iterable[Lease]) -> tuple[list[str], list[int]]:
    """Return the parameters of `CHECK`."""
    held = dict.fromkeys((lease.name, lease.fence) for lease in leases)
    return [name for name, _ in held], [fence for _, fence in held]


@contextmanager
def fenced(leases: Sequence[Lease]) -> Generator[None]:
    """Stop the run if a check of its leases fails.

    Raises:
        LeaseLost: It has failed.
    """
    try:
        yield
    except DatabaseError as error:
        if error.sqlstate != FENCED_STATE:
            raise
        for lease in leases:
            lease.stop.pull(LeaseLost())
        raise LeaseLost from None


class FencedCursors(BoundedCursors):
    """Begins each transaction of several statements with a check of the calling run's leases."""

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Any]:
        leases = leases_in(self.conn.conninfo) if pipeline else ()
        with fenced(leases), super()._cursor(pipeline=pipeline) as cursor:
            if leases:
                cursor.connection.execute(CHECK, values_of(leases))
            yield cursor


class AsyncFencedCursors(AsyncBoundedCursors):
    """The asynchronous twin of `FencedCursors`."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncGenerator[Any]:
        leases = leases_in(self.conn.conninfo) if pipeline else ()
        with fenced(leases):
            async with super()._cursor(pipeline=pipeline) as cursor:
                if leases:
                    await cursor.connection.execute(CHECK, values_of(leases))
                yield cursor


def _is_in(lease: Lease, database: str) -> bool:
    return lease.database is not None and _is_same(revealed(lease.database), database)


@lru_cache(64)
def _is_same(one: str, other: str) -> bool:
    return one == other or _place(one) == _place(other)


def _place(dsn: str) -> tuple[str, str]:
    return database_of(dsn), schema_of(dsn)
