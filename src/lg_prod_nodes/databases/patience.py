"""Connections to Postgres that wait so long and no longer, and hold off forks while they open.

Neither `statement_timeout` nor `tcp_user_timeout` ends a wait for a server that is frozen, or for an answer that a
proxy or a load balancer swallows: there nobody is left to keep them. So who waits has to.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError

from lg_prod_nodes.databases.forks import FORKS

Row = TypeVar("Row", covariant=True)

_Steps = Generator[Any, Any, Any]


class Unanswered(OperationalError):
    """Nobody says anything."""


class PatientConnection(Connection[Row]):
    """A connection that is closed when a wait for its server takes longer than `patience` seconds."""

    patience: float | None = None

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Open a connection."""
        with FORKS.held_off():
            return super().connect(*args, **kwargs)

    def wait(self, gen: _Steps, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server."""
        try:
            return super().wait(_until(self.patience, gen), *args, **kwargs)
        except Unanswered:
            self.close()
            raise


class PatientAsyncConnection(AsyncConnection[Row]):
    """Like `PatientConnection`."""

    patience: float | None = None

    @classmethod
    async def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Open a connection."""
        with FORKS.held_off():
            return await super().connect(*args, **kwargs)

    async def wait(self, gen: _Steps, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server."""
        try:
            return await super().wait(_until(self.patience, gen), *args, **kwargs)
        except Unanswered:
            await self.close()
            raise


@contextmanager
def hurried(
    connection: PatientConnection[Any] | PatientAsyncConnection[Any], patience: float
) -> Generator[None]:
    """Let a connection have less patience for a while."""
    usual, connection.patience = connection.patience, patience
    try:
        yield
    finally:
        connection.patience = usual


def _until(patience: float | None, steps: _Steps) -> _Steps:
    """The same steps, which fail where nothing has come in time."""
    deadline = None if patience is None else time.monotonic() + patience
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and deadline is not None and time.monotonic() > deadline:
                raise Unanswered("no answer from the server in time")
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value
