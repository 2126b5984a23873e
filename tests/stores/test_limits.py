"""One contract on every place: in memory, on a real Valkey and a real Postgres, for callers of both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import pytest
from tests.programs.limits_at_once import admitted
from tests.stores.conftest import Later

from lg_prod_nodes import LimitStore
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.limits.store import STRATEGIES, Decision, Strategy, parse_limits

Acquire = Callable[..., Awaitable[Decision]]
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES, indirect=True)
WHOLE_WINDOWS = pytest.mark.parametrize(
    "strategy", ["fixed-window", "moving-window"], indirect=True
)


@pytest.fixture
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return getattr(request, "param", "moving-window")


@pytest.fixture(params=[True, False], ids=["sync", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def store(url: str, strategy: Strategy) -> Iterator[LimitStore]:
    with LimitStore(url, strategy=strategy, timeout=5.0) as store:
        yield store


@pytest.fixture
def acquire(store: LimitStore, blocking: bool) -> Acquire:
    """Counts a call against limits."""

    async def acquire(limits: str, who: str = "ada", **options: Any) -> Decision:
        return await store.acquire(parse_limits(limits), who, blocking=blocking, **options)

    return acquire


@pytest.fixture
def adjust(store: LimitStore, blocking: bool) -> Callable[..., Awaitable[Decision]]:
    """Corrects what a call was counted for."""

    async def adjust(limits: str, by: int, since: float) -> Decision:
        items = parse_limits(limits)
        return await store.adjust(items, "ada", by=by, since=since, blocking=blocking)

    return adjust


def left(decision: Decision) -> list[int]:
    return [window.remaining for window in decision.windows]


@EVERY_STRATEGY
async def test_admits_so_many_and_then_refuses(acquire: Acquire) -> None:
    decisions = [await acquire("3/hour") for _ in range(5)]

    assert [d.admitted for d in decisions] == [True, True, True, False, False]
    assert [left(d) for d in decisions] == [[2], [1], [0], [0], [0]]
    assert {d.tightest.limit.text for d in decisions} == {"3 per hour"}
    assert [d.tightest.wait > 0 for d in decisions] == [False, False, False, True, True]


async def test_a_moving_window_moves(acquire: Acquire, later: Later) -> None:
    assert (await acquire("2/minute")).admitted
    later(40)
    assert (await acquire("2/minute")).admitted
    refused = await acquire("2/minute")

    assert not refused.admitted
    assert refused.tightest.wait == refused.tightest.reset == pytest.approx(20, abs=0.5)
    later(20.001)
    assert (await acquire("2/minute")).admitted
    assert (await acquire("2/minute")).tightest.wait == pytest.approx(40, abs=0.5)


@pytest.mark.parametrize("strategy", ["fixed-window"], indirect=True)
async def test_a_fixed_window_ends_as_a_whole(acquire: Acquire, later: Later) -> None:
    first = await acquire("2/minute")
    later(40)
    await acquire("2/minute")
    refused = await acquire("2/minute")
    later(20.001)

    assert first.tightest.reset == pytest.approx(60, abs=0.5)
    assert refused.tightest.wait == pytest.approx(20, abs=0.5)
    assert [(await acquire("2/minute")).admitted for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("strategy", ["sliding-window-counter"], indirect=True)
async def test_a_sliding_window_weighs_the_one_before(acquire: Acquire, later: Later) -> None:
    for _ in range(10):
        assert (await acquire("10/minute")).admitted
    later(60)
    later(31)  # half of the window before is in sight
    halved = [(await acquire("10/minute")).admitted for _ in range(6)]
    refused = await acquire("10/minute")

    assert halved == [True] * 6
    assert left(refused) == [0]
    later(refused.tightest.wait + 0.002)
    assert (await acquire("10/minute")).admitted


@EVERY_STRATEGY
async def test_a_call_waits_long_enough_and_no_longer(acquire: Acquire, later: Later) -> None:
    await acquire("10/minute", cost=4)
    later(6)
    await acquire("10/minute", cost=6)
    refused = await acquire("10/minute", cost=3)

    later(refused.tightest.wait - 0.5)
    assert not (await acquire("10/minute", cost=3)).admitted
    later(0.502)
    assert (await acquire("10/minute", cost=3)).admitted


@EVERY_STRATEGY
@pytest.mark.parametrize("key", ["", "a|b", "a b", "東京", "a\nb", "{a}", "*", "\0", "a" * 10_000])
async def test_a_key_of_any_text_has_a_window_of_its_own(acquire: Acquire, key: str) -> None:
    assert (await acquire("1/hour", key)).admitted
    assert (await acquire("1/hour", f"{key}'s")).admitted
    assert not (await acquire("1/hour", key)).admitted


@EVERY_STRATEGY
async def test_of_several_limits_a_refusal_takes_from_none(acquire: Acquire) -> None:
    decisions = [await acquire("5/hour;2/minute") for _ in range(4)]

    assert [d.admitted for d in decisions] == [True, True, False, False]
    assert [left(d) for d in decisions] == [[4, 1], [3, 0], [3, 0], [3, 0]]
    assert decisions[0].tightest.limit.text == "2 per minute"
    assert decisions[3].tightest.limit.text == "2 per minute"
    assert 0 < decisions[3].tightest.wait <= 60


@EVERY_STRATEGY
async def test_a_call_may_count_more_than_once(acquire: Acquire) -> None:
    assert left(await acquire("5/hour", cost=3)) == [2]
    refused = await acquire("5/hour", cost=3)
    assert (refused.admitted, left(refused)) == (False, [2])
    assert (await acquire("5/hour", cost=2)).admitted


@EVERY_STRATEGY
async def test_a_call_that_counts_more_than_the_limit_never_passes(acquire: Acquire) -> None:
    refused = await acquire("5/hour", cost=6)

    assert (refused.admitted, refused.tightest.wait, left(refused)) == (False, inf, [5])


@EVERY_STRATEGY
async def test_a_charge_counts_once(acquire: Acquire) -> None:
    decisions = [await acquire("2/hour", once=charge) for charge in "aabacb"]

    assert [d.admitted for d in decisions] == [True, True, True, True, False, True]
    assert [left(d) for d in decisions] == [[1], [1], [0], [0], [0], [0]]


@WHOLE_WINDOWS
async def test_a_refused_charge_is_not_known(acquire: Acquire, later: Later) -> None:
    await acquire("1/minute", once="a")
    assert not (await acquire("1/minute", once="b")).admitted
    later(60.001)

    assert left(await acquire("1/minute", once="b")) == [0]
    assert not (await acquire("1/minute", once="c")).admitted


@pytest.mark.parametrize(
    ("limits", "remember", "seconds", "remaining"),
    [
        ("9 per 2 days", 60, 59, 8),
        ("9 per 2 days", 60, 61, 7),
        ("9/hour", None, 86_000, 9),
        ("9/hour", None, 86_500, 8),
        ("9 per 2 days", None, 172_000, 8),
        ("9 per 2 days", None, 173_000, 8),  # and counted anew, in an empty window
    ],
)
async def test_charges_are_known_for_a_day_or_the_longest_window(
    url: str, later: Later, limits: str, remember: float | None, seconds: float, remaining: int
) -> None:
    with LimitStore(url, remember=remember) as store:
        for wait in (0, seconds):
            later(wait)
            decision = await store.acquire(parse_limits(limits), "ada", blocking=True, once="a")

    assert left(decision) == [remaining]


@EVERY_STRATEGY
async def test_what_a_call_did_not_need_is_given_back(acquire: Acquire, adjust: Any) -> None:
    taken = await acquire("10/hour", cost=8)

    assert left(await adjust("10/hour", -5, taken.at)) == [7]
    assert (await acquire("10/hour", cost=7)).admitted
    assert not (await acquire("10/hour")).admitted


@EVERY_STRATEGY
async def test_what_a_call_needed_more_is_taken_beyond_the_limit(
    acquire: Acquire, adjust: Any
) -> None:
    taken = await acquire("10/hour;20/day", cost=8)

    assert left(await adjust("10/hour;20/day", 6, taken.at)) == [0, 6]
    assert not (await acquire("10/hour;20/day")).admitted


@EVERY_STRATEGY
async def test_never_more_is_given_back_than_is_there(acquire: Acquire, adjust: Any) -> None:
    taken = await acquire("10/hour", cost=4)

    assert left(await adjust("10/hour", -9, taken.at)) == [10]
    assert left(await acquire("10/hour")) == [9]


@EVERY_STRATEGY
async def test_nothing_is_given_back_to_a_later_window(
    acquire: Acquire, adjust: Any, later: Later, url: str
) -> None:
    taken = await acquire("10/minute", cost=8)
    later(180)
    await acquire("10/minute", cost=9)

    since = taken.at - 180 if "valkey" in url else taken.at  # whose clock cannot be moved
    assert left(await adjust("10/minute", -8, since)) == [1]


async def test_what_is_given_back_is_the_oldest(
    acquire: Acquire, adjust: Any, later: Later
) -> None:
    taken = await acquire("10/minute", cost=5)
    later(30)
    await acquire("10/minute", cost=4)
    await adjust("10/minute", -3, taken.at)
    later(30.001)

    assert left(await acquire("10/minute")) == [5]


@EVERY_STRATEGY
async def test_calls_at_once_never_pass_the_limit(acquire: Acquire) -> None:
    decisions = await asyncio.gather(*(acquire("7/hour;9/day") for _ in range(40)))

    assert sum(d.admitted for d in decisions) == 7
    assert left(await acquire("7/hour;9/day")) == [0, 2]


@EVERY_STRATEGY
def test_threads_at_once_never_pass_the_limit(store: LimitStore) -> None:
    items = parse_limits("7/hour")

    def admitted(_: int) -> bool:
        return bool(drive(store.acquire(items, "ada", blocking=True)).admitted)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(admitted, range(40))) == 7


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("server", ["valkey_url", "dsn"])
def test_processes_at_once_admit_exactly_the_limit(
    request: pytest.FixtureRequest, server: str, strategy: str
) -> None:
    url = request.getfixturevalue(server)

    assert admitted(url, strategy, "30/day;100/month", processes=8, calls=20) == 30


@pytest.mark.parametrize("server", ["valkey_url", "dsn"])
def test_processes_at_once_count_the_same_charges_once(
    request: pytest.FixtureRequest, server: str
) -> None:
    url = request.getfixturevalue(server)

    assert admitted(url, "moving-window", "20/day", processes=4, calls=20, once="task") == 80
    with LimitStore(url) as store:
        refused = drive(store.acquire(parse_limits("20/day"), "ada", blocking=True))
    assert (refused.admitted, left(refused)) == (False, [0])
