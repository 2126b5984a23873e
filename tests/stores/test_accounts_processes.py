"""Accounts of many processes: leases, forks, workers that die, and databases that come and go."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import psycopg
import pytest
import valkey
from tests.stores.test_accounts import ADA, admin, in_postgres, in_valkey

from lg_prod_nodes import StoreUnavailable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.accounts import leases as _leases
from lg_prod_nodes.stores.accounts import postgres as _accounts_postgres
from lg_prod_nodes.stores.accounts.account import Account, Balance, Reservation
from lg_prod_nodes.stores.accounts.leases import Leases
from lg_prod_nodes.stores.accounts.memory import MemoryAccounts
from lg_prod_nodes.stores.accounts.store import AccountStore

CHAOS = Path(__file__).parents[1] / "programs/budget_chaos.py"


def reserve(store: AccountStore, amount: int, account: Account = ADA, **options: Any) -> Any:
    return drive(store.reserve(account, amount, blocking=True, **options))


def settle(store: AccountStore, reservation: Reservation, actual: int) -> int:
    return drive(store.settle(reservation, actual, blocking=True))


def balance(store: AccountStore, account: Account = ADA) -> Balance:
    found: Balance = drive(store.balance(account, blocking=True))
    return found


@pytest.fixture
def store(dsn: str) -> Iterator[AccountStore]:
    store = AccountStore(dsn, timeout=30)
    yield store
    store.close()


@pytest.mark.parametrize("backend", ["memory", "postgres", "valkey"])
def test_workers_that_die_neither_overspend_nor_keep_slots(
    request: pytest.FixtureRequest, backend: str
) -> None:
    fixtures = {"postgres": "dsn", "valkey": "valkey_url"}
    url = request.getfixturevalue(fixtures[backend]) if backend in fixtures else "memory://"
    sizes = ["--processes", "4", "--calls", "40", "--lease", "1", "--url", url]
    ended = subprocess.run([sys.executable, CHAOS, *sizes], capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout


class RecordingBackend:
    """Notes what it is asked, and can be down."""

    leases = True

    def __init__(self) -> None:
        self.renewed: list[set[str]] = []
        self.settled: list[tuple[str, int]] = []
        self.is_down = False
        self.asked = Event()

    def renew(self, reservations: list[Reservation]) -> None:
        self.renewed.append({reservation.id for reservation in reservations})
        self._answer()

    def settle(self, reservation: Reservation, actual: int) -> int:
        self.settled.append((reservation.id, actual))
        self._answer()
        return 0

    def _answer(self) -> None:
        self.asked.set()
        if self.is_down:
            raise StoreUnavailable

    def wait(self) -> None:
        self.asked.clear()
        assert self.asked.wait(30)


def leased(id: str, lease: float = 0.03) -> Reservation:
    return Reservation(ADA, id, 1, None, lease)


def ends(leases: Leases) -> bool:
    thread = leases._thread
    if thread is not None:
        thread.join(30)
    return leases._thread is None


def test_one_thread_renews_what_is_open_and_ends_with_the_last() -> None:
    leases, backend = Leases(), RecordingBackend()
    a, b = leased("a"), leased("b")
    leases.keep(backend, a)
    thread = leases._thread
    leases.keep(backend, b)
    assert leases._thread is thread
    backend.wait()
    while {"a", "b"} not in backend.renewed:
        backend.wait()
    leases.drop(a)
    backend.renewed.clear()
    backend.wait()
    backend.wait()
    assert {"a"} | {"b"} not in backend.renewed[1:]
    leases.drop(b)

    assert ends(leases)
    leases.keep(backend, a)
    backend.wait()
    leases.forget(backend)
    assert ends(leases)


def test_a_short_lease_is_renewed_beside_a_long_one() -> None:
    leases, backend = Leases(), RecordingBackend()
    leases.keep(backend, leased("long", 1000))
    while leases._wakes == float("inf"):
        pass
    leases.keep(backend, leased("short"))
    backend.wait()

    assert backend.renewed[0] == {"short"}
    leases.forget(backend)


def test_a_store_that_was_down_is_asked_again() -> None:
    leases, backend = Leases(), RecordingBackend()
    backend.is_down = True
    leases.keep(backend, leased("open"))
    leases.keep(backend, leased("ended"), owed=7)
    backend.wait()
    backend.wait()
    backend.is_down = False
    while not backend.settled:
        backend.wait()

    assert set(backend.settled) == {("ended", 7)}
    assert not leases._owed
    leases.forget(backend)
    assert ends(leases)


def test_what_cannot_be_settled_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_leases, "_MOST_OWED", 2)
    leases, backend = Leases(), RecordingBackend()
    for number in range(5):
        leases.keep(backend, leased(str(number), 1000), owed=1)

    assert len(leases._open) == 2
    leases.forget(backend)


def test_a_settlement_that_failed_is_made_up_for(
    store: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservation = reserve(store, 10, lease=0.3)
    native, tried = store._backend.settle, Event()

    def fails_once(*args: Any) -> Any:
        if tried.is_set():
            return native(*args)
        tried.set()
        raise StoreUnavailable

    monkeypatch.setattr(store._backend, "settle", fails_once)
    with pytest.raises(StoreUnavailable):
        settle(store, reservation, 4)
    deadline = time.monotonic() + 30
    while balance(store) != Balance(spent=4):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("lease", ["postgresql", "valkey"])
def test_only_a_lease_that_still_holds_is_renewed(
    request: pytest.FixtureRequest, lease: str
) -> None:
    url, expire = (in_postgres if lease == "postgresql" else in_valkey)(request)
    store = AccountStore(url, timeout=30)
    held, lost = reserve(store, 10), reserve(store, 20, charge="c")
    again = reserve(store, 30, charge="c")
    store._backend.renew([held, lost])
    assert balance(store) == Balance(reserved=40)
    expire(store)
    store._backend.renew([held, lost, again])

    assert balance(store) == Balance()
    store.close()


def test_a_reservation_is_renewed_until_it_is_settled(store: AccountStore, dsn: str) -> None:
    def leased_until() -> Any:
        return admin(dsn, "SELECT leased_until FROM lg_prod_nodes_charges")[0][0]

    reservation = reserve(store, 10, lease=0.5)
    first, deadline = leased_until(), time.monotonic() + 30
    while leased_until() == first:
        assert time.monotonic() < deadline
    assert reservation.id in _leases.LEASES._open
    settle(store, reservation, 0)

    assert reservation.id not in _leases.LEASES._open


def test_nobody_renews_what_another_holds(store: AccountStore, dsn: str) -> None:
    lost = reserve(store, 20, charge="c")
    again = reserve(store, 20, charge="c")
    for held, is_renewed in ((lost, False), (again, True)):
        admin(dsn, "UPDATE lg_prod_nodes_charges SET leased_until = now() + interval '9 s'")
        store._backend.renew([held])
        renewed = "SELECT leased_until > now() + interval '10 s' FROM lg_prod_nodes_charges"
        assert admin(dsn, renewed) == [(is_renewed,)]


FORKS = """
import os, sys, threading
from lg_prod_nodes import Account, AccountStore
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.accounts.leases import LEASES

store, account = AccountStore(sys.argv[1]), Account("ada", 10)
mine = drive(store.reserve(account, 3, blocking=True))
child = os.fork()
if child == 0:
    assert not LEASES._open
    theirs = drive(store.reserve(account, 4, blocking=True))
    print(drive(store.balance(account, blocking=True)).reserved, flush=True)
    assert threading.active_count() > 1 or sys.argv[1] == "memory://"
    drive(store.settle(theirs, 1, blocking=True))
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(drive(store.balance(account, blocking=True)).reserved, len(LEASES._open))
drive(store.settle(mine, 1, blocking=True))
print(drive(store.balance(account, blocking=True)).spent)
store.close()
"""


@pytest.mark.parametrize(
    ("backend", "says"),
    [(None, ["4", "3 0", "1"]), ("dsn", ["7", "3 1", "2"]), ("valkey_url", ["7", "3 1", "2"])],
)
def test_a_fork_has_connections_and_leases_of_its_own(
    request: pytest.FixtureRequest, backend: str | None, says: list[str]
) -> None:
    url = request.getfixturevalue(backend) if backend else "memory://"
    ended = subprocess.run([sys.executable, "-c", FORKS, url], capture_output=True, text=True)

    assert (ended.stdout.splitlines(), ended.stderr) == (says, "")


def test_many_that_set_up_at_once_agree(dsn: str) -> None:
    barrier = Barrier(6)

    def one(_: int) -> bool:
        store = AccountStore(dsn, timeout=30)
        barrier.wait()
        granted: bool = reserve(store, 10).granted
        store.close()
        return granted

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(6))) == [True] * 6


def wait_for_a_lock(dsn: str) -> None:
    """Return once a statement waits for another transaction."""
    deadline = time.monotonic() + 30
    while admin(dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
        assert time.monotonic() < deadline, "nobody waits"


@pytest.mark.parametrize(("settled", "left"), [(None, 40), (10, 90)])
def test_who_comes_second_waits_and_sees_what_the_first_has_done(
    store: AccountStore, dsn: str, settled: int | None, left: int
) -> None:
    held = reserve(store, 60)
    with psycopg.connect(dsn) as other, ThreadPoolExecutor() as pool:
        if settled is None:
            settle(store, held, 0)
            other.execute("SELECT * FROM lg_prod_nodes_reserve('ada', 'x', 'x', 60, 100, 30)")
        else:
            names = ("ada", held.id, held.id, settled)
            other.execute("SELECT lg_prod_nodes_settle(%s, %s, %s, %s, 60, 60)", names)
        second = pool.submit(reserve, store, 50)
        wait_for_a_lock(dsn)
        other.commit()
        assert second.result().granted is (left >= 50)

    assert second.result().available == left - (50 if left >= 50 else 0)


def test_two_that_settle_at_once_are_both_charged(store: AccountStore, dsn: str) -> None:
    first, second = reserve(store, 10), reserve(store, 10, charge="c")
    with psycopg.connect(dsn) as other, ThreadPoolExecutor() as pool:
        names = ("ada", first.id, first.id)
        other.execute("SELECT lg_prod_nodes_settle(%s, %s, %s, 3, 60, 60)", names)
        settled = pool.submit(settle, store, second, 4)
        wait_for_a_lock(dsn)
        other.commit()
        assert settled.result() == 93


def test_a_restart_of_the_database_fails_no_call(store: AccountStore, dsn: str) -> None:
    reservation = reserve(store, 10)
    admin(
        dsn,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    assert settle(store, reservation, 5) == 95


def test_asking_a_step_twice_counts_once(store: AccountStore) -> None:
    reservation = reserve(store, 10)
    for _ in range(2):
        store._backend.reserve(reservation)
    assert balance(store) == Balance(reserved=10)
    for _ in range(2):
        store._backend.settle(reservation, 5)

    assert balance(store) == Balance(spent=5)


def test_nothing_that_was_settled_is_lost_in_a_crash(store: AccountStore, dsn: str) -> None:
    settle(store, reserve(store, 10, charge="c"), 5)
    kept = admin(
        dsn,
        "SELECT relname, relpersistence FROM pg_class "
        "WHERE relname LIKE 'lg_prod_nodes%' AND relkind = 'r'",
    )

    assert dict(kept) == {
        f"lg_prod_nodes_{name}": "p" for name in ("accounts", "charges", "grants")
    }


def test_a_session_that_would_not_see_what_others_commit_sees_it(dsn: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    admin(dsn, f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")

    store, barrier = AccountStore(dsn, timeout=30), Barrier(8)

    def ten(_: int) -> int:
        barrier.wait()
        return sum(reserve(store, 2).granted for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ten, range(8))) == 50
    store.close()


def test_what_is_over_is_swept_away_a_little_at_a_time(
    store: AccountStore, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_accounts_postgres, "_SWEEP_EVERY", 4)
    store._backend._until_sweep = 100
    for number in range(5):
        account = Account(f"old {number}", 100, 60)
        settle(store, reserve(store, 10, account, charge="c"), 5)
        drive(store.grant(account, 5, blocking=True))
    settle(store, reserve(store, 10, charge="c"), 5)
    settle(store, reserve(store, 10, Account("ever", 10), charge="c"), 5)
    for table in ("accounts", "charges", "grants"):
        past = f"UPDATE lg_prod_nodes_{table} SET kept_until = now() - interval '1 s'"
        admin(dsn, f"{past} WHERE account LIKE 'old%'")
    monkeypatch.setattr(_accounts_postgres, "_SWEPT", 3)
    left = []
    for _ in range(3):
        store._backend._until_sweep = 0
        reserve(store, 1, Account("other", 100))
        left.append(admin(dsn, "SELECT count(*) FROM lg_prod_nodes_accounts")[0][0])

    assert left == [4, 2, 2]
    assert admin(dsn, "SELECT count(*) FROM lg_prod_nodes_grants") == [(0,)]
    assert balance(store).spent == balance(store, Account("ever", 10)).spent == 5


def test_threads_lose_nothing_in_memory() -> None:
    store, account, barrier = AccountStore(), Account("all", 10**9), Barrier(4)

    def spend(number: int) -> None:
        barrier.wait()
        for at in range(1500):
            settle(store, reserve(store, 2, account, charge=f"{number} {at}"), 1)

    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spend, range(4)))
    sys.setswitchinterval(pause)

    assert balance(store, account) == Balance(spent=6000)


def test_what_is_over_is_forgotten_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    time = 0.0
    store = AccountStore()
    store._backend = backend = MemoryAccounts(lambda: time)
    for number in range(20):
        settle(store, reserve(store, 10, Account(f"{number}", 10, 60), charge="c"), 5)
    open_still = reserve(store, 10, Account("open", 10, 60))
    settle(store, reserve(store, 10, Account("ever", 10)), 5)
    for number in range(20):
        settle(store, reserve(store, 1, Account("charges", 100), charge=f"{number}"), 1)
    balance(store, Account("unknown", 1))
    time = 61.0
    for _ in range(12):
        settle(store, reserve(store, 1, Account("now", 1, 60)), 0)
    assert set(backend._books) == {"open", "ever", "charges"}

    settle(store, open_still, 1)
    time = 31 * 24 * 3600.0
    for _ in range(20):
        reserve(store, 1, Account("now", 100, 60))
    assert set(backend._books) == {"ever", "charges", "now"}
    assert not backend._books["charges"].charges
    assert balance(store, Account("charges", 100)).spent == 20


def test_what_is_over_is_forgotten_in_valkey(valkey_url: str) -> None:
    store = AccountStore(valkey_url, timeout=30)
    for account in (ADA, Account("ever", 10)):
        settle(store, reserve(store, 10, account, charge="c"), 5)
        drive(store.grant(account, 5, blocking=True))
    reserve(store, 1)
    with valkey.from_url(valkey_url, decode_responses=True) as client:
        lives = {key.partition("{")[2]: client.ttl(key) for key in client.scan_iter()}
    charges = {key.partition("}")[0]: lives.pop(key) for key in list(lives) if "charge" in key}

    assert charges == {"ada": 3600, "ever": 30 * 24 * 3600}
    assert lives == {
        "ada}:spent": 3600,
        "ada}:grants": 3600,
        "ada}:held": 60,
        "ever}:spent": -1,
        "ever}:grants": -1,
    }
    store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://me:hush@127.0.0.1:1/hidden", "the Postgres at 127.0.0.1"),
        ("valkey://me:hush@127.0.0.1:1", "the store of accounts (valkey)"),
    ],
)
def test_an_unreachable_store_is_reported_without_secrets(url: str, says: str) -> None:
    store = AccountStore(url)
    uses: list[Callable[[], Any]] = [
        lambda: reserve(store, 1),
        lambda: balance(store),
        lambda: drive(store.grant(ADA, 1, blocking=True)),
        lambda: drive(store.granted(ADA, "a", blocking=True)),
    ]
    for use in uses:
        with pytest.raises(StoreUnavailable) as error:
            use()
        assert str(error.value).startswith(says)
        assert "hush" not in f"{error.value} {error.value.__cause__!r}"


def test_a_slow_database_is_not_waited_for(store: AccountStore, dsn: str) -> None:
    reserve(store, 1)
    hasty = AccountStore(dsn, timeout=1)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('ada', 0))")
        with pytest.raises(StoreUnavailable):
            reserve(hasty, 1)
    hasty.close()
