"""One contract for every place of leases: the memory of a process, a real Postgres, a real Valkey."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import valkey

from lg_prod_nodes import ConfigurationError
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.threads.heartbeat import LEASE_SECONDS
from lg_prod_nodes.stores.threads.store import Lease, Standing, ThreadStore


@dataclass
class Asked:
    """A store whose operations are called as a synchronous or as an asynchronous caller does."""

    store: ThreadStore
    blocking: bool

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self.store, name)
        if name == "lease":
            return lambda run, name="t": operation(name, run=run)
        run: Callable[[Any], Any] = drive if self.blocking else asyncio.run
        return lambda *args, **options: run(operation(*args, blocking=self.blocking, **options))


@dataclass
class Workers:
    """Two workers at one backend, and what kills the second."""

    one: ThreadStore
    two: ThreadStore
    kill: Callable[[], None]


def in_postgres(request: pytest.FixtureRequest) -> tuple[str, Callable[[str], None]]:
    dsn = request.getfixturevalue("dsn")

    def kill(worker: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(
                "UPDATE lg_prod_nodes_workers SET alive_until = now() - interval '1 s' WHERE worker = %s",
                [worker],
            )

    return dsn, kill


def in_valkey(request: pytest.FixtureRequest) -> tuple[str, Callable[[str], None]]:
    url = request.getfixturevalue("valkey_url")

    def kill(worker: str) -> None:
        with valkey.from_url(url) as client:
            client.delete(f"lg_prod_nodes:worker:{worker}")

    return url, kill


@pytest.fixture(params=[in_postgres, in_valkey], ids=["postgres", "valkey"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    url, kill = request.param(request)
    one, two = ThreadStore(url, timeout=30), ThreadStore(url, timeout=30)

    def killed() -> None:
        heartbeat = two._heartbeat
        heartbeat.close()  # its thread gives no more signs of life
        kill(heartbeat.worker)

    yield Workers(one, two, killed)
    one.close()
    two.close()


@pytest.fixture(params=["memory", "postgres", "valkey"])
def backend(request: pytest.FixtureRequest) -> Iterator[ThreadStore]:
    fixture = {"postgres": "dsn", "valkey": "valkey_url"}.get(request.param)
    store = ThreadStore(request.getfixturevalue(fixture) if fixture else "memory://", timeout=30)
    yield store
    store.close()


@pytest.fixture(params=[True, False], ids=["sync", "async"])
def store(request: pytest.FixtureRequest, backend: ThreadStore) -> Asked:
    return Asked(backend, request.param)


def test_one_run_has_a_thread_until_it_leaves(store: Asked) -> None:
    one, two = store.lease("one"), store.lease("two")

    assert store.ask(one, "reject").state == "held"
    assert store.ask(two, "reject") == Standing("busy", ahead=1)
    assert store.leave(one) is None
    assert store.ask(two, "reject").state == "held"


def test_threads_do_not_share(store: Asked) -> None:
    store.ask(store.lease("one"), "reject")
    assert store.ask(store.lease("two", "other"), "reject").state == "held"


def test_the_fence_grows_with_each_run(store: Asked) -> None:
    fences = []
    for run in "abc":
        lease = store.lease(run)
        store.ask(lease, "reject")
        fences.append(lease.fence)
        store.leave(lease)
    assert fences == sorted(set(fences))
    assert fences[0] > 0


def test_asking_twice_is_asking_once(store: Asked) -> None:
    one = store.lease("one")
    store.ask(one, "reject")
    fence = one.fence
    assert store.ask(one, "reject").state == "held"
    assert one.fence == fence


def test_runs_are_served_in_the_order_in_which_they_came(store: Asked) -> None:
    one, two, three = map(store.lease, ("one", "two", "three"))
    for lease in (one, two, three):
        store.ask(lease, "enqueue")
    store.leave(one)

    assert store.ask(three, "enqueue").state == "waiting"
    assert store.ask(two, "enqueue").state == "held"
    assert two.fence > one.fence


def test_a_run_that_waits_no_longer_leaves_the_line(store: Asked) -> None:
    one, two, three = map(store.lease, ("one", "two", "three"))
    for lease in (one, two, three):
        store.ask(lease, "enqueue")
    store.leave(two)
    store.leave(one)
    assert store.ask(three, "enqueue").state == "held"


def test_no_more_wait_than_may(store: Asked) -> None:
    for run in ("one", "two"):
        store.ask(store.lease(run), "enqueue", max_queue=1)
    assert store.ask(store.lease("three"), "enqueue", max_queue=1).state == "busy"


def test_an_empty_line_leaves_nothing_behind(store: Asked) -> None:
    one = store.lease("one")
    store.ask(one, "reject")
    store.leave(one)
    assert store.store._backend.read("t", "").line is None


def test_whoever_waits_is_told(store: Asked) -> None:
    one, two = store.lease("one"), store.lease("two")
    store.ask(one, "enqueue")
    store.ask(two, "enqueue")
    store.leave(one)
    assert two.bell.wait(10)


def test_a_newer_run_stops_the_one_that_runs(store: Asked) -> None:
    one, two = store.lease("one"), store.lease("two")
    store.ask(one, "enqueue")
    stopped = threading.Event()
    one.stop.listen(stopped.set)
    store.ask(two, "rollback")

    assert stopped.wait(10)
    assert getattr(one.stop.error, "action", None) == "rollback"
    assert store.leave(one) == "rollback"
    assert store.ask(two, "rollback").state == "held"
    assert two.ended == ((one.claim.id, "rollback"),)


def test_what_the_run_before_left_is_cleaned_up_once(store: Asked) -> None:
    one, two, three = map(store.lease, ("one", "two", "three"))
    store.ask(one, "enqueue")
    store.leave(one, finished=False)
    store.ask(two, "enqueue")
    assert two.ended == ((one.claim.id, "interrupt"),)
    two.cleaned = True
    store.leave(two)
    store.ask(three, "enqueue")
    assert three.ended == ()


@pytest.mark.parametrize("by", [{"name": "t"}, {"run": "one"}])
def test_cancels_by_thread_and_by_run(store: Asked, by: dict[str, str]) -> None:
    one = store.lease("one")
    store.ask(one, "enqueue")
    store.ask(store.lease("one", "other"), "enqueue") if "name" in by else None

    assert store.end("cancel", **by) == 1
    assert store.leave(one) == "cancel"


def test_cancels_nothing_where_nothing_runs(store: Asked) -> None:
    assert store.end("cancel", run="unknown") == 0
    assert store.end("cancel", name="unknown") == 0


@pytest.mark.parametrize("by", [{"thread_id": "t"}, {"run_id": "one"}])
async def test_an_operator_cancels(by: dict[str, str]) -> None:
    with ThreadStore() as store:
        lease = store.lease("t", run="one")
        await store.ask(lease, "reject", blocking=False)
        assert await store.acancel(**by) == store.cancel(**by) == 1
        assert await store.leave(lease, blocking=False) == "cancel"


@pytest.mark.parametrize(
    ("by", "given"), [({}, "neither"), ({"run_id": "1", "thread_id": "2"}, "both")]
)
def test_an_operator_says_what_to_cancel(by: dict[str, str], given: str) -> None:
    with (
        ThreadStore() as store,
        pytest.raises(ConfigurationError, match=f"given {given} of run_id"),
    ):
        store.cancel(**by)


def test_names_of_any_kind(store: Asked) -> None:
    for name in ("a" * 5000, "\ud800", "'; drop table", "\0"):
        lease = store.lease("one", name)
        assert store.ask(lease, "reject").state == "held"
        store.leave(lease)


def test_of_many_at_once_one_gets_the_thread(backend: ThreadStore) -> None:
    store = Asked(backend, True)
    with ThreadPoolExecutor(8) as threads:
        leases = [store.lease(str(n)) for n in range(24)]
        states = list(threads.map(lambda lease: store.ask(lease, "reject").state, leases))
    assert sorted(states) == ["busy"] * 23 + ["held"]


def hold(store: ThreadStore, run: str, strategy: Any = "enqueue") -> tuple[Lease, Standing]:
    lease = store.lease("t", run=run)
    return lease, drive(store.ask(lease, strategy, blocking=True))


def test_a_dead_worker_s_thread_is_free(workers: Workers) -> None:
    dead, _ = hold(workers.two, "dead")
    assert hold(workers.one, "refused", "reject")[1].state == "busy"
    waits, given = hold(workers.one, "waits")
    assert 0 < given.again <= LEASE_SECONDS + 0.1 < 5
    workers.kill()

    assert drive(workers.one.ask(waits, "enqueue", blocking=True)).state == "held"
    assert waits.fence > dead.fence
    assert waits.ended == ((dead.claim.id, "interrupt"),)


def test_a_dead_worker_leaves_the_line(workers: Workers) -> None:
    first, _ = hold(workers.one, "first")
    hold(workers.two, "dead")
    waits, _ = hold(workers.one, "waits")
    workers.kill()
    drive(workers.one.leave(first, blocking=True))

    assert drive(workers.one.ask(waits, "enqueue", blocking=True)).state == "held"


def test_a_worker_that_comes_back_learns_that_its_thread_has_passed_on(workers: Workers) -> None:
    paused, _ = hold(workers.two, "paused")
    workers.kill()
    taken, _ = hold(workers.one, "taken")
    assert taken.fence

    workers.two._heartbeat.beat()
    assert type(paused.stop.error).__name__ == "LeaseLost"
    drive(workers.two.leave(paused, blocking=True))
    workers.one._heartbeat.beat()
    assert taken.stop.error is None


def test_a_run_whose_thread_has_passed_on_learns_it_at_its_end(workers: Workers) -> None:
    paused, _ = hold(workers.two, "paused")
    workers.kill()
    taken, _ = hold(workers.one, "taken", "rollback")
    drive(workers.one.leave(taken, blocking=True))
    assert paused.stop.error is None

    drive(workers.two.leave(paused, blocking=True))
    assert type(paused.stop.error).__name__ == "LeaseLost"
    assert taken.stop.error is None


def test_a_worker_that_comes_back_in_time_has_lost_nothing(workers: Workers) -> None:
    paused, _ = hold(workers.two, "paused")
    workers.kill()
    workers.two._heartbeat.beat()
    assert paused.stop.error is None
    assert hold(workers.one, "other", "reject")[1].state == "busy"


def test_another_worker_is_told(workers: Workers) -> None:
    one, _ = hold(workers.one, "one")
    stopped = threading.Event()
    one.stop.listen(stopped.set)
    two, _ = hold(workers.two, "two", "interrupt")
    assert stopped.wait(10)
    drive(workers.one.leave(one, blocking=True))
    assert two.bell.wait(10)
    assert drive(workers.two.ask(two, "enqueue", blocking=True)).state == "held"


@pytest.mark.parametrize("strategy", ["reject", "enqueue"])
def test_a_run_alone_needs_one_statement_to_begin_and_one_to_end(
    dsn: str, strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lg_prod_nodes.databases.postgres import Postgres

    store = ThreadStore(dsn, timeout=30)
    hold(store, "warms up")
    asked: list[str] = []
    rows = Postgres.rows

    def counted(self: Postgres, query: Any, **values: Any) -> Any:
        if "lg_prod_nodes_workers AS w" not in query:  # not the sign of life, which all runs share
            asked.append(query)
        return rows(self, query, **values)

    monkeypatch.setattr(Postgres, "rows", counted)
    lease = store.lease("other", run="run")
    assert drive(store.ask(lease, strategy, blocking=True)).state == "held"
    drive(store.leave(lease, blocking=True))
    assert len(asked) == 2
    store.close()
