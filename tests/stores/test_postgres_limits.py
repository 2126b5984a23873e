"""Postgres as a storage of `limits`, beside the one that it has in memory."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import parse
from limits.aio.strategies import STRATEGIES as ASYNC_LIMITERS
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES as LIMITERS
from tests.stores.conftest import START, Later
from tests.test_persistence import eventually

from lg_prod_nodes import ConfigurationError, StoreUnavailable
from lg_prod_nodes.stores.limits.limits_storage import AsyncPostgresStorage, PostgresStorage
from lg_prod_nodes.stores.limits.memory import MemoryLimits
from lg_prod_nodes.stores.limits.postgres import (
    _DECIDE_ALL,
    PostgresLimits,
    PostgresWindows,
    _as_json,
    _Request,
)
from lg_prod_nodes.stores.limits.store import STRATEGIES, Strategy, parse_limits

EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(params=["memory", "async+memory", "postgresql", "async+postgresql", "postgres"])
def storage(
    request: pytest.FixtureRequest, frozen_dsn: Any, traveller: time_machine.Traveller
) -> Any:
    """A storage by its URL, with a clock that stands still."""
    scheme, dsn = request.param, frozen_dsn[0]
    url = f"{scheme}://" if "memory" in scheme else dsn.replace("postgresql", scheme, 1)
    return storage_from_string(url)


@pytest.fixture
def later(traveller: time_machine.Traveller, frozen_dsn: Any) -> Later:
    """Lets seconds pass here and in the database."""

    def later(seconds: float) -> None:
        traveller.shift(seconds)
        frozen_dsn[1].pass_(seconds)

    return later


@pytest.fixture
def limiter(storage: Any, strategy: str) -> Any:
    is_async = inspect.iscoroutinefunction(inspect.unwrap(type(storage).incr))
    limiters = ASYNC_LIMITERS if is_async else LIMITERS
    return limiters[strategy](storage)


@EVERY_STRATEGY
async def test_hits_until_the_limit(limiter: Any) -> None:
    item = parse("3 per 10 seconds")

    assert [await settled(limiter.hit(item, "ada")) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not await settled(limiter.test(item, "ada"))
    assert await settled(limiter.test(item, "bob"))


@EVERY_STRATEGY
async def test_tells_what_is_left_and_when_it_renews_itself(limiter: Any, later: Later) -> None:
    item = parse("5 per 10 seconds")
    assert (await settled(limiter.get_window_stats(item, "ada"))).remaining == 5
    await settled(limiter.hit(item, "ada", cost=2))

    later(4)

    reset, remaining = await settled(limiter.get_window_stats(item, "ada"))
    assert (reset, remaining) == (pytest.approx(START + 10, abs=0.01), 3)
    assert await settled(limiter.test(item, "ada", cost=3))
    assert not await settled(limiter.test(item, "ada", cost=4))


@EVERY_STRATEGY
async def test_clears_one_window(limiter: Any) -> None:
    item = parse("1/hour")
    for who in ("ada", "bob"):
        await settled(limiter.hit(item, who))
    await settled(limiter.clear(item, "ada"))

    assert await settled(limiter.hit(item, "ada"))
    assert not await settled(limiter.hit(item, "bob"))


@EVERY_STRATEGY
async def test_resets_all_windows(limiter: Any, storage: Any) -> None:
    item = parse("1/hour")
    for who in ("ada", "bob"):
        await settled(limiter.hit(item, who))

    assert await settled(storage.reset()) == 2
    assert await settled(limiter.hit(item, "ada"))


async def test_is_well(storage: Any) -> None:
    assert await settled(storage.check())


@EVERY_STRATEGY
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 3.0, 10.0, 10.25, 20.0]), st.integers(-3, 4)),
        max_size=25,
    )
)
def test_decides_as_memory_does(
    frozen_dsn: Any, strategy: Strategy, calls: list[tuple[float, int]]
) -> None:
    dsn, clock = frozen_dsn
    clock.reset()
    clock.pass_(0.0137)  # where no weight is a whole number, which rounding could take for less
    backends = [MemoryLimits(strategy), PostgresLimits(dsn, strategy, 5.0)]
    items = parse_limits("6 per 10 seconds;9 per minute")

    try:
        with time_machine.travel(START + 0.0137, tick=False) as traveller:
            for seconds, cost in calls:
                traveller.shift(seconds)
                clock.pass_(seconds)
                options = {"forced": cost < 0, "since": time.time() - 4}
                ours, theirs = (p.decide(items, "ada", cost, **options) for p in backends)  # type: ignore[arg-type]
                assert ours.admitted == theirs.admitted
                for one, other in zip(ours.windows, theirs.windows, strict=True):
                    assert one.remaining == other.remaining
                    assert one.wait == pytest.approx(other.wait, abs=1e-3)
                    assert one.reset == pytest.approx(other.reset, abs=1e-3)
    finally:
        backends[1].close()


@pytest.mark.parametrize(("wrap", "error"), [(False, StoreUnavailable), (True, StorageError)])
async def test_a_database_that_is_down_raises_what_was_chosen(wrap: bool, error: Any) -> None:
    options: Any = {"wrap_exceptions": wrap, "timeout": 0.2}
    url = "postgresql://ann:hunter2@127.0.0.1:1/x"

    assert not PostgresStorage(url, **options).check()
    with pytest.raises(error):
        PostgresStorage(url, **options).get("a")
    with pytest.raises(error):
        await AsyncPostgresStorage(f"async+{url}", **options).get("a")


def test_a_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded"):
        PostgresStorage("postgresql://ann:hunt@er2@/:x")


async def test_what_threads_ask_while_a_decision_is_made_is_decided_together(dsn: str) -> None:
    limits = PostgresLimits(dsn, "moving-window", 20.0)
    items = parse_limits("3/hour;100/day")
    waiting = """SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    try:
        limits.decide(items, "first")
        with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as observer:
            other.execute("LOCK TABLE lg_prod_nodes_limits")
            calls = [asyncio.to_thread(limits.decide, items, "first")]
            calls += [asyncio.to_thread(limits.decide, items, "ada") for _ in range(4)]
            tasks = [asyncio.create_task(call) for call in calls]
            await eventually(lambda: observer.execute(waiting).fetchone() == (1,))
            await eventually(lambda: len(limits._windows._batches._queue) == 4)
        await asyncio.gather(*tasks)
        assert sorted(task.result().admitted for task in tasks[1:]) == [False, True, True, True]
        with psycopg.connect(dsn) as observer:
            written = observer.execute(
                "SELECT count(DISTINCT xmin::text) FROM lg_prod_nodes_limits"
            )
            assert written.fetchone() == (2,)
    finally:
        limits.close()


@EVERY_STRATEGY
def test_a_batch_is_decided_as_its_calls_one_after_the_other(
    frozen_dsn: Any, strategy: Strategy
) -> None:
    dsn, clock = frozen_dsn
    clock.reset()
    random = Random(strategy)
    windows = PostgresWindows(dsn, 5.0)
    asked: list[_Request] = []
    try:
        for first in (0, 1 << 64):
            random.seed(1)
            requests = [a_request(random, strategy, first) for _ in range(60)]
            if first:
                windows._answer(requests)
            else:
                for request in requests:
                    windows._answer([request])
            asked += requests
    finally:
        windows.close()
    answers = [request.answer for request in asked]
    assert answers[:60] == answers[60:]
    assert len({admitted for admitted, *_ in answers}) == 2


def a_request(random: Random, strategy: Strategy, first: int) -> _Request:
    keys = sorted(random.sample(range(6), random.randrange(1, 4)))
    cost = random.choice((-1, 0, 1, 1, 1, 2))
    return _Request(
        strategy,
        [UUID(int=first + key) for key in keys],
        [2] * len(keys),
        [60] * len(keys),
        cost,
        cost < 0,
        START,
        UUID(int=first + random.randrange(9, 12)) if cost > 1 else None,
        60.0,
    )


async def test_workers_that_ask_for_the_same_windows_in_another_order_never_wait_in_a_circle(
    dsn: str,
) -> None:
    limits = PostgresLimits(dsn, "fixed-window", 20.0)
    limits.decide(parse_limits("1/hour"), "ada")
    limits.close()
    requests = [
        _Request("fixed-window", [UUID(int=key)], [1_000_000], [60], 1, False, 0.0, None, 0.0)
        for key in range(30)
    ]

    def decide(batch: list[_Request]) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(30):
                connection.execute(_DECIDE_ALL, {"requests": _as_json(batch)})

    await asyncio.gather(
        *(asyncio.to_thread(decide, batch) for batch in (requests, requests[::-1]))
    )
    with psycopg.connect(dsn) as connection:
        query = "SELECT min(taken), max(taken) FROM lg_prod_nodes_limits WHERE id < %s"
        assert connection.execute(query, [UUID(int=30)]).fetchone() == (60, 60)
