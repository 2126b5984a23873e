"""One message and its answer, from a real server over connections that are cut."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.schema import StreamPart
from tests.client.conftest import CuttingProxy
from tests.serving import free_port

from lg_prod_nodes import (
    CallRejected,
    CircuitBreaker,
    DeadlineExceeded,
    RateLimit,
    ServerUnavailable,
    ThreadBusy,
    connect,
    connect_sync,
    converse,
)

WORDS = 60
QUICK = " ".join(["0.02", "0", "0"] * (WORDS // 3))  # three in a millisecond
MODES: Any = {"stream_mode": ["custom", "values"]}
pytestmark = pytest.mark.filterwarnings("ignore:Request failed, attempting reconnect")


def numbers(parts: list[StreamPart]) -> list[int]:
    return [part.data["number"] for part in parts if part.event == "custom"]


async def runs_of(url: str, thread: str) -> list[Any]:
    async with get_client(url=url) as client:
        return await client.runs.list(thread)


async def read(client: Any, thread: str, text: str, **options: Any) -> list[StreamPart]:
    return [part async for part in converse(client, thread, text, **MODES, **options)]


async def test_every_event_comes_once_and_in_order_over_cut_streams(server_url: str) -> None:
    chance = random.Random(7)

    def cut(request: bytes) -> int | None:
        is_stream = b"/stream" in request.partition(b"\r\n")[0]
        return chance.randint(200, 5000) if is_stream else None

    proxy, thread = CuttingProxy(server_url, cut), str(uuid4())
    policies = [RateLimit("1000/second"), CircuitBreaker(minimum=1000)]
    async with proxy.listening() as url, connect(url, policies) as client:
        parts = await read(client, thread, QUICK)

    assert proxy.cuts > 1
    assert numbers(parts) == [*range(WORDS)]
    assert parts[-1].data["messages"][-1]["content"] == f"{WORDS} words"
    assert [run["status"] for run in await runs_of(server_url, thread)] == ["success"]
    assert sum(request.startswith("POST") for request in proxy.requests) == 1


async def test_a_synchronous_client_survives_them_too(server_url: str) -> None:
    cuts = [None, 900, 1800, None, None, None]
    proxy, thread = CuttingProxy(server_url, lambda _: cuts.pop(0) if cuts else None), str(uuid4())

    def read_all(url: str) -> list[StreamPart]:
        with connect_sync(url) as client:
            return [*converse(client, thread, QUICK, **MODES)]

    async with proxy.listening() as url:
        parts = await asyncio.to_thread(read_all, url)
    assert proxy.cuts == 2
    assert numbers(parts) == [*range(WORDS)]


@pytest.mark.parametrize("seen", [1, 300])
async def test_a_lost_answer_starts_no_second_run(server_url: str, seen: int) -> None:
    proxy = CuttingProxy(server_url, lambda request: seen if request.startswith(b"POST") else None)
    thread = str(uuid4())
    async with proxy.listening() as url, connect(url) as client:
        parts = await read(client, thread, QUICK)

    assert proxy.cuts == 1
    assert numbers(parts) == [*range(WORDS)]
    assert len(await runs_of(server_url, thread)) == 1


async def test_a_stream_that_is_cut_before_it_begins_is_joined_again(server_url: str) -> None:
    cuts = [None, 1, 20, None]
    proxy, thread = CuttingProxy(server_url, lambda _: cuts.pop(0) if cuts else None), str(uuid4())
    async with proxy.listening() as url, connect(url) as client:
        parts = await read(client, thread, QUICK)
    assert proxy.cuts == 2
    assert numbers(parts) == [*range(WORDS)]


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_run_that_takes_too_long_is_cancelled(server_url: str, blocking: bool) -> None:
    thread = str(uuid4())

    def read_all() -> None:
        with connect_sync(server_url) as client:
            [*converse(client, thread, "0.01 60", timeout=3.0, **MODES)]

    async def aread_all() -> None:
        async with connect(server_url) as client:
            await read(client, thread, "0.01 60", timeout=3.0)

    with pytest.raises(DeadlineExceeded):
        await (asyncio.to_thread(read_all) if blocking else aread_all())
    async with get_client(url=server_url) as client:
        [run] = await client.runs.list(thread)
        await client.runs.join(thread, run["run_id"])
        assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted"


async def test_a_busy_thread_and_a_bad_request_say_what_to_do(server_url: str) -> None:
    thread = str(uuid4())
    async with connect(server_url) as client:
        slow = converse(client, thread, "0.01 60", **MODES)
        await anext(slow)
        with pytest.raises(ThreadBusy, match="send the message again when it has ended"):
            await read(client, thread, "0", strategy="reject")
        assert numbers(await read(client, thread, "0", strategy="interrupt")) == [0]
        with pytest.raises(CallRejected, match="check the assistant") as rejected:
            await read(client, thread, "0", strategy="nonsense")
        await slow.aclose()  # type: ignore[attr-defined]
    assert rejected.value.policy == "server"


async def test_a_server_that_is_not_there() -> None:
    async with connect(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ServerUnavailable):
            await read(client, str(uuid4()), "0")
