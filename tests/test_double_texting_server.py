"""The strategies of `DoubleTexting` beside those of a real LangGraph Server, on one graph."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, get_args

import pytest
from httpx import HTTPStatusError
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError
from tests.policies.conftest import THREAD
from tests.serving import langgraph_server

from lg_prod_nodes import DoubleTexting, RunInterrupted, ThreadBusy, harden
from lg_prod_nodes.stores.threads.line import Strategy

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

SERVED = """
import asyncio
from langgraph.graph import START, MessagesState, StateGraph

async def first(state: MessagesState):
    return {"messages": [("assistant", "thinking of " + state["messages"][-1].text)]}

async def second(state: MessagesState):
    if state["messages"][-2].text == "slow":
        await asyncio.sleep(3)
    return {"messages": [("assistant", "re " + state["messages"][-2].text)]}

builder = StateGraph(MessagesState).add_node(first).add_node(second)
builder.add_edge(START, "first").add_edge("first", "second")
"""
HARDENED = """
from lg_prod_nodes import DoubleTexting, harden
graph = harden(builder, [DoubleTexting("reject")])  # steps aside: the server decides
"""
NAMESPACE: dict[str, Any] = {}
exec(textwrap.dedent(SERVED), NAMESPACE)
TEXTS = ["before", "thinking of before", "re before"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "graph.py").write_text(SERVED + HARDENED)
    graphs = {"bare": "./graph.py:builder", "hardened": "./graph.py:graph"}
    settings = {"dependencies": ["."], "graphs": graphs}
    (folder / "langgraph.json").write_text(json.dumps(settings))
    with langgraph_server(folder, options="--n-jobs-per-worker 4") as server:
        yield server.url


def message(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def texts(values: Any) -> list[str]:
    return [m["content"] if isinstance(m, dict) else m.text for m in values["messages"]]


async def until_slow(state: Callable[[], Awaitable[Any]]) -> None:
    """Return when the slow run is in its second step."""
    for _ in range(1000):
        found = await state()
        values = found["values"] if isinstance(found, dict) else found.values
        if texts(values)[-1] == "thinking of slow":
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the run does not begin")


async def on_server(url: str, graph: str, strategy: Strategy) -> dict[str, Any]:
    """What becomes of a slow run and of a newer one, and what a reader of the thread sees then."""
    async with get_client(url=url) as client:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, graph, input=message("before"))
        slow = await client.runs.create(thread, graph, input=message("slow"))
        await until_slow(lambda: client.threads.get_state(thread))
        newer = "ok"
        try:
            await client.runs.wait(
                thread, graph, input=message("newer"), multitask_strategy=strategy
            )
        except HTTPStatusError as error:
            newer = {409: "busy"}[error.response.status_code]
        older = await ended(client, thread, slow["run_id"])
        state = await client.threads.get_state(thread)
    seen = {"texts": texts(state["values"]), "next": [*state["next"]]}
    return {"older": older, "newer": newer, **seen}


async def ended(client: LangGraphClient, thread: str, run: str) -> str:
    """How a run has ended, in our words."""
    try:
        await client.runs.join(thread, run)
        status = (await client.runs.get(thread, run))["status"]
    except NotFoundError:
        return "rollback"
    return {"success": "ok", "interrupted": "interrupt"}.get(status, status)


async def here(strategy: Strategy) -> dict[str, Any]:
    """The same, in this process."""
    policy = DoubleTexting(strategy)
    graph = harden(NAMESPACE["builder"], [policy]).compile(checkpointer=InMemorySaver())

    async def run(text: str) -> str:
        try:
            await graph.ainvoke(message(text), THREAD)
        except ThreadBusy:
            return "busy"
        except RunInterrupted as error:
            return error.action
        return "ok"

    await run("before")
    slow = asyncio.create_task(run("slow"))
    await until_slow(lambda: graph.aget_state(THREAD))
    newer, older = await run("newer"), await slow
    state = await graph.aget_state(THREAD)
    return {"older": older, "newer": newer, "texts": texts(state.values), "next": [*state.next]}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_does_what_the_server_does(url: str, strategy: Strategy) -> None:
    expected = {
        "reject": ("ok", "busy", ["slow", "thinking of slow", "re slow"]),
        "enqueue": ("ok", "ok", ["slow", "thinking of slow", "re slow", *newer()]),
        "interrupt": ("interrupt", "ok", ["slow", "thinking of slow", *newer()]),
        "rollback": ("rollback", "ok", newer()),
    }[strategy]
    older, newest, after = expected
    result = {"older": older, "newer": newest, "texts": [*TEXTS, *after], "next": []}

    assert await here(strategy) == result
    assert await on_server(url, "bare", strategy) == result


async def test_steps_aside_on_the_server(url: str) -> None:
    seen = await on_server(url, "hardened", "enqueue")
    assert (seen["older"], seen["newer"]) == ("ok", "ok")


def newer() -> list[str]:
    return ["newer", "thinking of newer", "re newer"]
