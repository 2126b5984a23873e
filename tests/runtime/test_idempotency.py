"""`configurable["idempotency_key"]`: a repeated call is the same run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from lg_prod_nodes import AlreadyRun, DoubleTexting, Production, RateLimit, Redact, Run, harden


def keyed(key: str | None, thread: str = "1") -> RunnableConfig:
    return {"configurable": {"thread_id": thread} | ({"idempotency_key": key} if key else {})}


def says(text: str) -> Any:
    return {"messages": [("user", text)]}


def texts(state: Any) -> list[str]:
    return [message.text for message in state["messages"]]


class Desk:
    """Two steps; the first one lists its visits."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self.fails = False

    def first(self, state: MessagesState) -> Any:
        self.visits.append(state["messages"][-1].text)
        return {"messages": [("ai", "first")]}

    def second(self, state: MessagesState) -> Any:
        if self.fails:
            raise ConnectionError
        return {"messages": [("ai", "second")]}

    @property
    def builder(self) -> StateGraph[Any]:
        builder = StateGraph(MessagesState).add_node("first", self.first)
        builder.add_node("second", self.second).add_edge(START, "first")
        return builder.add_edge("first", "second")


@pytest.fixture
def desk() -> Desk:
    return Desk()


POLICIES: dict[str, Callable[[], list[Any]]] = {
    "none": list,
    "redact": lambda: [Redact()],
    "in line": lambda: [DoubleTexting("enqueue"), RateLimit("9/minute")],
}


@pytest.fixture(params=POLICIES)
def graph(request: pytest.FixtureRequest, desk: Desk) -> Any:
    return harden(desk.builder, POLICIES[request.param]()).compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_repeated_call_gets_the_result(graph: Any, desk: Desk, way: str) -> None:
    async def call(text: str, key: str) -> list[str]:
        result = getattr(graph, way)(says(text), keyed(key))
        return texts(result if way == "invoke" else await result)

    once = await call("hi", "a")
    assert await call("hi", "a") == once == ["hi", "first", "second"]
    assert desk.visits == ["hi"]
    assert len(await call("hi", "b")) == 6


async def test_a_repeated_call_continues_a_run_that_failed(graph: Any, desk: Desk) -> None:
    desk.fails = True
    with pytest.raises(ConnectionError):
        await graph.ainvoke(says("hi"), keyed("a"))
    desk.fails = False
    result = await graph.ainvoke(says("hi"), keyed("a"))

    assert (texts(result), desk.visits) == (["hi", "first", "second"], ["hi"])


async def test_a_repeated_call_continues_a_run_that_was_drained(desk: Desk) -> None:
    run = Run()
    node = desk.first

    def drains(state: MessagesState) -> Any:
        run.request_drain()
        return node(state)

    desk.first = drains  # type: ignore[method-assign]
    graph: Any = harden(desk.builder, [RateLimit("1/hour")]).compile(checkpointer=InMemorySaver())

    with pytest.raises(GraphDrained):
        await graph.ainvoke(says("hi"), keyed("a"), control=run)
    result = await graph.ainvoke(says("hi"), keyed("a"))  # counted once, too

    assert (texts(result), desk.visits) == (["hi", "first", "second"], ["hi"])


async def test_a_call_that_newer_runs_followed_says_so(graph: Any, desk: Desk) -> None:
    await graph.ainvoke(says("hi"), keyed("a"))
    await graph.ainvoke(says("newer"), keyed(None))
    with pytest.raises(AlreadyRun) as raised:
        await graph.ainvoke(says("hi"), keyed("a"))

    place = {"thread_id": "1", "checkpoint_id": raised.value.checkpoint_id}
    then = await graph.aget_state({"configurable": place})
    assert texts(then.values) == ["hi", "first", "second"]
    assert desk.visits == ["hi", "newer"]


async def test_keys_belong_to_their_thread(graph: Any) -> None:
    await graph.ainvoke(says("hi"), keyed("a"))
    assert len(texts(await graph.ainvoke(says("yo"), keyed("a", "2")))) == 3
    assert len(texts(await graph.ainvoke(says("yo"), keyed("a")))) == 3


async def test_a_repeated_call_does_not_answer_a_question() -> None:
    def asks(state: MessagesState) -> Any:
        return {"messages": [("ai", interrupt("sure?"))]}

    builder = StateGraph(MessagesState).add_node(asks).add_edge(START, "asks")
    graph: Any = harden(builder, [Redact()]).compile(checkpointer=InMemorySaver())
    for _ in range(2):
        result = await graph.ainvoke(says("hi"), keyed("a"))
        assert result["__interrupt__"][0].value == "sure?"
        assert texts(result) == ["hi"]


async def test_the_key_itself_is_not_stored() -> None:
    saver = InMemorySaver()
    graph: Any = harden(Desk().builder, []).compile(checkpointer=saver)
    await graph.ainvoke(says("hi"), keyed("ada@example.com"))
    assert "ada@example.com" not in repr((dict(saver.storage), dict(saver.writes)))


async def test_a_call_that_waited_for_its_thread_is_still_the_same_run(dsn: str) -> None:
    desk, entered, leave = Desk(), asyncio.Event(), asyncio.Event()

    async def slow(state: MessagesState) -> Any:
        entered.set()
        await leave.wait()
        return desk.first(state)

    builder = StateGraph(MessagesState).add_node(slow).add_edge(START, "slow")
    policies = [DoubleTexting("enqueue")]
    async with (
        Production(builder, policies, postgres=dsn) as one,
        Production(builder, [DoubleTexting("enqueue")], postgres=dsn) as other,
    ):
        first = asyncio.create_task(one.ainvoke(says("hi"), keyed("a")))
        await entered.wait()
        second = asyncio.create_task(other.ainvoke(says("hi"), keyed("a")))
        leave.set()
        results = await asyncio.gather(first, second)

    assert desk.visits == ["hi"]
    assert [texts(result) for result in results] == [["hi", "first"]] * 2
