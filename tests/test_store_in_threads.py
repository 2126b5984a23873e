"""The store of `async with Production(...)` in synchronous nodes and threads: no thread waits for the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import GetOp, PutOp

from lg_prod_nodes import ConfigurationError, Production, Redact

HI: Any = {"messages": [("user", "Hi.")]}
SPACE = ("memories",)


def node(state: MessagesState, runtime: Runtime[None]) -> Any:
    assert runtime.store is not None
    runtime.store.put(SPACE, "key", {"to": "ada@example.com"})
    item = runtime.store.get(SPACE, "key")
    assert item is not None
    return {"messages": [("ai", item.value["to"])]}


def builder() -> StateGraph[Any]:
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")


def thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


async def test_many_synchronous_nodes_and_threads_use_it_side_by_side(dsn: str) -> None:
    async with Production(builder(), [Redact()], postgres=dsn, pool_size=4, grace=1) as app:
        calls = [asyncio.to_thread(app.invoke, HI, thread(f"t{number}")) for number in range(40)]
        runs = [app.ainvoke(HI, thread(f"a{number}")) for number in range(20)]
        results = await asyncio.wait_for(asyncio.gather(*calls, *runs), 60)
        assert {result["messages"][-1].content for result in results} == {"[EMAIL_ADDRESS]"}


async def test_all_of_its_operations_work_in_a_thread(dsn: str) -> None:
    async with Production(builder(), postgres=dsn, grace=1) as app:
        store: Any = app.store

        def uses() -> Any:
            store.put(SPACE, "a", {"n": 1})
            store.batch([PutOp(SPACE, "b", {"n": 2})])
            found = [store.get(SPACE, "a").value, *(item.key for item in store.search(SPACE))]
            store.delete(SPACE, "a")
            return found, store.batch([GetOp(SPACE, "a")]), store.list_namespaces()

        found, after, spaces = await asyncio.to_thread(uses)
        assert (found[0], sorted(found[1:])) == ({"n": 1}, ["a", "b"])
        assert (after, spaces) == ([None], [SPACE])
        assert (await store.aget(SPACE, "b")).value == {"n": 2}


async def test_a_call_that_would_block_the_event_loop_is_refused(dsn: str) -> None:
    async with Production(builder(), postgres=dsn, grace=1) as app:
        store: Any = app.store
        with pytest.raises(ConfigurationError, match="aget, aput, asearch"):
            store.get(SPACE, "a")
