"""A client leaves: Starlette cancels the scope around the request, at each await anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import (
    Bulkhead,
    Metrics,
    Production,
    RateLimit,
    Redact,
    Run,
    TokenUsage,
    harden,
)

HI: Any = {"messages": [("user", "Hi.")]}


class Endless(BaseChatModel):
    """A model that says one word, and then nothing for ever."""

    started: Any = None
    ends: list[str]

    @property
    def _llm_type(self) -> str:
        return "endless"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hi."))])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await self._wait()
        return self._generate()

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("Hi. "))
        await self._wait()

    async def _wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise


@pytest.fixture
def model() -> Endless:
    return Endless(started=asyncio.Event(), ends=[])


def built(node: Any) -> StateGraph[Any]:
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")


def asks(model: Endless) -> Any:
    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return node


async def left(request: Awaitable[Any], leave: Callable[[], Awaitable[Any]]) -> None:
    """Serve a request whose client leaves."""

    async def serve() -> None:
        await request

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await leave()
        group.cancel_scope.cancel()


async def read(graph: Any, **options: Any) -> None:
    async with aclosing(graph.astream(HI, stream_mode="messages", **options)) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize("way", ["astream", "ainvoke"])
@pytest.mark.parametrize("policies", [[], [Redact()]], ids=["bulkhead", "and redact"])
async def test_its_node_and_model_end_with_the_run(
    model: Endless, way: str, policies: list[Any]
) -> None:
    run = Run()
    graph = harden(built(asks(model)), [Bulkhead(1), *policies]).compile()
    request = read(graph, control=run) if way == "astream" else graph.ainvoke(HI, control=run)

    await left(request, model.started.wait)

    assert (model.ends, run.report.outcome) == (["cancelled"], "cancelled")


async def test_the_slot_is_free_for_the_next_and_not_before_the_node_has_ended(
    model: Endless,
) -> None:
    ended: list[str] = []

    async def node(state: Any) -> Any:
        try:
            return await asks(model)(state)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append("node")

    bulkhead = Bulkhead(1)
    graph = harden(built(node), [bulkhead]).compile()
    for _ in range(3):
        await left(read(graph), model.started.wait)
        assert ended == ["node"]
        model.started.clear()
        ended.clear()


async def test_a_reader_that_closes_its_stream_in_a_cancelled_scope(model: Endless) -> None:
    graph = harden(built(asks(model)), [Bulkhead(1)]).compile()

    async def stops_early() -> None:
        chunks = graph.astream(HI, stream_mode="messages")
        try:
            await anext(chunks)
            model.started.set()
            await asyncio.Event().wait()
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    await left(stops_early(), model.started.wait)
    assert model.ends == ["cancelled"]


async def test_postgres_is_as_usable_as_before_wherever_the_client_leaves(dsn: str) -> None:
    going = 0

    async def node(state: Any) -> Any:
        nonlocal going
        going += 1
        try:
            await asyncio.sleep(0)
            return {"messages": [("ai", "Hi.")]}
        finally:
            going -= 1

    def steps(number: int) -> Callable[[], Awaitable[None]]:
        async def some() -> None:
            for _ in range(number):
                await asyncio.sleep(0)

        return some

    def thread(name: str) -> RunnableConfig:
        return {"configurable": {"thread_id": name}}

    policies = [Bulkhead(1, max_wait=30.0), RateLimit("100000/second"), TokenUsage()]
    builder = built(node).add_node("next", node).add_edge("node", "next")
    async with Production(builder, policies, postgres=dsn, pool_size=2, grace=1) as app:
        await app.ainvoke(HI, thread("1"))
        for number in range(0, 120, 3):
            await left(app.ainvoke(HI, thread(f"run {number}")), steps(number))
            await left(app.aget_state(thread("1")), steps(number))
            update = app.aupdate_state(thread("1"), {"messages": [("user", "Hi.")]})
            await left(update, steps(number))
            assert going == 0
        result = await asyncio.wait_for(app.ainvoke(HI, thread("2")), 30)
        assert len(result["messages"]) == 3


async def test_a_node_s_own_scope_bounds_its_clean_up(model: Endless) -> None:
    ended: list[str] = []

    async def node(state: Any) -> Any:
        try:
            return await asks(model)(state)
        finally:
            with anyio.move_on_after(0.01, shield=True):
                await asyncio.Event().wait()
            ended.append("node")

    graph = harden(built(node), [Metrics()]).compile()  # runs the node in its caller's task
    await asyncio.wait_for(left(graph.ainvoke(HI), model.started.wait), 30)
    assert ended == ["node"]
