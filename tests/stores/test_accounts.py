"""One contract for every place of accounts: the memory of a process, a real Postgres, a real Valkey."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import valkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lg_prod_nodes import ConfigurationError
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Balance, Reservation

SAME_STORE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
ADA = Account("ada", 100, 3600)


@dataclass
class Asked:
    """A store whose operations are called as a synchronous or as an asynchronous caller does."""

    store: AccountStore
    blocking: bool
    expire: Callable[[], None]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self.store, name)
        run: Callable[[Any], Any] = drive if self.blocking else asyncio.run
        return lambda *args, **options: run(operation(*args, blocking=self.blocking, **options))


def in_memory(request: pytest.FixtureRequest) -> tuple[str, Callable[[AccountStore], None]]:
    return "memory://", lambda store: store._backend.forked()


def in_postgres(request: pytest.FixtureRequest) -> tuple[str, Callable[[AccountStore], None]]:
    dsn = request.getfixturevalue("dsn")
    late = "UPDATE lg_prod_nodes_charges SET leased_until = now() - interval '1 s'"
    return dsn, lambda _: admin(dsn, late)


def in_valkey(request: pytest.FixtureRequest) -> tuple[str, Callable[[AccountStore], None]]:
    url = request.getfixturevalue("valkey_url")

    def expire(_: AccountStore) -> None:
        with valkey.from_url(url) as client:
            for key in client.scan_iter("*:held"):
                for entry, held in client.hgetall(key).items():
                    client.hset(key, entry, json.dumps({**json.loads(held), "ends": 0}))

    return url, expire


def admin(dsn: str, statement: str, *values: object) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=[in_memory, in_postgres, in_valkey], ids=["memory", "postgres", "valkey"])
def backend(request: pytest.FixtureRequest) -> Iterator[tuple[AccountStore, Callable[[], None]]]:
    url, expire = request.param(request)
    store = AccountStore(url, timeout=30)
    yield store, lambda: expire(store)
    store.close()


@pytest.fixture(params=[True, False], ids=["sync", "async"])
def store(request: pytest.FixtureRequest, backend: Any) -> Asked:
    return Asked(backend[0], request.param, backend[1])


@pytest.fixture
def blocking_store(backend: Any) -> Asked:
    return Asked(backend[0], True, backend[1])


def spent(store: Asked, amount: int, account: Account = ADA, **options: Any) -> Reservation:
    """Reserve an amount and settle to it."""
    reservation = store.reserve(account, amount, **options)
    store.settle(reservation, amount)
    return reservation


def test_reserves_until_the_limit_and_says_what_is_left(store: Asked) -> None:
    first = store.reserve(ADA, 60)
    refused = store.reserve(ADA, 41)
    fits = store.reserve(ADA, 40)

    assert (first.granted, first.available) == (True, 40)
    assert (refused.granted, refused.available) == (False, 40)
    assert (fits.granted, fits.available) == (True, 0)
    assert store.balance(ADA) == Balance(reserved=100)


@pytest.mark.parametrize(("actual", "left"), [(0, 100), (30, 70), (60, 40), (75, 25), (130, 0)])
def test_settling_charges_what_was_used(store: Asked, actual: int, left: int) -> None:
    reservation = store.reserve(ADA, 60)

    assert store.settle(reservation, actual) == left
    assert store.balance(ADA) == Balance(spent=actual)


def test_accounts_do_not_share(store: Asked) -> None:
    spent(store, 100)

    assert store.reserve(Account("bob", 100), 100).granted
    assert not store.reserve(ADA, 1).granted


def test_settling_the_same_charge_again_replaces_the_amount(store: Asked) -> None:
    spent(store, 30, charge="once")
    spent(store, 50, charge="once")
    spent(store, 20, charge="other")

    assert store.balance(ADA) == Balance(spent=70)


def test_what_a_charge_has_settled_makes_room_for_its_repetition(store: Asked) -> None:
    spent(store, 90, charge="once")

    assert not store.reserve(ADA, 11).granted
    again = store.reserve(ADA, 95, charge="once")
    assert (again.granted, again.available, again.earlier) == (True, 5, 90)
    assert store.balance(ADA) == Balance(spent=90, reserved=5)
    assert not store.reserve(ADA, 101, charge="once").granted


def test_a_charge_holds_once_when_its_worker_died_and_another_repeats_it(store: Asked) -> None:
    store.reserve(ADA, 60, charge="once")
    again = store.reserve(ADA, 70, charge="once")

    assert again.granted
    assert store.balance(ADA) == Balance(reserved=70)


def test_a_worker_that_was_taken_for_dead_does_not_end_the_other_s_reservation(
    store: Asked,
) -> None:
    dead = store.reserve(ADA, 60, charge="once")
    alive = store.reserve(ADA, 60, charge="once")
    store.settle(dead, 40)

    assert store.balance(ADA) == Balance(spent=40, reserved=20)
    store.settle(alive, 50)
    assert store.balance(ADA) == Balance(spent=50)


def test_what_nobody_renews_is_given_back(store: Asked) -> None:
    lost = store.reserve(ADA, 60)
    store.expire()

    assert store.balance(ADA) == Balance()
    whole = store.reserve(ADA, 100)
    assert whole.granted
    store.settle(whole, 10)
    store.settle(lost, 20)
    assert store.balance(ADA) == Balance(spent=30)


def test_a_repetition_that_nobody_renews_leaves_what_was_settled(store: Asked) -> None:
    spent(store, 30, charge="once")
    store.reserve(ADA, 60, charge="once")
    store.expire()

    assert store.balance(ADA) == Balance(spent=30)
    assert store.reserve(ADA, 100, charge="once").granted


def test_a_grant_makes_room_once(store: Asked) -> None:
    spent(store, 100)
    store.grant(ADA, 10, id="monday")
    store.grant(ADA, 15, id="monday")
    store.grant(ADA, 5)
    store.grant(ADA, 5)

    assert store.granted(ADA, "monday") == 15
    assert store.granted(ADA, "tuesday") is None
    assert store.granted(Account("bob", 1), "monday") is None
    assert store.balance(ADA) == Balance(spent=100, granted=25)
    assert store.reserve(ADA, 25).granted
    assert not store.reserve(ADA, 1).granted


def test_a_lower_limit_leaves_nothing(store: Asked) -> None:
    spent(store, 90)
    refused = store.reserve(Account("ada", 50), 1)

    assert (refused.granted, refused.available) == (False, 0)


@pytest.mark.parametrize("key", ["", "a" * 5000, "nul\0", "half \ud800", "{curly} 東京 | *", "\n"])
def test_any_text_is_a_key(store: Asked, key: str) -> None:
    account = Account(key, 10)
    spent(store, 10, account, charge=key or "x")

    assert store.balance(account) == Balance(spent=10)
    assert store.balance(Account(key + "!", 10)) == Balance()


def test_great_amounts_are_exact(store: Asked) -> None:
    account = Account("great", 2**53)
    spent(store, 2**53 - 3, account, charge="once")
    spent(store, 2**53 - 2, account, charge="once")

    assert store.balance(account) == Balance(spent=2**53 - 2)
    assert store.reserve(account, 2).granted
    assert not store.reserve(account, 1).granted


def test_threads_at_once_never_pass_the_limit(blocking_store: Asked) -> None:
    barrier, pause = Barrier(8), sys.getswitchinterval()

    def use_twenty(_: int) -> int:
        barrier.wait()
        return sum(spend_or_hold(blocking_store, number) for number in range(20))

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(8) as pool:
        used = sum(pool.map(use_twenty, range(8)))
    sys.setswitchinterval(pause)

    balance = blocking_store.balance(ADA)
    assert used == balance.spent + balance.reserved in (99, 100)


def spend_or_hold(store: Asked, number: int) -> int:
    reservation = store.reserve(ADA, 2)
    if not reservation.granted:
        return 0
    if number % 2:
        store.settle(reservation, 1)
    return 1 if number % 2 else 2


def test_tasks_at_once_never_pass_the_limit(backend: Any) -> None:
    async def reserve_all() -> list[Reservation]:
        reserving = (backend[0].reserve(ADA, 2, blocking=False) for _ in range(80))
        return await asyncio.gather(*reserving)

    assert sum(reservation.granted for reservation in asyncio.run(reserve_all())) == 50


def test_a_task_that_is_cancelled_while_it_settles_settles(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = backend
    go_on, settle = Event(), store._backend.settle

    def settles_late(*args: Any) -> Any:
        assert go_on.wait(10)
        return settle(*args)

    async def cancelled() -> None:
        reservation = await store.reserve(ADA, 50, blocking=False)
        if not store.is_in_memory:
            monkeypatch.setattr(store._backend, "settle", settles_late)
        settling = asyncio.create_task(store.settle(reservation, 20, blocking=False))
        for _ in range(3):
            await asyncio.sleep(0)
        settling.cancel()
        await asyncio.wait([settling])
        go_on.set()

    asyncio.run(cancelled())
    if store._threads is not None:
        store._threads.shutdown()
    assert drive(store.balance(ADA, blocking=True)) == Balance(spent=20)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 60), st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("settle"), st.integers(0, 9), st.floats(0, 1)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("grant"), st.integers(0, 20)),
    ),
    max_size=12,
)


@SAME_STORE
@given(STEPS)
def test_never_is_more_spent_and_reserved_than_allowed(
    blocking_store: Asked, steps: list[Any]
) -> None:
    store, account = blocking_store, Account(uuid4().hex, 100)
    held: dict[str, Reservation] = {}
    for step in steps:
        match step:
            case "reserve", amount, charge:
                reservation = store.reserve(account, amount, charge=charge)
                if reservation.granted:
                    held[charge or reservation.id] = reservation
            case "settle", number, share if held:
                chosen = list(held)[number % len(held)]
                reservation = held.pop(chosen)
                store.settle(reservation, int(reservation.amount * share))
            case ("expire",):
                store.expire()
                held.clear()
            case "grant", more:
                store.grant(account, more)
            case _:
                pass
        balance = store.balance(account)
        assert balance.spent + balance.reserved <= 100 + balance.granted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://somewhere"}, "ftp://.*memory://, postgresql://, redis:// or valkey://"),
        ({"url": "postgresql://me:sec@ret@host/db"}, "percent-encoded"),
        ({"url": "redis://me:secret@host:port"}, "redis URL cannot be read"),
        ({"timeout": 0}, "timeout is 0; give seconds"),
    ],
)
def test_a_wrong_set_up_is_reported_without_secrets(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        AccountStore(**options)
    assert "sec" not in str(error.value).replace("seconds", "")
