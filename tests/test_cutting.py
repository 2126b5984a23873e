"""Giving up waiting: whose cancellation it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.policies.test_deadline import Clock

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.core.timeouts import Cut, cut_off


def timed(clock: Any) -> Run:
    """A run on a clock of its own."""
    run = Run()
    run.clock = clock
    return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(clock: Clock, handler: Any, *, outer: float | None = None) -> asyncio.Task[Any]:
    call = Call(kind="node", name="node", input=None, run=timed(clock))

    async def inside(call: Call) -> Any:
        return await cut_off(5.0, call, handler)

    if outer is None:
        return asyncio.ensure_future(inside(call))
    return asyncio.ensure_future(cut_off(outer, call, inside))


async def endless(call: Call) -> Any:
    await asyncio.Event().wait()


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_its_own_cancellation_is_taken_back(clock: Clock) -> None:
    task = begin(clock, endless)
    await ticks()
    clock.advance(5.0)
    with pytest.raises(Cut):
        await task
    assert task.cancelling() == 0


async def test_the_caller_s_cancellation_wins(clock: Clock) -> None:
    task = begin(clock, endless)
    await ticks()
    clock.advance(5.0)
    await asyncio.sleep(0)  # the watch wakes up
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_that_are_over_at_once_each_takes_its_own_back(clock: Clock) -> None:
    task = begin(clock, endless, outer=5.0)
    await ticks()
    clock.advance(5.0)
    with pytest.raises(Cut):
        await task
    assert task.cancelling() == 0


async def test_what_ends_in_time_leaves_nothing_behind(clock: Clock) -> None:
    async def ends(call: Call) -> str:
        await asyncio.sleep(0)
        return "ended"

    before = asyncio.all_tasks()
    task = begin(clock, ends)
    assert await task == "ended"
    await ticks()
    assert asyncio.all_tasks() == before
