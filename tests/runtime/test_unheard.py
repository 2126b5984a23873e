"""LangGraph tells callback handlers of chains only where one listens; what a node sees stays the same."""

from __future__ import annotations

import asyncio
import operator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import TracePolicy
from tests.policies.conftest import FakeModel
from typing_extensions import TypedDict

from lg_prod_nodes import Metrics, harden
from lg_prod_nodes.runtime import langgraph as private

MARK: ContextVar[str] = ContextVar("mark", default="unset")


class State(TypedDict):
    said: Annotated[list[Any], operator.add]


class OfModels(BaseCallbackHandler):
    """Listens to models only."""

    ignore_chain = True  # type: ignore[assignment]

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        tags, metadata = kwargs["tags"], kwargs["metadata"]
        known = {k: v for k, v in metadata.items() if "checkpoint_ns" not in k and k != "thread_id"}
        self.heard.append((sorted(tags), sorted(known), kwargs["parent_run_id"] is not None))


class OfChains(OfModels):
    """Listens to chains too."""

    ignore_chain = False  # type: ignore[assignment]

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.heard.append(("start", kwargs["name"], sorted(kwargs["tags"])))

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.heard.append(("end", outputs))


def asking(state: State, config: RunnableConfig) -> dict[str, list[Any]]:
    return {"said": [FakeModel().invoke("Hi", config).content]}


async def aasking(state: State, config: RunnableConfig) -> dict[str, list[Any]]:
    return {"said": [(await FakeModel().ainvoke("Hi", config)).content]}


def last(state: State) -> dict[str, list[Any]]:
    return {"said": [MARK.get()]}


def chain(node: Any, **options: Any) -> StateGraph[State]:
    builder = StateGraph(State).add_node("ask", node, metadata={"team": "x"}, **options)
    return builder.add_node("last", last).add_edge(START, "ask").add_edge("ask", "last")


def config_of(handler: BaseCallbackHandler) -> RunnableConfig:
    return {"callbacks": [handler], "tags": ["mine"], "metadata": {"plan": "pro"}}


@pytest.mark.parametrize("listener", [OfModels, OfChains])
@pytest.mark.parametrize("node", [asking, aasking])
async def test_a_handler_is_told_what_it_is_told_of_the_bare_graph(
    listener: Any, node: Any
) -> None:
    heard = []
    for graph in (chain(node).compile(), harden(chain(node), [Metrics()]).compile()):
        handler = listener()
        await graph.ainvoke({"said": []}, config_of(handler))
        heard.append(handler.heard)
    assert heard[0] == heard[1]
    assert heard[0]


def test_so_it_is_for_synchronous_callers() -> None:
    heard = []
    for graph in (chain(asking).compile(), harden(chain(asking), [Metrics()]).compile()):
        handler = OfModels()
        graph.invoke({"said": []}, config_of(handler))
        heard.append(handler.heard)
    assert heard[0] == heard[1] == [(["mine", "seq:step:1"], heard[0][0][1], True)]
    assert {"team", "plan", "langgraph_node"} <= set(heard[0][0][1])


def marking(state: State) -> dict[str, list[Any]]:
    MARK.set("by a node")
    return {"said": []}


async def amarking(state: State) -> dict[str, list[Any]]:
    await asyncio.sleep(0)
    MARK.set("by a node")
    return {"said": [MARK.get()]}


def test_context_variables_of_a_node_stay_in_it() -> None:
    graph = harden(chain(marking), [Metrics()]).compile()
    assert graph.invoke({"said": []}) == {"said": ["unset"]}
    assert MARK.get() == "unset"


async def test_so_they_do_on_the_event_loop() -> None:
    graph = harden(chain(amarking), [Metrics()]).compile()
    assert await graph.ainvoke({"said": []}) == {"said": ["by a node", "unset"]}
    assert MARK.get() == "unset"


async def test_cancelling_a_run_cancels_its_node() -> None:
    begun, ended = asyncio.Event(), []

    async def waiting(state: State) -> dict[str, list[Any]]:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {"said": []}

    task = asyncio.create_task(harden(chain(waiting), [Metrics()]).compile().ainvoke({"said": []}))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


def test_a_writer_s_own_chain_has_a_parent_and_a_node_with_a_trace_policy_is_left_alone() -> None:
    builder = chain(asking, trace_policy=TracePolicy(process_inputs=lambda value: "hidden"))
    builder.add_conditional_edges("last", lambda state: "__end__")
    graph = harden(builder, [Metrics()]).compile()
    assert type(graph.nodes["ask"].node) is private.RunnableSeq
    assert type(graph.nodes["last"].node) is not private.RunnableSeq
    assert graph.invoke({"said": []}) == {"said": ["hello there", "unset"]}
