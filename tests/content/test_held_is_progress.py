"""A piece that is held back is progress of its node, as it would be if it left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.config import get_stream_writer
from langgraph.errors import NodeTimeoutError
from langgraph.pregel import _retry
from langgraph.types import TimeoutPolicy
from tests.policies.conftest import one

from lg_prod_nodes import ContentBlocked, ContentFilter, Redact, harden

IDLE, PIECES = 10.0, list("4111 2222 3333")


class Clock:
    """LangGraph's idle clock, which goes on when a piece is told to take time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Time:
        monotonic = clock.monotonic

        def __getattr__(self, name: str) -> Any:
            return getattr(_time, name)

    _time, sleep = _retry.time, asyncio.sleep

    class Loops:
        async def sleep(self, seconds: float) -> None:
            until = clock.now + seconds
            while clock.now < until:
                await sleep(0)

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

    monkeypatch.setattr(_retry, "time", Time())
    monkeypatch.setattr(_retry, "asyncio", Loops())
    return clock


async def passes(clock: Clock, seconds: float) -> None:
    """Let time pass, and everyone see it."""
    clock.now += seconds
    for _ in range(20):
        await asyncio.sleep(0)


class Slow(BaseChatModel):
    """Takes a while for each piece."""

    clock: Any
    pieces: list[str]
    pause: float = 0.8 * IDLE

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self.pieces:
            await passes(self.clock, self.pause)
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


async def streamed(node: Any, policy: Any, mode: Any, **timeout: Any) -> list[Any]:
    policies = [policy] if policy is not None else []
    idle = TimeoutPolicy(idle_timeout=IDLE, **timeout)
    graph = harden(one(node, timeout=idle), policies).compile()
    return [part async for part in graph.astream({"messages": ["hi"]}, stream_mode=mode)]


POLICIES = [None, Redact(), ContentFilter(["4111 2222 3333 4"])]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_model_that_streams_all_the_time_is_not_idle(policy: Any, clock: Clock) -> None:
    model = Slow(clock=clock, pieces=PIECES)

    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    parts = await streamed(node, policy, "messages")

    assert "".join(message.content for message, _ in parts) == "".join(PIECES)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_node_that_writes_all_the_time_is_not_idle(policy: Any, clock: Clock) -> None:
    async def node(state: Any) -> Any:
        write = get_stream_writer()
        for piece in PIECES:
            await passes(clock, 0.8 * IDLE)
            write(piece)

    assert "".join(await streamed(node, policy, "custom")) == "".join(PIECES)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_one_that_says_nothing_is(policy: Any, clock: Clock) -> None:
    model = Slow(clock=clock, pieces=PIECES, pause=1.2 * IDLE)

    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    with pytest.raises(NodeTimeoutError):
        await streamed(node, policy, "messages")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_where_heartbeats_alone_count_no_piece_does(policy: Any, clock: Clock) -> None:
    model = Slow(clock=clock, pieces=PIECES)

    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    with pytest.raises(NodeTimeoutError):
        await streamed(node, policy, "messages", refresh_on="heartbeat")


async def test_a_message_of_which_all_is_blocked_is_refused(clock: Clock) -> None:
    model = Slow(clock=clock, pieces=["pipe ", "bomb"])

    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    with pytest.raises(ContentBlocked):
        await streamed(node, ContentFilter(["pipe bomb"]), "messages")
