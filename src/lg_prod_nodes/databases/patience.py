"""Connections to Postgres with a bound on every wait, which hold off forks while they open.

Neither `statement_timeout` nor `tcp_user_timeout` ends a wait for a server that is frozen, or for an answer that a
proxy or a load balancer swallows: the server that would enforce them is gone. So the client has to.
"""

from __future__ import annotations

import select
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError

from lg_prod_nodes.core.secret import bare
from lg_prod_nodes.databases.forks import FORKS

Row = TypeVar("Row", covariant=True)

_Steps = Generator[Any, Any, Any]


class Unanswered(OperationalError):
    """The server does not answer."""


_RECENTLY = 1.0  # seconds

_FAILED: dict[int, OperationalError] = {}
"""Why the latest attempt to connect failed, by the hash of its DSN: a pool does not say."""


def latest_failure(dsn: str) -> OperationalError | None:
    """Why the latest attempt of this process to connect to a database failed; `None` if it did not."""
    return _FAILED.get(hash(dsn))


@contextmanager
def _noted(dsn: str) -> Generator[None]:
    try:
        yield
    except OperationalError as error:
        _FAILED[hash(dsn)] = bare(error)
        raise
    _FAILED.pop(hash(dsn), None)


class PatientConnection(Connection[Row]):
    """A connection that is closed when a wait for its server takes longer than `patience` seconds.

    Attributes:
        patience: Seconds to wait, `None` for ever.
        is_pooled: Whether a pooler stands between, see `sessions`.
        bound: The `statement_timeout` of its transactions.
        opened: When its pool had opened it, on the monotonic clock.
        answered: When its server last answered.
    """

    patience: float | None = None
    is_pooled: bool = False
    bound: str = ""
    opened: float = 0.0
    answered: float = 0.0

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Open a connection."""
        with FORKS.held_off(), _noted(conninfo):
            return super().connect(conninfo, **kwargs)

    def wait(self, gen: _Steps, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server."""
        try:
            result = super().wait(_until(self.patience, gen), *args, **kwargs)
        except Unanswered:
            self.close()
            raise
        self.answered = time.monotonic()
        return result


class PatientAsyncConnection(AsyncConnection[Row]):
    """Like `PatientConnection`."""

    patience: float | None = None
    is_pooled: bool = False
    bound: str = ""
    opened: float = 0.0
    answered: float = 0.0

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Open a connection."""
        with FORKS.held_off(), _noted(conninfo):
            return await super().connect(conninfo, **kwargs)

    async def wait(self, gen: _Steps, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server."""
        try:
            result = await super().wait(_until(self.patience, gen), *args, **kwargs)
        except Unanswered:
            await self.close()
            raise
        self.answered = time.monotonic()
        return result


def answered_recently(connection: PatientConnection[Any] | PatientAsyncConnection[Any]) -> bool:
    """Whether a connection needs no test: its server has just answered, and has not closed it since."""
    if time.monotonic() - connection.answered > _RECENTLY or not hasattr(select, "poll"):
        return False
    unread = select.poll()
    unread.register(connection.fileno(), select.POLLIN)
    return not unread.poll(0)


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
