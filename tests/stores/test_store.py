"""The life cycle that all stores have in common."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lg_prod_nodes import (
    AccountStore,
    CircuitStore,
    ConfigurationError,
    Failure,
    FailureLog,
    Ledger,
    LimitStore,
    ThreadStore,
    Vault,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.circuits.circuit import Circuit
from lg_prod_nodes.stores.store import Store

Make = Callable[..., Store[Any]]

MAKE: dict[str, Make] = {
    "limits": LimitStore,
    "accounts": AccountStore,
    "circuits": CircuitStore,
    "failures": FailureLog,
    "vault": lambda *url, **options: Vault(*url, key=bytes(32), **options),
    "ledger": Ledger,
    "threads": ThreadStore,
}
SERVED = {"limits", "accounts", "circuits", "threads"}
FAILURE = Failure(
    id="1",
    graph="desk",
    run_id="r",
    thread_id="t",
    checkpoint_id=None,
    checkpoint_ns=None,
    node="search",
    type="ValueError",
    error_class="permanent",
    fingerprint="f",
    frames=(),
    attempts=1,
    first=datetime(2030, 1, 1, tzinfo=UTC),
    last=datetime(2030, 1, 1, tzinfo=UTC),
)


@pytest.fixture(params=MAKE)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return str(request.param)


@pytest.fixture
def make(name: str) -> Make:
    return MAKE[name]


def test_a_store_is_in_memory_until_a_production_lends_its_database(
    name: str, make: Make, dsn: str
) -> None:
    with make() as store:
        assert store.is_in_memory
        store.ping()
        store.open(None)
        assert store.is_in_memory
        store.open(dsn)
        assert not store.is_in_memory
        store.ping()
        store.close()
        assert store.is_in_memory == (name in SERVED), "records are read after the service ended"
        store.ping()


def test_a_store_that_was_given_a_backend_stays_there(make: Make, dsn: str) -> None:
    with make("memory://") as store:
        store.open(dsn)
        assert store.is_in_memory
        store.close()
        assert store.is_in_memory


def test_a_store_serves_two_productions_until_the_last_one_ends(make: Make, dsn: str) -> None:
    store = make()
    store.open(dsn)
    store.open(dsn)
    with pytest.raises(ConfigurationError, match="used by an open Production"):
        store.open("postgresql://localhost/elsewhere")
    backend = store._backend
    store.close()
    assert store._backend is backend
    assert not store.is_in_memory
    store.close()


@pytest.mark.parametrize("name", sorted(SERVED))
def test_a_backend_that_a_store_has_left_is_forgotten(make: Make, dsn: str) -> None:
    store = make()
    store.open(dsn)
    left = weakref.ref(store._backend)

    store.close()
    gc.collect()

    assert left() is None


def test_a_backend_is_closed_with_its_store(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    store = make()
    monkeypatch.setattr(type(store._backend), "close", lambda self: closed.append(True))
    store._move("memory://")
    del store
    gc.collect()
    assert closed == [True]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_is_above_0(make: Make, timeout: float) -> None:
    with pytest.raises(ConfigurationError, match=f"timeout is {timeout}; give seconds"):
        make(timeout=timeout)


@pytest.mark.parametrize("url", ["ftp://ada:hunter2@somewhere", "memory+fast://", 7])
def test_an_unknown_backend_is_refused_with_what_is_allowed(
    name: str, make: Make, url: Any
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make(url)
    allowed = "redis:// or valkey://" if name in SERVED else "memory:// or postgresql://"
    assert str(refused.value).endswith(allowed)
    assert type(make()).__name__ in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_scheme_that_may_be_a_password_is_not_shown(make: Make) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make("ada:hunter2@host://app")
    assert "hunter2" not in str(refused.value)


def test_the_driver_of_another_library_is_explained(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="SQLAlchemy"):
        make("postgresql+psycopg://localhost/app")


@pytest.mark.parametrize("name", sorted(MAKE.keys() - SERVED))
def test_only_servers_that_a_store_supports_are_accepted(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="was given redis://; use memory:// or"):
        make("redis://localhost")


async def test_steps_of_asynchronous_callers_are_off_the_event_loop(dsn: str) -> None:
    threads: list[int] = []

    def step(circuit: Circuit) -> tuple[Circuit, None]:
        threads.append(threading.get_ident())
        return circuit, None

    with CircuitStore(dsn) as store:
        await store.change("m", step, blocking=False)
        await store.change("m", step, blocking=True)
    assert threads[0] != threading.get_ident() == threads[1]


async def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with CircuitStore() as store:
        await store._in_thread(threading.get_ident)
        parents, parent = store._threads, os.getpid()
        assert parents is not None
        monkeypatch.setattr("os.getpid", lambda: parent + 1)
        await store._in_thread(threading.get_ident)
        assert store._threads is not parents
        parents.shutdown()


def test_a_failure_log_writes_to_the_database_of_its_production(dsn: str) -> None:
    log = FailureLog()
    log.open(dsn)
    log.add(FAILURE)
    log.close()
    with FailureLog(dsn) as other:
        assert [failure.id for failure in other.list()] == ["1"]
    assert [failure.id for failure in log.list()] == ["1"]
    log.close()


def test_a_vault_keeps_its_values_in_the_database_of_its_production(dsn: str) -> None:
    vault, other = Vault(key=bytes(32)), Vault(key=bytes(32))
    before = vault.session("ada")
    vault.load(before)
    vault.open(dsn)
    session = vault.session("ada")
    vault.load(session)
    token = session.token("EMAIL_ADDRESS", "ada@example.org")
    assert vault.keep(session)
    vault.close()
    other.open(dsn)
    assert other.restore("ada", token) == "ada@example.org"
    assert vault.restore("ada", token) == "ada@example.org"
    vault.close()
    other.close()


def test_windows_decided_here_while_the_database_is_away_count_here(dsn: str) -> None:
    from lg_prod_nodes.stores.limits.store import parse_limits

    with LimitStore(dsn) as store:
        local = store.local
        assert local.is_in_memory
        limits = parse_limits("1/day")
        assert drive(local.acquire(limits, "ada", blocking=True)).admitted
        assert not drive(store.local.acquire(limits, "ada", blocking=True)).admitted
