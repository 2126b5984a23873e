"""What a stream holds back leaves when its writer ends, whatever the end is."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolRuntime
from tests.policies.conftest import State, one

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.content.payload_stream import PayloadStream

OPEN = "see 4111 1111"
"""Its end may be the beginning of a card's number."""


def test_its_end_is_held_back() -> None:
    left: list[Any] = []
    stream = PayloadStream(left.append, (Redact().replacer(),))

    stream(OPEN)
    assert left == []

    stream.flush()
    assert left == [OPEN]


def written(graph: Any) -> list[Any]:
    return list(graph.stream({"messages": [("user", "x")]}, stream_mode="custom"))


async def awritten(graph: Any) -> list[Any]:
    parts = graph.astream({"messages": [("user", "x")]}, stream_mode="custom")
    return [part async for part in parts]


def test_it_leaves_when_its_node_ends() -> None:
    def node(state: Any) -> Any:
        get_stream_writer()({"token": OPEN})

    assert written(harden(one(node), [Redact()]).compile()) == [{"token": OPEN}]


async def test_it_leaves_when_an_asynchronous_node_ends() -> None:
    async def node(state: Any, writer: Any = None) -> Any:
        get_stream_writer()(OPEN)

    assert await awritten(harden(one(node), [Redact()]).compile()) == [OPEN]


def test_it_leaves_when_its_node_fails() -> None:
    def node(state: Any) -> Any:
        get_stream_writer()(OPEN)
        raise ValueError("no")

    parts = harden(one(node), [Redact()]).compile().stream({}, stream_mode="custom")

    assert next(parts) == OPEN
    with pytest.raises(ValueError, match="no"):
        next(parts)


def test_it_leaves_before_what_the_next_node_writes() -> None:
    def first(state: Any) -> Any:
        get_stream_writer()(OPEN)

    def second(state: Any) -> Any:
        get_stream_writer()(" 1111 1111")

    builder = StateGraph(State).add_node(first).add_node(second)
    builder = builder.add_edge(START, "first").add_edge("first", "second")

    assert written(harden(builder, [Redact()]).compile()) == [OPEN, " 1111 1111"]


def test_it_leaves_when_an_edge_ends() -> None:
    def edge(state: Any) -> str:
        get_stream_writer()(OPEN)
        return END

    builder = StateGraph(State).add_node("node", lambda state: {}).add_edge(START, "node")
    builder.add_conditional_edges("node", edge)

    assert written(harden(builder, [Redact()]).compile()) == [OPEN]


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def agent_with(tool: Any) -> Any:
    asks = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}])
    model = Model(messages=iter([asks, AIMessage("done")]), disable_streaming=True)
    return harden(create_agent(model, [tool]), [Redact()])


def test_it_leaves_when_a_tool_ends() -> None:
    @tool
    def search() -> str:
        """Search."""
        get_stream_writer()(OPEN)
        return "found"

    assert written(agent_with(search)) == [OPEN]


def test_output_of_a_tool_leaves_when_it_ends() -> None:
    @tool
    def search(runtime: ToolRuntime) -> str:
        """Search."""
        runtime.emit_output_delta(OPEN)
        return "found"

    parts = agent_with(search).stream({"messages": [("user", "x")]}, stream_mode="tools")

    assert [part["delta"] for part in parts if "delta" in part] == [OPEN]


async def test_a_custom_event_leaves_when_its_node_ends() -> None:
    async def node(state: Any) -> Any:
        await adispatch_custom_event("progress", OPEN)

    graph = harden(one(node), [Redact()]).compile()
    events = [event async for event in graph.astream_events({}, version="v2")]

    told = [event["event"] for event in events]
    data = [event["data"] for event in events if event["event"] == "on_custom_event"]
    assert data == [OPEN]
    assert told.index("on_custom_event") < len(told) - 1
