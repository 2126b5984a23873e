"""Runs as server-sent events, over a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from starlette.requests import Request
from starlette.responses import Response
from tests.conftest import FakeClock
from tests.web.conftest import Desk, Endpoint, Received, all_events, events, served

from lg_prod_nodes import (
    Bulkhead,
    ConfigurationError,
    RateLimit,
    Redact,
    Run,
    RunStreams,
    harden,
)

MODES: Any = {"stream_mode": ["custom", "values"]}
KEY = {"idempotency-key": "a"}
Graph = Any


def hardened(desk: Desk, *policies: Any) -> Graph:
    builder = harden(desk.builder, policies or [Redact()])
    return builder.compile(checkpointer=InMemorySaver())


def endpoint(graph: Graph, streams: RunStreams, **options: Any) -> Endpoint:
    async def stream(request: Request) -> Response:
        config = {"configurable": {"thread_id": request.path_params["thread"]}}
        question = {"messages": [("user", "hi, I am ada@example.com")]}
        return await streams.respond(request, graph, question, config, **{**MODES, **options})

    return stream


def custom(received: list[Received]) -> list[int]:
    return [event.data for event in received if event.event == "custom"]


def texts(data: Any) -> list[str]:
    return [message["content"] for message in data["messages"]]


async def test_streams_each_event_once_with_the_limits(desk: Desk) -> None:
    desk.open()
    graph = hardened(desk, RateLimit("1/hour"), Redact())
    async with served(endpoint(graph, RunStreams())) as client:
        async with client.stream("POST", "/1") as response:
            received = await all_events(response)
        refused = await client.post("/1")

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["ratelimit"].startswith('"RateLimit";r=0')
    assert custom(received) == [0, 1, 2]
    assert texts(received[-2].data) == ["hi, I am [EMAIL_ADDRESS]", "spoken", "answer"]
    assert received[-1].event == "end"
    assert len({event.id for event in received}) == len(received)
    assert refused.status_code == 429  # not a stream that says 200
    assert refused.json()["code"] == "rate-limit-exceeded"


async def test_names_events_of_subgraphs_by_their_namespace(desk: Desk) -> None:
    desk.open()
    outer = harden(
        type(desk.builder)(desk.builder.state_schema)
        .add_node("inner", desk.builder.compile())
        .add_edge("__start__", "inner"),
        [Redact()],
    ).compile()
    async with (
        served(endpoint(outer, RunStreams(), subgraphs=True)) as client,
        client.stream("POST", "/1") as response,
    ):
        names = [event.event for event in await all_events(response)]
    assert any(name.startswith("custom|inner:") for name in names)


async def test_a_client_that_leaves_stops_the_run(desk: Desk) -> None:
    desk.open(1)
    graph = hardened(desk, Bulkhead(1))
    async with served(endpoint(graph, RunStreams(linger=0))) as client:
        async with client.stream("POST", "/1") as response:
            assert (await anext(events(response))).event == "values"
        await desk.ended.wait()
        assert desk.log == ["begins", "cancelled"]
        desk.open()
        assert (await client.post("/2")).status_code == 200  # the slot is free


async def test_a_client_that_leaves_before_the_first_event_stops_the_run(desk: Desk) -> None:
    stream = endpoint(hardened(desk), RunStreams(linger=0), stream_mode="custom")
    async with served(stream) as client:
        asking = asyncio.create_task(client.post("/1"))
        await desk.began.wait()
        asking.cancel()
        await desk.ended.wait()
    assert desk.log == ["begins", "cancelled"]


async def test_a_client_that_comes_back_gets_what_it_missed(desk: Desk) -> None:
    desk.open(1)
    async with served(endpoint(hardened(desk), RunStreams())) as client:
        received: list[Received] = []
        async with client.stream("POST", "/1") as response:
            async for event in events(response):
                received.append(event)
                if event.event == "custom":
                    break
        desk.open()
        await desk.ended.wait()
        last = {"last-event-id": received[-1].id}
        async with client.stream("POST", "/1", headers=last) as response:
            received += await all_events(response)
        async with client.stream("GET", "/1", headers=last) as response:  # and again
            again = await all_events(response)
        stranger = await client.get("/2", headers=last)

    numbers = [int(event.id.rpartition("-")[2]) for event in received]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert custom(received) == [0, 1, 2]
    assert received[-1].event == "end"
    assert custom(again) == [1, 2]
    assert desk.log == ["begins"]
    assert (stranger.status_code, stranger.json()["code"]) == (410, "events-expired")


async def test_events_of_ended_runs_are_kept_for_a_time(desk: Desk, clock: FakeClock) -> None:
    desk.open()
    streams = RunStreams(keep=60.0, clock=clock)
    async with served(endpoint(hardened(desk), streams)) as client:
        async with client.stream("POST", "/1") as response:
            last = {"last-event-id": (await all_events(response))[0].id}
        clock.advance(59.0)
        assert (await client.get("/1", headers=last)).status_code == 200
        clock.advance(2.0)
        assert (await client.get("/1", headers=last)).status_code == 410
    assert desk.log == ["begins"]


async def test_a_departed_client_has_time_to_come_back(desk: Desk) -> None:
    class Patience(FakeClock):
        """A clock whose waits end when the test says so."""

        def __init__(self) -> None:
            super().__init__()
            self.waits, self.is_over = asyncio.Event(), asyncio.Event()

        async def asleep(self, seconds: float, bell: object = None) -> None:
            self.slept.append(seconds)
            self.waits.set()
            await self.is_over.wait()

    clock = Patience()
    desk.open(1)
    async with served(endpoint(hardened(desk), RunStreams(linger=7.0, clock=clock))) as client:
        for _ in range(2):
            async with client.stream("POST", "/1", headers=KEY) as response:
                await anext(events(response))
            await clock.waits.wait()
            clock.waits.clear()
        assert (clock.slept, desk.log) == ([7.0, 7.0], ["begins"])
        clock.is_over.set()
        await desk.ended.wait()
    assert desk.log == ["begins", "cancelled"]


async def test_a_repeated_request_joins_the_run_and_then_gets_its_result(desk: Desk) -> None:
    desk.open(1)
    graph = hardened(desk)
    async with served(endpoint(graph, RunStreams(keep=0))) as client:
        async with (
            client.stream("POST", "/1", headers=KEY) as one,
            client.stream("POST", "/1", headers=KEY) as other,
        ):
            desk.open()
            received = [await all_events(one), await all_events(other)]
        async with client.stream("POST", "/1", headers=KEY) as response:
            after = await all_events(response)
        newer = await client.post("/1", headers={"idempotency-key": "b"})
        async with client.stream("POST", "/1", headers=KEY) as response:
            later = await all_events(response)

    assert received[0] == received[1]
    assert custom(received[0]) == [0, 1, 2]
    assert newer.status_code == 200
    assert desk.log == ["begins", "begins"]  # the second one is the newer request's
    for replayed in (after, later):
        assert [event.event for event in replayed] == ["values", "end"]
        assert texts(replayed[0].data)[1:] == ["spoken", "answer"]


async def test_a_drain_is_no_error_and_the_repeated_request_continues_the_run(desk: Desk) -> None:
    graph, run = hardened(desk), Run()
    desk.open(1)
    async with (
        served(endpoint(graph, RunStreams(), control=run)) as client,
        client.stream("POST", "/1", headers=KEY) as response,
    ):
        stream = events(response)
        assert [(await anext(stream)).event for _ in range(2)] == ["values", "custom"]
        run.request_drain()
        desk.open()
        received = [event async for event in stream]
    async with (
        served(endpoint(graph, RunStreams())) as client,  # another process
        client.stream("POST", "/1", headers={**KEY, "last-event-id": received[-1].id}) as response,
    ):
        resumed = await all_events(response)

    assert received[-1].event == "drained"
    assert received[-1].data["code"] == "run-drained"
    assert resumed[-1].event == "end"
    assert texts(resumed[-2].data) == ["hi, I am [EMAIL_ADDRESS]", "spoken", "answer"]
    assert desk.log == ["begins"]


async def test_an_error_after_the_first_event_is_an_event_without_content(desk: Desk) -> None:
    def fails(state: Any) -> Any:
        raise ValueError("ada@example.com")

    desk.answer = fails  # type: ignore[method-assign]
    desk.open()
    async with (
        served(endpoint(hardened(desk), RunStreams())) as client,
        client.stream("POST", "/1") as response,
    ):
        received = await all_events(response)
    assert received[-1].event == "error"
    assert received[-1].data["status"] == 500
    assert "ada" not in str(received[-1])


async def test_a_run_does_not_get_ahead_of_its_reader(desk: Desk) -> None:
    desk.open()
    async with (
        served(endpoint(hardened(desk), RunStreams(buffer=1))) as client,
        client.stream("POST", "/1") as response,
    ):
        assert custom(await all_events(response)) == [0, 1, 2]


@pytest.mark.parametrize("settings", [{"linger": -1}, {"buffer": 0}, {"keep": -1}, {"grace": -1}])
def test_settings_are_checked(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        RunStreams(**settings)


async def test_a_key_needs_something_to_belong_to(desk: Desk) -> None:
    scope = {"type": "http", "headers": [(b"idempotency-key", b"a")]}
    thread = {"configurable": {"thread_id": "1"}}
    graph = hardened(desk)
    for given, config, lack in [
        (graph, {}, "no thread_id"),
        (harden(desk.builder, [Redact()]).compile(), thread, "no checkpointer"),
        (desk.builder.compile(checkpointer=InMemorySaver()), thread, "not hardened"),
    ]:
        with pytest.raises(ConfigurationError, match=lack):
            await RunStreams().respond(Request(scope), given, {}, config)  # type: ignore[arg-type]
