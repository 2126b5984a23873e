"""What a limit store does with its backend: shared, silent, down, closed."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import psycopg
import pytest
import valkey
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES as LIMITERS

from lg_prod_nodes import ConfigurationError, LimitStore, StoreUnavailable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.limits import limits_storage as postgres_limits
from lg_prod_nodes.stores.limits import postgres as _limits_postgres
from lg_prod_nodes.stores.limits import store as limits
from lg_prod_nodes.stores.limits.store import STRATEGIES, Decision, Strategy, parse_limits

SHARED = pytest.mark.parametrize("server", ["valkey_url", "dsn"])
BOTH = pytest.mark.parametrize("blocking", [True, False], ids=["sync", "async"])


@pytest.fixture
def server_url(request: pytest.FixtureRequest, server: str) -> str:
    return str(request.getfixturevalue(server))


@pytest.fixture
def port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def ask(store: LimitStore, limits: str = "2/day", who: str = "ada", **options: Any) -> Decision:
    return drive(store.acquire(parse_limits(limits), who, blocking=True, **options))


@SHARED
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_windows_are_shared_with_whoever_uses_limits(server_url: str, strategy: Strategy) -> None:
    assert postgres_limits.PostgresStorage
    storage: Any = storage_from_string(server_url)
    limiter, item = LIMITERS[strategy](storage), parse("3/day")
    with LimitStore(server_url, strategy=strategy) as store:
        assert ask(store, "3/day").admitted
        assert limiter.hit(item, "ada")
        assert limiter.get_window_stats(item, "ada").remaining == 1
        assert ask(store, "3/day").windows[0].remaining == 0
        assert not limiter.test(item, "ada")
        limiter.clear(item, "ada")
        assert ask(store, "3/day").windows[0].remaining == 2


def test_a_change_of_strategy_begins_anew(valkey_url: str) -> None:
    for strategy in STRATEGIES[1::-1]:  # the two that `limits` gives one key
        with LimitStore(valkey_url, strategy=strategy) as store:
            assert ask(store, "1/day").admitted
            assert not ask(store, "1/day").admitted


def test_a_redis_url_means_the_same_server(valkey_url: str) -> None:
    with LimitStore(valkey_url) as one, LimitStore(valkey_url.replace("valkey", "redis")) as other:
        assert ask(one, "1/day").admitted
        assert not ask(other, "1/day").admitted


@pytest.mark.parametrize("scheme", ["valkey", "postgresql"])
@BOTH
async def test_a_backend_that_is_down_is_unavailable(
    port: int, scheme: str, blocking: bool
) -> None:
    store = LimitStore(f"{scheme}://ann:hunter2@127.0.0.1:{port}/0", timeout=0.3)

    with store, pytest.raises(StoreUnavailable) as raised:
        await store.acquire(parse_limits("1/hour"), "ada", blocking=blocking)

    told = f"{raised.value} {raised.value.__cause__!r} {raised.value.__cause__} {store!r}"
    assert "hunter2" not in told


@pytest.mark.parametrize("scheme", ["valkey", "postgresql"])
@BOTH
async def test_a_backend_that_is_silent_is_unavailable_in_time(scheme: str, blocking: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0"
        with LimitStore(url, timeout=0.2) as store:
            start = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.acquire(parse_limits("1/hour"), "ada", blocking=blocking)

    assert time.monotonic() - start < 8


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the stores take for the time since whenever."""
    now = [100.0]
    monkeypatch.setattr(limits, "monotonic", lambda: now[0])
    return now


def test_a_backend_that_was_down_is_not_asked_for_a_while(
    valkey_url: str, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def down(*_: Any, **__: Any) -> Any:
        asked.append(now[0])
        raise StoreUnavailable("down")

    with LimitStore(valkey_url, pause=3.0) as store:
        with monkeypatch.context() as patch:
            patch.setattr(store._backend, "decide", down)
            for now[0] in (100.0, 100.1, 102.9, 103.1):
                with pytest.raises(StoreUnavailable):
                    ask(store)
        assert asked == [100.0, 103.1]
        now[0] = 106.2
        assert ask(store).admitted


@SHARED
def test_a_connection_that_broke_is_opened_again(server_url: str) -> None:
    with LimitStore(server_url) as store:
        assert ask(store).admitted
        if server_url.startswith("valkey"):
            with valkey.from_url(server_url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
        else:
            with psycopg.connect(server_url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        assert ask(store).admitted


@SHARED
def test_connections_outlive_no_event_loop(server_url: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        store = LimitStore(server_url)
        admitted = [
            asyncio.run(store.acquire(parse_limits("2/day"), "ada", blocking=False)).admitted
            for _ in range(3)
        ]
        del store
        gc.collect()

    assert admitted == [True, True, False]
    assert [str(warning.message) for warning in warned] == []


@SHARED
async def test_a_closed_store_opens_again(server_url: str) -> None:
    items = parse_limits("3/day")
    async with LimitStore(server_url) as store:
        assert (await store.acquire(items, "ada", blocking=False)).admitted
    assert (await store.acquire(items, "ada", blocking=False)).admitted
    store.close()
    assert (await store.acquire(items, "ada", blocking=True)).admitted
    await store.aclose()


@BOTH
async def test_callers_of_several_limits_do_not_lock_each_other_out(
    dsn: str, blocking: bool
) -> None:
    texts = ["20/day;30/hour;40/minute", "40/minute;30/hour;20/day"]
    with LimitStore(dsn, timeout=10.0) as store, ThreadPoolExecutor(8) as threads:

        def ask_in_turn(number: int) -> bool:
            return ask(store, texts[number % 2]).admitted

        async def ask_at_once(number: int) -> bool:
            limits = parse_limits(texts[number % 2])
            return (await store.acquire(limits, "ada", blocking=False)).admitted

        if blocking:
            admitted = list(threads.map(ask_in_turn, range(60)))
        else:
            admitted = await asyncio.gather(*map(ask_at_once, range(60)))

    assert sum(admitted) == 20


def test_tables_are_made_by_many_at_once(dsn: str) -> None:
    stores = [LimitStore(dsn, timeout=20.0) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        admitted = list(threads.map(lambda store: ask(store).admitted, stores))
    for store in stores:
        store.close()

    assert sum(admitted) == 2


def test_rows_that_are_over_are_deleted(frozen_dsn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits_postgres, "_DECISIONS_A_SWEEP", 1)
    dsn, clock = frozen_dsn
    with LimitStore(dsn, remember=60) as store, psycopg.connect(dsn, autocommit=True) as reader:

        def rows() -> list[int]:
            tables = ("limits", "limit_entries", "limit_charges")
            counts = [f"(SELECT count(*) FROM lg_prod_nodes_{table})" for table in tables]
            return list(reader.execute(f"SELECT {', '.join(counts)}").fetchone() or ())

        for number in range(50):
            ask(store, "5/minute", f"user {number}", once=f"{number}")
        assert rows() == [50, 50, 50]
        clock.pass_(61)
        ask(store, "5/minute", "late", once="late")
        assert rows() == [1, 1, 1]


def test_a_sweep_looks_at_a_few_blocks_only(
    frozen_dsn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits_postgres, "_DECISIONS_A_SWEEP", 1)
    monkeypatch.setattr(_limits_postgres, "_BLOCKS_A_SWEEP", 1)
    dsn, _ = frozen_dsn
    with LimitStore(dsn) as store, psycopg.connect(dsn, autocommit=True) as admin:
        ask(store)
        admin.execute(
            "INSERT INTO lg_prod_nodes_limit_entries "
            "SELECT gen_random_uuid(), 0, n, 1 FROM generate_series(1, 5000) n"
        )
        left = [5001]
        while left[-1] > 2 + len(left):
            ask(store)
            left += (
                admin.execute("SELECT count(*) FROM lg_prod_nodes_limit_entries").fetchone() or ()
            )

    steps = [before - after for before, after in pairwise(left)]
    assert 20 < len(steps) < 80
    assert max(steps) < 250


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "leaky"}, "fixed-window, moving-window"),
        (
            {"url": "ftp://ann:hunter2@host"},
            r"ftp://.*use memory://, postgresql://, redis:// or valkey://",
        ),
        ({"url": "memcached://localhost:11211"}, "memcached://"),
        ({"url": "redis+cluster://ann:hunter2@localhost:7000"}, r"redis\+cluster://"),
        ({"url": "hunter2"}, "not a URL"),
        ({"url": 7}, "not a URL"),
        ({"url": "valkey://:hunter2/x@localhost:port"}, "percent-encoded"),
        ({"url": "postgresql://ann:hunt@er2@/:localhost"}, "percent-encoded"),
        ({"timeout": 0}, "timeout is 0; give seconds"),
        ({"pause": -1.0}, "pause is -1.0"),
        ({"remember": float("nan")}, "remember is nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        LimitStore(**settings)

    assert "hunt" not in f"{raised.value} {raised.value.__cause__}"
    assert raised.value.__cause__ is None
