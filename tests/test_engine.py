"""One coroutine for synchronous and asynchronous callers, for results and for streams."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from lg_prod_nodes import ConfigurationError
from lg_prod_nodes.core.engine import Chunk, Flow, act, drive, drive_astream, drive_stream

LABEL = ContextVar("label", default="none")


async def numbers() -> str:
    for number in range(3):
        await Chunk(number)
    return "done"


def test_a_synchronous_caller_needs_no_event_loop() -> None:
    async def outer(call: Any, handler: Any) -> Any:
        return ["outer", *await handler(call)]

    async def inner(call: Any, handler: Any) -> Any:
        return ["inner", *await handler(call)]

    async def handler(call: Any) -> Any:
        return [call]

    chain: Any = act([outer, inner], "call", handler)  # type: ignore[arg-type, list-item]
    assert drive(chain) == ["outer", "inner", "call"]


async def test_a_synchronous_caller_may_stand_inside_of_a_running_loop() -> None:
    async def handler() -> str:
        return "ok"

    assert drive(handler()) == "ok"


def test_awaiting_what_needs_a_loop_is_refused_with_advice() -> None:
    async def impatient() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ConfigurationError, match=r"call\.run_blocking"):
        drive(impatient())
    with pytest.raises(ConfigurationError, match=r"call\.run_blocking"):
        list(drive_stream(impatient))


def test_chunks_leave_through_the_policies() -> None:
    assert list(drive_stream(numbers)) == [0, 1, 2]


async def test_chunks_leave_through_policies_that_await_the_loop() -> None:
    async def slow() -> None:
        await asyncio.sleep(0)
        await numbers()
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        await Chunk("last")

    assert [chunk async for chunk in drive_astream(slow)] == [0, 1, 2, "last"]


def watched(ends: list[str]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def chain() -> None:
        try:
            await numbers()
        except BaseException as error:
            ends.append(type(error).__name__)
            raise
        finally:
            ends.append("cleaned up")

    return chain


def test_a_reader_that_stops_ends_the_chain() -> None:
    ends: list[str] = []
    stream = drive_stream(watched(ends))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ends == ["GeneratorExit", "cleaned up"]


def test_a_stream_that_is_forgotten_ends_the_chain() -> None:
    ends: list[str] = []
    next(drive_stream(watched(ends)))
    gc.collect()
    assert ends == ["GeneratorExit", "cleaned up"]


async def test_an_asynchronous_reader_that_stops_lets_the_chain_await_its_clean_up() -> None:
    ends: list[str] = []

    async def chain() -> None:
        try:
            await numbers()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ends.append("waited")
            raise

    stream = drive_astream(chain)
    await anext(stream)
    await stream.aclose()
    assert ends == ["waited"]


async def test_a_cancelled_reader_cancels_the_chain() -> None:
    ends: list[str] = []

    async def chain() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def read() -> None:
        async for _ in drive_astream(chain):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["cancelled"]


@pytest.mark.parametrize("flows", [True, False])
async def test_a_chain_in_a_cancelled_scope_is_cancelled_once(flows: bool) -> None:
    """anyio cancels a task at each of its awaits."""
    ends: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0)
            ends.append("cleaned up")
            raise

    async def items() -> AsyncIterator[int]:
        await cleans_up()
        yield 1

    async def chain() -> None:
        await (Flow(items()) if flows else cleans_up())

    async def read() -> None:
        async for _ in drive_astream(chain):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        group.cancel_scope.cancel()
    assert ends == ["cleaned up"]


@pytest.mark.parametrize("flows", [True, False])
async def test_a_chain_whose_own_timeout_has_passed_can_still_be_cancelled(flows: bool) -> None:
    ends: list[str] = []
    timed_out = asyncio.Event()

    async def goes_on() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        ends.append("timed out")
        timed_out.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        ends.append("cancelled")

    async def items() -> AsyncIterator[int]:
        await goes_on()
        yield 1

    async def chain() -> None:
        await (Flow(items()) if flows else goes_on())

    async def read() -> None:
        async for _ in drive_astream(chain):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await timed_out.wait()
        group.cancel_scope.cancel()
    assert ends == ["timed out", "cancelled"]


async def test_timeouts_inside_of_the_chain_work() -> None:
    async def chain() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        await Chunk("after")

    assert [chunk async for chunk in drive_astream(chain)] == ["after"]


def test_what_a_policy_binds_does_not_leak_to_the_reader() -> None:
    async def binding() -> None:
        token = LABEL.set("bound")
        await Chunk(LABEL.get())
        await Chunk(LABEL.get())
        LABEL.reset(token)

    stream = drive_stream(binding)
    assert [(next(stream), LABEL.get()), (next(stream), LABEL.get())] == [("bound", "none")] * 2


async def test_what_a_policy_binds_does_not_leak_to_an_asynchronous_reader() -> None:
    async def binding() -> None:
        LABEL.set("bound")
        await Chunk(LABEL.get())
        await Chunk(await asyncio.create_task(read()))

    async def read() -> str:
        return LABEL.get()

    async for chunk in drive_astream(binding):
        assert (chunk, LABEL.get()) == ("bound", "none")
