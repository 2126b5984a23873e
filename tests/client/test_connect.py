"""The SDK's client with policies around its requests, sync and async, against a real HTTP server."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from langgraph.graph import START, StateGraph
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from langgraph_sdk.errors import InternalServerError, NotFoundError, RateLimitError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from tests.client.conftest import CuttingProxy
from tests.conftest import FakeClock
from tests.web.conftest import served
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Bulkhead,
    Busy,
    Call,
    CircuitBreaker,
    CircuitOpen,
    ConfigurationError,
    Deadline,
    DeadlineExceeded,
    Handler,
    Policy,
    RateLimit,
    RateLimitExceeded,
    Redact,
    TokenBudget,
    Tracing,
    by_tokens,
    by_user,
    connect,
    connect_sync,
    harden,
)

Get = Callable[..., Awaitable[Any]]


@dataclass
class Server:
    """Answers with the statuses that it was given, then with 200."""

    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        self.seen.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        return JSONResponse({"detail": "x" * 2000}, status, headers=self.headers)

    @property
    def methods(self) -> Counter[str]:
        return Counter(request.method for request in self.seen)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with served(server.answer) as client:
        server.url = str(client.base_url).rstrip("/")
        yield server


class Face:
    """One client, sync or async."""

    def __init__(self, client: LangGraphClient | SyncLangGraphClient) -> None:
        self.client: Any = client

    async def __call__(self, method: str = "get", path: str = "/x", **options: Any) -> Any:
        if method in ("post", "put", "patch"):
            options.setdefault("json", {})
        call = getattr(self.client.http, method)
        if isinstance(self.client, SyncLangGraphClient):
            return await asyncio.to_thread(call, path, **options)
        return await call(path, **options)


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connected(request: pytest.FixtureRequest, server: Server, clock: FakeClock) -> Connect:
    @asynccontextmanager
    async def connecting(policies: Sequence[Policy] = (), **options: Any) -> AsyncIterator[Face]:
        settings = {"clock": clock, **options}
        if request.param == "sync":
            with connect_sync(server.url, policies, **settings) as client:
                yield Face(client)
        else:
            async with connect(server.url, policies, **settings) as client:
                yield Face(client)

    return connecting


async def test_repeats_what_is_safe_to_repeat(server: Server, connected: Connect) -> None:
    async with connected() as send:
        server.statuses = [503, 502]
        assert await send("get")
        assert server.methods == {"GET": 3}
        for method, options in [
            ("post", {}),
            ("patch", {}),
            ("get", {"path": "/join"}),
            ("get", {"path": "/stream"}),
        ]:
            server.seen.clear()
            server.statuses = [503]
            with pytest.raises(InternalServerError):
                await send(method, **options)
            assert len(server.seen) == 1
        server.seen.clear()
        server.statuses = [503]
        assert await send("post", headers={"Idempotency-Key": "a"})
        assert server.methods == {"POST": 2}


async def test_obeys_retry_after_within_reason(
    server: Server, connected: Connect, clock: FakeClock
) -> None:
    async with connected() as send:
        server.statuses, server.headers = [429], {"Retry-After": "7"}
        assert await send()
        assert clock.slept == [7.0]
        server.statuses, server.headers = [429], {"Retry-After": "3600"}
        with pytest.raises(RateLimitError) as raised:
            await send()
    assert "x" * 2000 in str(raised.value.body)
    assert clock.slept == [7.0]


async def test_repeats_nothing_for_ever_or_in_vain(server: Server, connected: Connect) -> None:
    async with connected() as send:
        server.statuses = [503] * 9
        with pytest.raises(InternalServerError):
            await send()
        assert len(server.seen) == 3
        server.statuses = [404]
        with pytest.raises(NotFoundError):
            await send()
        assert len(server.seen) == 4
    async with connected(retry=None) as send:
        server.statuses = [503]
        with pytest.raises(InternalServerError):
            await send()
        assert len(server.seen) == 5


@pytest.mark.parametrize("verb", [connect, connect_sync])
async def test_repeats_a_request_whose_answer_is_cut(server: Server, verb: Any) -> None:
    cuts = [150, 1, None]
    proxy = CuttingProxy(server.url, lambda _: cuts.pop(0))
    async with proxy.listening() as url:
        client = verb(url, clock=FakeClock())
        answer = await Face(client)()
        await (client.aclose() if verb is connect else asyncio.to_thread(client.close))
    assert answer == {"detail": "x" * 2000}
    assert len(server.seen) == 3


async def test_limits_requests(server: Server, connected: Connect) -> None:
    async with connected([RateLimit("2/hour")]) as send:
        await send()
        await send("post")
        with pytest.raises(RateLimitExceeded):
            await send()
    assert len(server.seen) == 2


async def test_opens_a_circuit_for_a_failing_server(server: Server, connected: Connect) -> None:
    server.statuses = [404, 500, 500]
    async with connected([CircuitBreaker(minimum=2, ratio=0.6)], retry=None) as send:
        for error in (NotFoundError, InternalServerError, InternalServerError):
            with pytest.raises(error):
                await send("post")
        with pytest.raises(CircuitOpen, match=re.escape(server.url.removeprefix("http://"))):
            await send("post")
    assert len(server.seen) == 3


async def test_propagates_the_trace(server: Server, connected: Connect) -> None:
    async with connected([Tracing()]) as send:
        await send()
        await send()
    traces = [request.headers["traceparent"] for request in server.seen]
    assert len({trace.split("-")[1] for trace in traces}) == 2


async def test_belongs_to_the_run_whose_node_calls(server: Server, connected: Connect) -> None:
    class State(TypedDict):
        x: int

    async with connected([Tracing(), RateLimit("1/hour", by=by_user)]) as send:

        async def node(state: State) -> Any:
            await send()

        builder = StateGraph(State).add_node(node).add_edge(START, "node")
        graph = harden(builder, [Tracing()]).compile()
        trace = f"00-{'a' * 32}-{'b' * 16}-01"

        def config(user: str) -> Any:
            return {"configurable": {"user_id": user, "traceparent": trace}}

        await graph.ainvoke({"x": 1}, config("ada"))
        await graph.ainvoke({"x": 1}, config("bob"))
        with pytest.raises(RateLimitExceeded):
            await graph.ainvoke({"x": 1}, config("ada"))
    assert {r.headers["traceparent"].split("-")[1] for r in server.seen} == {"a" * 32}


async def test_a_policy_of_ones_own_sees_requests(server: Server, connected: Connect) -> None:
    seen: list[Any] = []

    class Notes(Policy):
        kinds = frozenset({"request"})

        async def wrap(self, call: Call, handler: Handler) -> Any:
            seen.append((call.kind, call.input, call.attempt))
            return await handler(call)

    server.statuses = [503]
    async with connected([Notes()]) as send:
        await send()
    assert seen == [("request", "GET", 1), ("request", "GET", 2)]


@pytest.mark.parametrize(
    "policy", [Redact(), TokenBudget("9/day"), RateLimit("9/day", cost=by_tokens)]
)
@pytest.mark.parametrize("verb", [connect, connect_sync])
def test_a_policy_that_is_not_for_requests_is_refused(verb: Any, policy: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{type(policy).__name__} does not act on"):
        verb("http://localhost:2024", [policy])


class Stream:
    """A stream whose second event waits."""

    def __init__(self) -> None:
        self.goes_on, self.ended = asyncio.Event(), asyncio.Event()

    async def answer(self, request: Request) -> Response:
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        try:
            yield "event: values\ndata: 1\n\n"
            await self.goes_on.wait()
            yield "event: values\ndata: 2\n\n"
        finally:
            self.ended.set()


async def test_a_slot_is_held_until_the_end_of_a_stream() -> None:
    stream = Stream()
    async with (
        served(stream.answer) as plain,
        connect(str(plain.base_url), [Bulkhead(1)]) as client,
    ):
        events = client.http.stream("/1", "GET")
        assert (await anext(events)).data == 1
        with pytest.raises(Busy):
            await client.http.get("/2")
        stream.goes_on.set()
        assert [event.data async for event in events] == [2]
        again = client.http.stream("/1", "GET")
        await anext(again)
        await again.aclose()  # a reader that stops early frees it, too
        await anext(client.http.stream("/1", "GET"))


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_deadline_ends_a_stream(blocking: bool) -> None:
    stream = Stream()

    def read_all(url: str) -> None:
        with connect_sync(url, [Deadline(0.5)]) as client:
            [*client.http.stream("/1", "GET")]

    async def aread_all(url: str) -> None:
        async with connect(url, [Deadline(0.5)]) as client:
            [event async for event in client.http.stream("/1", "GET")]

    async with served(stream.answer) as plain:
        url = str(plain.base_url)
        with pytest.raises(DeadlineExceeded, match=r"0\.5 s"):
            await (asyncio.to_thread(read_all, url) if blocking else aread_all(url))
        await stream.ended.wait()


async def test_the_settings_of_the_sdk_stay(server: Server, connected: Connect) -> None:
    async with connected(api_key="key", headers={"x-mine": "1"}, timeout=7.0) as send:
        await send()
        assert send.client.http.client.timeout == httpx.Timeout(7.0)
    [request] = server.seen
    assert (request.headers["x-api-key"], request.headers["x-mine"]) == ("key", "1")
    assert request.headers["user-agent"].startswith("langgraph-sdk-py/")
