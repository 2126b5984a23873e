"""Windows in memory: decided as `limits` does, and forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from limits.storage import MemoryStorage
from limits.strategies import STRATEGIES as LIMITERS
from tests.stores.conftest import START

from lg_prod_nodes.stores.limits.memory import MemoryLimits
from lg_prod_nodes.stores.limits.store import STRATEGIES, Strategy, parse_limits

SECONDS = st.floats(0, 25) | st.sampled_from([0.0, 0.5, 5.0, 10.0, 10.001, 20.0])
CALLS = st.lists(
    st.tuples(SECONDS, st.sampled_from(["ada", "bob"]), st.integers(1, 4)), max_size=30
)


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


class Still(MemoryStorage):
    """`limits`' storage without its clean-up in a thread, which changes nothing but takes part in races."""

    def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802
        pass


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(start=st.floats(0, 60), amount=st.integers(1, 6), calls=CALLS)
def test_decides_as_limits_does(
    strategy: Strategy, start: float, amount: int, calls: list[tuple[float, str, int]]
) -> None:
    backend, items = MemoryLimits(strategy), parse_limits(f"{amount} per 10 seconds")
    limiter = LIMITERS[strategy](Still())

    with time_machine.travel(START + start, tick=False) as traveller:
        for seconds, who, cost in calls:
            traveller.shift(seconds)
            item = items[0].item
            # a refused call of ours takes nothing: `limits` counts it in a fixed window
            theirs = limiter.test(item, who, cost=cost) and limiter.hit(item, who, cost=cost)
            ours = backend.decide(items, who, cost)
            at_the_end = (
                -1e-5 if strategy == "moving-window" else 0
            )  # where its stats and hits differ
            traveller.shift(at_the_end)
            stats = limiter.get_window_stats(item, who)
            traveller.shift(-at_the_end)

            assert ours.admitted == theirs
            assert ours.windows[0].remaining == stats.remaining
            assert ours.windows[0].reset == pytest.approx(
                stats.reset_time - time.time(), abs=1e-3
            ) or (stats.remaining == amount)


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window"])
@given(calls=CALLS, amounts=st.tuples(st.integers(1, 6), st.integers(1, 9)))
def test_takes_from_all_limits_or_from_none(
    strategy: Strategy, calls: list[tuple[float, str, int]], amounts: tuple[int, int]
) -> None:
    backend = MemoryLimits(strategy)
    items = parse_limits("{} per 10 seconds;{} per minute".format(*amounts))
    with time_machine.travel(START, tick=False) as traveller:
        for seconds, who, cost in calls:
            traveller.shift(seconds)
            before = [window.remaining for window in backend.decide(items, who, 0).windows]
            decision = backend.decide(items, who, cost)
            taken = [b - w.remaining for b, w in zip(before, decision.windows, strict=True)]

            assert taken == ([cost] * 2 if decision.admitted else [0, 0])
            assert decision.admitted == all(cost <= room for room in before)


@given(
    amount=st.integers(1, 5),
    calls=st.lists(st.tuples(SECONDS, st.integers(1, 3), st.integers(-2, 2)), max_size=40),
)
def test_never_over_the_amount_in_any_window(
    amount: int, calls: list[tuple[float, int, int]]
) -> None:
    """Whatever a call turns out to have cost, as far as it was not more than asked for."""
    backend, items = MemoryLimits("moving-window"), parse_limits(f"{amount} per 10 seconds")
    spent: list[tuple[float, int]] = []

    with time_machine.travel(START, tick=False) as traveller:
        for seconds, cost, correction in calls:
            traveller.shift(seconds)
            decision = backend.decide(items, "ada", cost)
            if decision.admitted:
                actual = max(cost + min(correction, 0), 0)
                traveller.shift(seconds / 3)
                backend.decide(items, "ada", actual - cost, forced=True, since=decision.at)
                spent.append((decision.at, actual))
            now = time.time()
            assert sum(cost for at, cost in spent if at > now - 10) <= amount


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_waits_as_long_as_it_takes(strategy: Strategy, traveller: time_machine.Traveller) -> None:
    backend, items = MemoryLimits(strategy), parse_limits("10 per 10 seconds")
    for cost in (3, 4, 3, 1, 8, 2, 10, 10):
        decision = backend.decide(items, "ada", cost)
        if not decision.admitted:
            wait = decision.tightest.wait
            traveller.shift(wait - 0.01)
            assert not backend.decide(items, "ada", cost).admitted
            traveller.shift(0.011)
            assert backend.decide(items, "ada", cost).admitted
        traveller.shift(1.7)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_keys_that_are_idle_are_forgotten(
    strategy: Strategy, traveller: time_machine.Traveller
) -> None:
    backend, items = MemoryLimits(strategy), parse_limits("5/minute;9/hour")
    for number in range(1000):
        backend.decide(items, f"user {number}", once=f"{number}", remember=60)
    traveller.shift(2 * 3600)
    for _ in range(600):
        backend.decide(items, "ada", 1, once=f"ada {time.time()}", remember=60)
        traveller.shift(0.001)

    assert [len(keys) for keys in backend._windows.values()] == [1, 1]
    assert len(backend._charged) < 600


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_window_in_use_is_not_forgotten(
    strategy: Strategy, traveller: time_machine.Traveller
) -> None:
    backend, items = MemoryLimits(strategy), parse_limits("5/hour")
    backend.decide(items, "ada", 5)
    for number in range(50):
        backend.decide(items, f"user {number}")
        traveller.shift(1)

    assert not backend.decide(items, "ada").admitted
