"""A hardened graph looks like the bare one to code that inspects it, and to callbacks and events."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from lg_prod_nodes import (
    CaptureErrors,
    ContentFilter,
    Metrics,
    RateLimit,
    Redact,
    TokenUsage,
    harden,
)

HI: Any = {"messages": [("user", "ada@example.com")]}
METHODS = (
    *("stream", "astream", "invoke", "ainvoke", "astream_events", "astream_log"),
    *("update_state", "bulk_update_state", "abulk_update_state", "get_graph", "copy"),
)
POLICIES = [Metrics(), TokenUsage(), Redact("IBAN_CODE"), ContentFilter(["zzz"])]


def leaks(state: Any) -> Any:
    return {"messages": [("ai", "bob@example.com")]}


def builder(node: Any = leaks) -> StateGraph[Any]:
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")


def said(result: Any) -> list[str]:
    return [message.content for message in result["messages"]]


def chain() -> StateGraph[Any]:
    """A graph whose one node is a prompt, a model, a parser and a function."""
    model = GenericFakeChatModel(messages=iter(["One two."] * 100))
    prompt = ChatPromptTemplate.from_messages([("placeholder", "{messages}")])
    return builder(prompt | model | StrOutputParser() | (lambda text: {"messages": [("ai", text)]}))


class Runs(BaseCallbackHandler):
    """Each run that callbacks are told of: its name, its parent and its tags."""

    def __init__(self) -> None:
        self.names: dict[Any, Any] = {}
        self.seen: list[Any] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **run: Any) -> None:
        self.names[run["run_id"]] = run["name"]
        parent = self.names.get(run["parent_run_id"])
        self.seen.append((run["name"], parent, tuple(run["tags"] or ())))

    def on_chat_model_start(self, serialized: Any, messages: Any, **run: Any) -> None:
        self.on_chain_start(serialized, messages, **run)


@pytest.mark.parametrize(
    "graph",
    [
        harden(builder(), [Redact()]).compile(),
        harden(builder().compile(), [Redact()]),
        harden(harden(builder(), [Metrics()]).compile(), [Redact()]),
    ],
    ids=["builder", "compiled", "twice"],
)
def test_a_graph_s_builder_compiles_to_a_hardened_graph(graph: Any) -> None:
    again = graph.builder.compile(checkpointer=InMemorySaver())
    result = again.invoke(HI, {"configurable": {"thread_id": "1"}})
    assert said(result) == ["[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]"]


def test_the_builder_of_a_compiled_agent_stays_hardened() -> None:
    model = GenericFakeChatModel(messages=iter(["Write to bob@example.com."]))
    again = harden(create_agent(model, []), [Redact()]).builder.compile()
    assert said(again.invoke(HI)) == ["[EMAIL_ADDRESS]", "Write to [EMAIL_ADDRESS]."]


def test_the_user_s_builder_and_graph_stay_as_they_are() -> None:
    mine = builder()
    compiled = mine.compile()
    harden(compiled, [Redact()])
    assert compiled.builder is mine
    assert said(compiled.builder.compile().invoke(HI)) == ["ada@example.com", "bob@example.com"]


def test_a_refused_run_of_a_graph_made_from_a_graph_s_builder_is_answered() -> None:
    policy = RateLimit("1/hour", reply="Later.", by=lambda call: "all")
    again = harden(builder(), [policy]).compile().builder.compile()
    again.invoke(HI)
    assert said(again.invoke(HI))[-1] == "Later."


def test_a_graph_as_a_node_is_a_graph() -> None:
    bound = (
        harden(builder(builder().compile()), [Redact(), Metrics()]).compile().nodes["node"].bound
    )
    assert isinstance(bound, CompiledStateGraph)
    assert list(bound.nodes) == ["__start__", "node"]
    assert bound.get_graph().nodes.keys() == builder().compile().get_graph().nodes.keys()


async def test_a_graph_that_is_a_node_runs_by_itself_and_so_does_its_copy() -> None:
    bound = harden(builder(builder().compile()), [Redact()]).compile().nodes["node"].bound
    for graph in (bound, bound.with_config(tags=["mine"]), bound.copy()):  # type: ignore[attr-defined]
        assert said(graph.invoke(HI))[-1] == "[EMAIL_ADDRESS]"
        assert said(await graph.ainvoke(HI))[-1] == "[EMAIL_ADDRESS]"


async def test_the_policies_of_a_node_stand_around_its_graph() -> None:
    def fails(state: Any) -> Any:
        raise ConnectionError

    inner = builder(fails).compile()
    graph = harden(builder(inner), nodes={"node": [CaptureErrors(then="end")]}).compile()
    assert said(graph.invoke(HI)) == ["ada@example.com"]
    assert said(await graph.ainvoke(HI)) == ["ada@example.com"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_have_the_signature_of_the_bare_ones(method: str) -> None:
    def signature(graph: Any) -> Any:
        return inspect.signature(getattr(graph, method))

    bare = builder(builder().compile()).compile()
    hardened = harden(builder(builder().compile()), [Redact()]).compile()
    assert signature(hardened) == signature(bare)
    assert signature(hardened.nodes["node"].bound) == signature(bare.nodes["node"].bound)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_chain_as_a_node_shows_the_same_runs(policy: Any) -> None:
    async def seen(graph: Any) -> list[Any]:
        runs, aruns = Runs(), Runs()
        graph.invoke(HI, {"callbacks": [runs]})
        await graph.ainvoke(HI, {"callbacks": [aruns]})
        events = [
            (event["event"], event["name"], event["tags"], len(event["parent_ids"]))
            async for event in graph.astream_events(HI, version="v2")
        ]
        return [runs.seen, aruns.seen, events]

    bare, hardened = chain().compile(), harden(chain(), [policy]).compile()
    assert await seen(hardened) == await seen(bare)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_a_chain_as_a_node_gives_the_same_result_each_way(policy: Any) -> None:
    graph = harden(chain(), [policy]).compile()
    pieces = [chunk.content for chunk, _ in graph.stream(HI, stream_mode="messages")]
    assert "".join(pieces[:3]) == "One two."
    assert said(graph.invoke(HI))[-1] == said(await graph.ainvoke(HI))[-1] == "One two."


def test_the_error_of_a_chain_s_step_is_captured() -> None:
    def fails(state: Any) -> Any:
        raise ConnectionError

    policy = CaptureErrors(then="end")
    graph = harden(builder(RunnableLambda(leaks) | fails), [policy]).compile()
    assert said(graph.invoke(HI)) == ["ada@example.com"]
