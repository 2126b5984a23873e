"""One contract on every place: in memory and on a real Valkey, for synchronous and asynchronous callers."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from limits.strategies import RateLimiter

from lg_prod_nodes import ConfigurationError, LimitStore, StoreUnavailable
from lg_prod_nodes._engine import drive
from lg_prod_nodes.stores import limits
from lg_prod_nodes.stores.limits import Admission, parse_limits

Acquire = Callable[..., Awaitable[Admission]]
START = 1_800_000_000.0


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    """Moves `time.time()`, which stands still else."""
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(params=["memory", "valkey", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    return str(request.getfixturevalue("valkey_url")).replace("valkey", request.param)


async def disconnect(store: LimitStore) -> None:
    """Close what the store itself leaves open."""
    for limiter in store._async.values():
        if bridge := getattr(limiter.storage, "bridge", None):
            await bridge.storage.aclose()


@pytest.fixture
async def store(url: str) -> AsyncIterator[LimitStore]:
    store = LimitStore(url)
    yield store
    await disconnect(store)


@pytest.fixture(params=[True, False], ids=["sync", "async"])
def acquire(request: pytest.FixtureRequest, store: LimitStore) -> Acquire:
    """Counts a call against limits."""

    async def acquire(limits: str, key: str = "ada", **options: Any) -> Admission:
        return await store.acquire(parse_limits(limits), key, blocking=request.param, **options)

    return acquire


async def test_admits_so_many_and_then_refuses(acquire: Acquire) -> None:
    admissions = [await acquire("3/hour") for _ in range(5)]

    assert [a.admitted for a in admissions] == [True, True, True, False, False]
    assert [a.remaining["3 per 1 hour"] for a in admissions] == [2, 1, 0, 0, 0]
    assert {a.limit for a in admissions} == {"3 per 1 hour"}


async def test_the_window_moves(acquire: Acquire, traveller: time_machine.Traveller) -> None:
    assert (await acquire("2/minute")).admitted
    traveller.shift(40)
    assert (await acquire("2/minute")).admitted
    refused = await acquire("2/minute")

    assert not refused.admitted
    assert refused.retry_after == pytest.approx(20)
    traveller.shift(20.001)
    assert (await acquire("2/minute")).admitted
    assert (await acquire("2/minute")).retry_after == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize("key", ["", "a|b", "a b", "東京", "a\nb", "{a}", "*", "a" * 10_000])
async def test_a_key_of_any_text_has_a_window_of_its_own(acquire: Acquire, key: str) -> None:
    assert (await acquire("1/hour", key)).admitted
    assert (await acquire("1/hour", f"{key}'s")).admitted
    assert not (await acquire("1/hour", key)).admitted


async def test_of_several_limits_a_refusal_counts_for_none(acquire: Acquire) -> None:
    limits = "5/hour;2/minute"
    admissions = [await acquire(limits) for _ in range(4)]

    assert [a.admitted for a in admissions] == [True, True, False, False]
    assert admissions[0].limit == admissions[3].limit == "2 per 1 minute"
    assert admissions[3].remaining == {"5 per 1 hour": 3, "2 per 1 minute": 0}
    assert 59 < admissions[3].retry_after <= 60


async def test_a_call_may_count_more_than_once(acquire: Acquire) -> None:
    assert (await acquire("5/hour", cost=3)).remaining == {"5 per 1 hour": 2}
    assert not (await acquire("5/hour", cost=3)).admitted
    assert (await acquire("5/hour", cost=2)).admitted
    assert not (await acquire("5/hour", "bob", cost=6)).admitted


async def test_the_same_call_counts_once(acquire: Acquire) -> None:
    tries = [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3"), ("b", "2"), ("c", "1")]
    admissions = [await acquire("2/hour", once=once) for once in tries]

    assert [a.admitted for a in admissions] == [True, True, True, True, True, False]
    assert not (await acquire("2/hour", once=("c", "2"))).admitted


async def test_each_call_of_a_task_counts(acquire: Acquire) -> None:
    first = [await acquire("2/hour", once=("a", "1")) for _ in range(3)]
    again = [await acquire("2/hour", once=("a", "2")) for _ in range(3)]

    assert [a.admitted for a in first] == [True, True, False]
    assert [a.admitted for a in again] == [True, True, False]


async def test_calls_of_long_ago_are_forgotten(
    acquire: Acquire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_REMEMBERED", 2)

    tries = [(name, str(number)) for number, name in enumerate("abcca")]
    left = [(await acquire("9/hour", once=once)).remaining["9 per 1 hour"] for once in tries]

    assert left == [8, 7, 6, 6, 5]


async def test_calls_at_once_never_pass_the_limit(acquire: Acquire) -> None:
    admissions = await asyncio.gather(*(acquire("7/hour") for _ in range(40)))

    assert sum(a.admitted for a in admissions) == 7


def test_threads_at_once_never_pass_the_limit(url: str) -> None:
    store, items = LimitStore(url), parse_limits("7/hour")

    def admitted(_: int) -> bool:
        return bool(drive(store.acquire(items, "ada", blocking=True)).admitted)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(admitted, range(40))) == 7


def test_each_event_loop_has_connections_of_its_own(valkey_url: str) -> None:
    store, items = LimitStore(valkey_url), parse_limits("2/hour")

    async def admitted() -> bool:
        admission = await store.acquire(items, "ada", blocking=False)
        await disconnect(store)
        return bool(admission.admitted)

    assert [asyncio.run(admitted()) for _ in range(3)] == [True, True, False]


@pytest.mark.xfail(
    strict=True, reason="connections outlive their event loop, and nothing closes them"
)
def test_connections_are_closed_with_their_event_loop(valkey_url: str) -> None:
    store, items = LimitStore(valkey_url), parse_limits("2/hour")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(store.acquire(items, "ada", blocking=False))
        del store
        gc.collect()

    assert [str(warning.message) for warning in warned] == []


@pytest.mark.xfail(strict=True, reason="each worker remembers by itself what it has counted")
def test_workers_of_one_place_count_the_same_call_once(valkey_url: str) -> None:
    items = parse_limits("1/hour")
    admissions = [
        drive(LimitStore(valkey_url).acquire(items, "ada", blocking=True, once=("task", "1")))
        for _ in range(2)
    ]

    assert [a.admitted for a in admissions] == [True, True]


@pytest.mark.xfail(strict=True, reason="limits are tested first and counted after that")
def test_a_refusal_that_comes_between_counts_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    store, items = LimitStore(), parse_limits("5/hour;1/minute")
    drive(store.acquire(items, "ada", blocking=True))
    monkeypatch.setattr(RateLimiter, "test", lambda *_, **__: True)  # as if there were room yet
    monkeypatch.setattr(type(store._blocking), "test", RateLimiter.test)

    refused = drive(store.acquire(items, "ada", blocking=True))

    assert not refused.admitted
    assert refused.remaining == {"5 per 1 hour": 4, "1 per 1 minute": 0}


@given(
    amount=st.integers(1, 5),
    steps=st.lists(st.floats(0, 15) | st.sampled_from([0.0, 10.0, 10.001]), max_size=40),
)
def test_never_over_the_amount_in_any_window(amount: int, steps: list[float]) -> None:
    store, items = LimitStore(), parse_limits(f"{amount} per 10 seconds")
    admitted: list[float] = []

    with time_machine.travel(START, tick=False) as traveller:
        for step in steps:
            traveller.shift(step)
            now = time.time()
            in_window = [at for at in admitted if at > now - 10]
            admission = drive(store.acquire(items, "ada", blocking=True))
            assert not (admission.admitted and len(in_window) >= amount)
            assert admission.admitted or len([at for at in admitted if at >= now - 10]) >= amount
            admitted += [now] * admission.admitted


@pytest.mark.parametrize("strategy", ["fixed-window", "sliding-window-counter"])
async def test_other_strategies_refuse_too(url: str, strategy: Any) -> None:
    store, items = LimitStore(url, strategy=strategy), parse_limits("2/hour")

    for blocking in (True, False):
        key = str(blocking)
        calls = [await store.acquire(items, key, blocking=blocking) for _ in range(3)]
        assert [a.admitted for a in calls] == [True, True, False]
        assert 0 <= calls[2].retry_after <= 3600
    await disconnect(store)


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_place_that_is_down_is_unavailable(blocking: bool) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = LimitStore(f"valkey://ann:hunter2@127.0.0.1:{probe.getsockname()[1]}")

    with pytest.raises(StoreUnavailable, match=r"\(valkey\)") as raised:
        await store.acquire(parse_limits("1/hour"), "ada", blocking=blocking)
    assert "hunter2" not in str(raised.value)


async def test_a_place_that_is_silent_is_unavailable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = LimitStore(f"valkey://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable):
                await store.acquire(parse_limits("1/hour"), "ada", blocking=False)
        await disconnect(store)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="fixed-window, moving-window"):
        LimitStore(strategy="leaky")
    with pytest.raises(ConfigurationError, match=r"ftp://.*use memory://"):
        LimitStore("ftp://ann:hunter2@host")
