"""Who waits for room, in which order, and for how long."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Any

import pytest
import time_machine

from lg_prod_nodes import LimitStore, RateLimit, RateLimitExceeded, Run
from lg_prod_nodes.core.call import Call

START = 1_800_000_000.0


def timed(clock: Any) -> Run:
    """A run on a clock of its own."""
    run = Run()
    run.clock = clock
    return run


class Timeline:
    """A clock for many tasks: time passes when all of them sleep, up to the next who wakes."""

    def __init__(self, traveller: time_machine.Traveller) -> None:
        self._traveller = traveller
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return START + self.seconds

    def sleep(self, seconds: float, bell: object = None) -> None:
        raise AssertionError("a task sleeps in its thread")

    async def asleep(self, seconds: float, bell: object = None) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._numbers), woken))
        await woken

    async def run(self, until: float) -> None:
        """Let time pass."""
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, woken = heapq.heappop(self._sleepers)
            self._move(at)
            if not woken.done():
                woken.set_result(None)
            await self._settle()
        self._move(until)

    def _move(self, at: float) -> None:
        self._traveller.shift(max(at - self.seconds, 0.0))
        self.seconds = max(at, self.seconds)

    async def _settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    with time_machine.travel(START, tick=False) as traveller:
        yield Timeline(traveller)


class Callers:
    """Calls at one limit, and when each of them passed or was refused."""

    def __init__(self, limit: RateLimit, clock: Any) -> None:
        self.limit, self.clock = limit, clock
        self.passed: list[tuple[str, float]] = []
        self.refused: list[tuple[str, float]] = []

    async def call(self, name: str, limit: RateLimit | None = None) -> None:
        call = Call(kind="run", name="desk", input=None, run=timed(self.clock))

        async def handler(call: Call) -> None:
            self.passed.append((name, round(self.clock.now(), 1)))

        try:
            await (limit or self.limit).wrap(call, handler)
        except RateLimitExceeded:
            self.refused.append((name, round(self.clock.now(), 1)))


def start(*calls: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(call) for call in calls]


async def test_who_came_first_goes_first(timeline: Timeline) -> None:
    callers = Callers(RateLimit("1/second", max_wait=60), timeline)
    tasks = []
    for name in "abcdef":
        tasks += start(callers.call(name))
        await timeline.run(timeline.seconds + 0.1)
    await timeline.run(20)
    await asyncio.gather(*tasks)

    assert [name for name, _ in callers.passed] == list("abcdef")
    assert [at for _, at in callers.passed] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


async def test_all_that_come_at_once_pass_as_soon_as_there_is_room(timeline: Timeline) -> None:
    callers = Callers(RateLimit("3/second", max_wait=60), timeline)
    tasks = start(*(callers.call(name) for name in "abcdefg"))
    await timeline.run(10)
    await asyncio.gather(*tasks)

    assert [name for name, _ in callers.passed] == list("abcdefg")
    assert [at for _, at in callers.passed] == [0.0] * 3 + [1.0] * 3 + [2.0]


async def test_a_newcomer_does_not_pass_those_who_wait(timeline: Timeline) -> None:
    limit = RateLimit("1/second", max_wait=60)
    callers = Callers(limit, timeline)
    tasks = start(*(callers.call(name) for name in "abc"))
    await timeline.run(1.0005)  # there is room again, and b has not woken yet
    tasks += start(callers.call("late"))
    await timeline.run(10)
    await asyncio.gather(*tasks)

    assert [name for name, _ in callers.passed] == ["a", "b", "c", "late"]


async def test_a_newcomer_that_cannot_wait_is_refused_while_others_do(timeline: Timeline) -> None:
    limit = RateLimit("1/second", max_wait=60)
    impatient = RateLimit("1/second", store=limit.store_in_use)
    callers = Callers(limit, timeline)
    tasks = start(*(callers.call(name) for name in "ab"))
    await timeline.run(1.0005)
    await callers.call("late", impatient)
    await timeline.run(10)
    await asyncio.gather(*tasks)

    assert [name for name, _ in callers.refused] == ["late"]
    assert [name for name, _ in callers.passed] == ["a", "b"]


async def test_keys_do_not_wait_for_each_other(timeline: Timeline) -> None:
    store = LimitStore()
    limits = {
        who: RateLimit("1/second", max_wait=60, by=lambda _, who=who: who, store=store)
        for who in ("ada", "bob")
    }
    callers = Callers(limits["ada"], timeline)
    tasks = start(*(callers.call(who, limits[who]) for who in ("ada", "ada", "bob")))
    await timeline.run(5)
    await asyncio.gather(*tasks)

    assert callers.passed == [("ada", 0.0), ("bob", 0.0), ("ada", 1.0)]


async def test_waits_no_longer_than_it_may(timeline: Timeline) -> None:
    callers = Callers(RateLimit("1 per 10 seconds", max_wait=15), timeline)
    tasks = start(*(callers.call(name) for name in "abc"))
    await timeline.run(60)
    await asyncio.gather(*tasks)

    assert callers.passed == [("a", 0.0), ("b", 10.0)]
    assert callers.refused == [("c", 10.0)]


async def test_who_gives_up_makes_room_for_the_next(timeline: Timeline) -> None:
    callers = Callers(RateLimit("1 per 10 seconds", max_wait=60), timeline)
    tasks = start(*(callers.call(name) for name in "abc"))
    await timeline.run(5)
    tasks[1].cancel()
    await timeline.run(60)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert callers.passed == [("a", 0.0), ("c", 10.0)]
    assert callers.limit.store_in_use._lines._lines == {}
