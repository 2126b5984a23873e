"""A bounded log, its slow readers and those that come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lg_prod_nodes import EventsExpired
from lg_prod_nodes.service.web.event_log import EventLog


async def until_idle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def written(log: EventLog[str], text: str) -> None:
    for letter in text:
        await log.append(letter)
    log.close()


async def read(log: EventLog[str], after: int = 0) -> list[Any]:
    return [event async for event in log.read(log.enter(after))]


async def test_every_reader_gets_each_event_once_and_in_order() -> None:
    log = EventLog[str](2)
    reading = [asyncio.create_task(read(log)) for _ in range(3)]
    await until_idle()
    await written(log, "abcdef")

    whole = [*enumerate("abcdef", start=1)]
    assert await asyncio.gather(*reading) == [whole] * 3
    assert await read(log, 4) == whole[4:]


async def test_a_writer_waits_for_a_slow_reader_and_not_for_one_that_left() -> None:
    log = EventLog[str](2)
    reader = log.enter(0)
    slow = log.read(reader)
    writer = asyncio.create_task(written(log, "abcd"))
    assert await anext(slow) == (1, "a")
    await until_idle()
    assert not writer.done()
    assert await anext(slow) == (2, "b")
    await slow.aclose()
    log.leave(reader)
    await writer
    assert log.last == 4


async def test_a_reader_of_dropped_events_is_refused() -> None:
    log = EventLog[str](2)
    await written(log, "abcd")
    with pytest.raises(EventsExpired, match="after number 1 of this run are no longer kept"):
        await read(log, 1)
    assert not log.has_all
