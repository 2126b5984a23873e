"""Hears what is notified on a channel of Postgres, on a connection of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, LiteralString

from psycopg import Error, sql
from psycopg.conninfo import conninfo_to_dict

from lg_prod_nodes.core.secret import Secret, hidden, revealed
from lg_prod_nodes.databases.patience import PatientConnection
from lg_prod_nodes.databases.sessions import begin_session

_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
_RETRY_SECONDS = 1.0


class ChannelListener:
    """Listens from the first `heard` on. A connection that broke is replaced; what was notified meanwhile is lost.

    Args:
        dsn: The database.
        channel: The channel.
        timeout: Seconds to wait at most for a connection.

    Attributes:
        is_deaf: Whether nothing can be heard, as a transaction pooler stands between.
    """

    def __init__(self, dsn: Secret, channel: LiteralString, *, timeout: float) -> None:
        self._dsn, self._channel, self._timeout = hidden(dsn), channel, timeout
        self.is_deaf = False
        self._connection: PatientConnection[Any] | None = None
        self._process = os.getpid()

    def heard(self, seconds: float) -> Iterator[str]:
        """Yield what is notified within some seconds, and return after the first that came."""
        try:
            connection = self._connected()
            if connection is None:
                return
            for notice in connection.notifies(timeout=seconds, stop_after=1):
                yield notice.payload
        except (Error, OSError):
            self.close()
            time.sleep(min(seconds, _RETRY_SECONDS))

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None and self._process == os.getpid():
            connection.close()

    def _connected(self) -> PatientConnection[Any] | None:
        if self._connection is None or self._process != os.getpid():
            self._process = os.getpid()
            self._connection = self._open()
        return self._connection

    def _open(self) -> PatientConnection[Any] | None:
        dsn = revealed(self._dsn)
        chosen = conninfo_to_dict(dsn)
        connection = PatientConnection[Any].connect(
            dsn,
            autocommit=True,
            connect_timeout=max(2, round(self._timeout)),
            prepare_threshold=None,
            **{name: value for name, value in _KEEPALIVE.items() if name not in chosen},
        )
        begin_session(connection, statement=self._timeout, silence=self._timeout, chosen=True)
        if connection.is_pooled:
            self.is_deaf = True
            connection.close()
            return None
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        connection.patience = None  # it waits for as long as nothing happens
        return connection
