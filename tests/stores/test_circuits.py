"""When a circuit opens and closes, and that all who share its store see the same."""

from __future__ import annotations

import heapq
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes import CircuitStore, ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.circuits import memory
from lg_prod_nodes.stores.circuits.circuit import Circuit, CircuitRules, Verdict, enter, leave

RULES = CircuitRules(ratio=0.5, minimum=4, window=10.0, open_for=30.0, probes=2)
SERVES, FAILS, LIMITS = "ok", "failed", "limited"


def tell(circuit: Circuit, result: Any, now: float = 0.0, **options: Any) -> Circuit:
    """A call that comes and ends at once."""
    circuit, entry = enter(circuit, RULES, now, patience=1e9)
    return leave(circuit, RULES, now, entry, result, **options)


def told(*results: Any, now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for result in results:
        circuit = tell(circuit, result, now)
    return circuit


def test_opens_at_its_share_of_failures_among_enough_calls() -> None:
    assert told(FAILS, FAILS, FAILS).open_until is None
    assert told(FAILS, SERVES, SERVES, FAILS).open_until == 30.0
    assert told(FAILS, SERVES, SERVES, SERVES, FAILS).open_until is None


def test_what_failed_long_ago_does_not_count() -> None:
    circuit = told(FAILS, FAILS, FAILS)
    assert tell(circuit, FAILS, now=10.0).open_until is None
    assert tell(circuit, SERVES, now=10.0) == Circuit()


def test_nothing_changes_while_all_is_well() -> None:
    assert told(SERVES, SERVES, SERVES) == Circuit()


def opened() -> Circuit:
    return told(FAILS, FAILS, FAILS, FAILS)


def entries(circuit: Circuit, now: float, number: int) -> tuple[Circuit, list[Verdict]]:
    seen = []
    for _ in range(number):
        circuit, entry = enter(circuit, RULES, now, patience=0.0)
        seen.append(entry)
    return circuit, seen


def test_an_open_circuit_lets_a_round_of_probes_through_and_then_the_next() -> None:
    circuit, early = entries(opened(), 29.0, 3)
    assert [(e.admitted, e.wait) for e in early] == [(False, 1.0)] * 3
    circuit, first = entries(circuit, 30.0, 4)
    assert [e.admitted for e in first] == [True, True, False, False]
    assert first[2].wait == 30.0
    _, second = entries(circuit, 60.0, 4)  # the first ones never came back
    assert [e.admitted for e in second] == [True, True, False, False]


def test_a_probe_that_is_served_closes_it_and_one_that_fails_opens_it_anew() -> None:
    assert tell(opened(), SERVES, now=30.0).open_until is None
    assert tell(opened(), FAILS, now=30.0).open_until == 60.0
    assert tell(opened(), LIMITS, now=30.0).open_until is None


def test_a_call_from_before_it_opened_says_nothing() -> None:
    _, entry = enter(Circuit(), RULES, 0.0, patience=0.0)
    for result in (SERVES, FAILS, LIMITS):
        assert leave(opened(), RULES, 1.0, entry, result) == opened()  # type: ignore[arg-type]


def test_a_limit_makes_everybody_wait_as_long_as_the_provider_asks() -> None:
    circuit = tell(Circuit(), LIMITS, now=0.0, retry_after=7.0)
    assert circuit.open_until is None
    _, patient = enter(circuit, RULES, 1.0, patience=6.0)
    _, hasty = enter(circuit, RULES, 1.0, patience=5.0)
    assert (patient.admitted, patient.wait) == (True, 6.0)
    assert (hasty.admitted, hasty.wait, hasty.is_open) == (False, 6.0, False)


def test_turns_keep_the_pace_and_who_waited_for_his_starts() -> None:
    circuit = tell(Circuit(), LIMITS)
    circuit, first = enter(circuit, RULES, 0.0, patience=9.0)
    circuit, second = enter(circuit, RULES, 0.0, patience=9.0)
    assert (first.wait, second.wait) == (0.0, 0.05)
    _, again = enter(circuit, RULES, 0.05, patience=0.0, waited=second)
    assert (again.admitted, again.wait) == (True, 0.0)
    circuit = tell(circuit, LIMITS, now=0.5, retry_after=3.0)
    _, later = enter(circuit, RULES, 1.0, patience=9.0, waited=second)
    assert later.wait == pytest.approx(2.5)


def test_refusals_of_one_pace_lower_it_once() -> None:
    circuit = tell(tell(Circuit(), LIMITS), SERVES)
    assert circuit.pace == pytest.approx(21.0)
    _, entry = enter(circuit, RULES, 0.0, patience=9.0)
    lower = leave(circuit, RULES, 0.0, entry, LIMITS)  # type: ignore[arg-type]
    assert lower.pace == pytest.approx(18.9)
    assert tell(lower, LIMITS, now=1.0).pace == pytest.approx(9.45)  # nobody was served at that
    assert leave(lower, RULES, 0.0, entry, LIMITS).pace == lower.pace  # type: ignore[arg-type]


def test_a_limit_that_is_gone_is_forgotten() -> None:
    circuit = tell(tell(Circuit(), LIMITS), SERVES, now=1.0)
    assert circuit.pace == pytest.approx(21.0)
    assert tell(circuit, SERVES, now=100.0).pace is None


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 20.0),
        st.sampled_from([SERVES, FAILS, LIMITS]),
        st.floats(0, 5),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_while_open_never_more_probes_pass_than_a_round_has(steps: Any) -> None:
    circuit, now, passed, began = Circuit(), 0.0, 0, 0.0
    for later, result, retry_after, comes_back in steps:
        now += later
        was_open = circuit.open_until is not None
        circuit, entry = enter(circuit, RULES, now, patience=3.0)
        assert entry.is_open == was_open
        if was_open and entry.admitted:
            passed, began = (1, now) if now - began >= RULES.open_for else (passed + 1, began)
            assert passed <= RULES.probes
        assert not entry.admitted or entry.wait <= 3.0
        assert entry.admitted or entry.wait > 0
        if entry.admitted and comes_back:
            circuit = leave(circuit, RULES, now, entry, result, retry_after=retry_after)
        assert Circuit.of(str(circuit)) == circuit
        assert circuit.pace is None or circuit.pace > 0


class Quota:
    """A provider that serves so many calls in each window, and says when the next one begins."""

    def __init__(self, quota: int, seconds: float) -> None:
        self.quota, self.seconds, self.served = quota, seconds, 0
        self._window, self._left = -1.0, 0

    def ask(self, now: float) -> float | None:
        if now // self.seconds != self._window:
            self._window, self._left = now // self.seconds, self.quota
        if self._left == 0:
            return (self._window + 1) * self.seconds - now
        self._left -= 1
        self.served += 1
        return None


class Bucket(Quota):
    """A provider whose quota comes back drop by drop."""

    _drops, _at = 1.0, 0.0

    def ask(self, now: float) -> float | None:
        rate = self.quota / self.seconds
        self._drops, self._at = min(self._drops + (now - self._at) * rate, 1 + rate / 10), now
        if self._drops < 1:
            return (1 - self._drops) / rate
        self._drops -= 1
        self.served += 1
        return None


def served_share(provider: Quota, *, load: float, seconds: float) -> tuple[float, float]:
    """Which share of its quota a provider serves, and of its calls it refuses, under so many times the quota."""
    draw, circuit, now, asked = random.Random(7), Circuit(), 0.0, 0
    events: list[tuple[float, int, float | None, Verdict | None, bool]] = []
    rate = load * provider.quota / provider.seconds
    while now < seconds:
        now += draw.expovariate(rate)
        events.append((now, len(events), None, None, False))
    heapq.heapify(events)
    while events and events[0][0] < seconds:
        now, number, waited, entry, ends = heapq.heappop(events)
        if ends and entry is not None:
            circuit = leave(
                circuit, RULES, now, entry, "limited" if waited else "ok", retry_after=waited
            )
            continue
        circuit, entry = enter(circuit, RULES, now, patience=5.0 - (waited or 0.0), waited=entry)
        if entry.admitted and entry.wait > 1e-9:
            heapq.heappush(events, (entry.turn, number, (waited or 0) + entry.wait, entry, False))
        elif entry.admitted:
            asked += 1
            heapq.heappush(events, (now + 0.3, number, provider.ask(now), entry, True))
    return provider.served / (
        provider.quota / provider.seconds * seconds
    ), 1 - provider.served / asked


@pytest.mark.parametrize("load", [1.5, 4.0])
@pytest.mark.parametrize(
    "provider",
    [
        lambda: Quota(10, 1.0),
        lambda: Quota(60, 60.0),
        lambda: Quota(600, 60.0),
        lambda: Bucket(10, 1.0),
        lambda: Bucket(100, 1.0),
    ],
    ids=["10/s", "60/min", "600/min", "10/s in drops", "100/s in drops"],
)
def test_under_too_much_load_nine_tenths_of_a_quota_are_served(provider: Any, load: float) -> None:
    share, refused = served_share(provider(), load=load, seconds=120.0)
    assert share >= 0.9
    assert refused <= 0.1


def urls(request: pytest.FixtureRequest) -> str:
    named = {"memory": "memory://", "postgres": "dsn", "valkey": "valkey_url"}[request.param]
    return named if named.endswith("//") else request.getfixturevalue(named)


@pytest.fixture(params=["memory", "postgres", "valkey"])
def url(request: pytest.FixtureRequest) -> str:
    return urls(request)


def change(store: CircuitStore, step: Any) -> Any:
    coroutine = store.change("m", step, blocking=True)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def test_in_memory_the_oldest_of_too_many_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST", 2)
    store = CircuitStore()
    for name in ("a", "b", "a", "c"):
        drive(store.change(name, lambda at: (Circuit(calls=at.calls + 1), None), blocking=True))
    counted = [
        drive(store.change(name, lambda at: (at, at.calls), blocking=True))
        for name in ("a", "b", "c")
    ]
    assert counted == [2, 0, 1]


def test_changes_by_many_at_once_are_all_stored(url: str) -> None:
    stores = [CircuitStore(url)] if url == "memory://" else [CircuitStore(url) for _ in range(3)]
    barrier = threading.Barrier(6)

    def add(at: Circuit) -> tuple[Circuit, int]:
        return Circuit(calls=at.calls + 1), at.calls

    def work(number: int) -> list[int]:
        barrier.wait()
        return [change(stores[number % len(stores)], add) for _ in range(10)]

    with ThreadPoolExecutor(6) as pool:
        seen = [count for counts in pool.map(work, range(6)) for count in counts]
    assert sorted(seen) == list(range(60))
    for store in stores:
        store.close()


def test_a_change_that_comes_between_is_not_lost(url: str) -> None:
    mine = CircuitStore(url)
    other = mine if url == "memory://" else CircuitStore(url)
    seen: list[int] = []

    def add(at: Circuit) -> tuple[Circuit, None]:
        seen.append(at.calls)
        if len(seen) == 1:
            change(other, lambda at: (Circuit(calls=at.calls + 10), None))
        return Circuit(calls=at.calls + 1), None

    for _ in range(2):  # where nothing was kept yet, and where something was
        seen.clear()
        change(mine, add)
    assert change(mine, lambda at: (at, at.calls)) == 22
    for store in (mine, other):
        store.close()


def test_of_all_who_come_at_once_only_a_round_s_probes_pass(url: str) -> None:
    stores = [CircuitStore(url)] if url == "memory://" else [CircuitStore(url) for _ in range(4)]
    change(stores[0], lambda at: (opened(), None))
    barrier = threading.Barrier(8)

    def come(number: int) -> bool:
        store = stores[number % len(stores)]
        barrier.wait()
        entry: Verdict = change(store, lambda at: enter(at, RULES, 30.0, patience=0.0))
        return entry.admitted

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(come, range(8))) == RULES.probes
    for store in stores:
        store.close()


async def test_an_asynchronous_caller_shares_it(url: str) -> None:
    store = CircuitStore(url)
    await store.change("m", lambda at: (Circuit(calls=7), None), blocking=False)
    assert await store.change("m", lambda at: (at, at.calls), blocking=False) == 7
    store.close()


@pytest.mark.parametrize("scheme", ["postgresql", "valkey"])
def test_a_store_that_is_away_is_unavailable(scheme: str) -> None:
    store = CircuitStore(f"{scheme}://127.0.0.1:1/0", timeout=0.2)
    with pytest.raises(StoreUnavailable):
        change(store, lambda at: (at, None))
    store.close()


@pytest.mark.parametrize("given", ["mysql://x", "nowhere", 7])
def test_a_backend_that_is_not_known_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        CircuitStore(given)
    with pytest.raises(ConfigurationError, match="timeout is 0"):
        CircuitStore(timeout=0)


def test_in_postgres_circuits_that_nobody_changed_for_a_day_are_forgotten(dsn: str) -> None:
    store = CircuitStore(dsn)
    for name in ("idle", "busy"):
        drive(store.change(name, lambda at: (tell(at, FAILS), None), blocking=True))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE lg_prod_nodes_circuits SET at = now() - interval '25 hours' WHERE name = 'idle'"
        )
    drive(store.change("new", lambda at: (tell(at, FAILS), None), blocking=True))
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT name FROM lg_prod_nodes_circuits ORDER BY name")
        assert [name for (name,) in rows] == ["busy", "new"]
    store.close()
