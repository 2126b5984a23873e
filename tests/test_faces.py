"""One scenario file through every face of the same policies: the decisions, texts and sums are the same."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import Field

from lg_prod_nodes import (
    ContentBlocked,
    ContentFilter,
    Ledger,
    Policy,
    RateLimit,
    RateLimitExceeded,
    Redact,
    Run,
    TokenUsage,
    as_middleware,
    as_node,
    by_user,
    guard,
    harden,
)

SCENARIO = [
    json.loads(line)
    for line in (Path(__file__).parent / "scenarios/faces.jsonl").read_text().splitlines()
]
SLOW_DOWN, CANNOT = "Slow down.", "I cannot help with that."


class ScriptedModel(BaseChatModel):
    """Says what the scenario has for the latest message, and keeps what it was asked."""

    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _turn(self, messages: list[BaseMessage]) -> dict[str, Any]:
        text = messages[-1].text
        self.asked.append(text)
        return next(turn for turn in SCENARIO if turn["says"][:2] == text[:2])

    def _message(self, kind: Any, turn: dict[str, Any]) -> Any:
        sent, received = turn["input_tokens"], turn["output_tokens"]
        usage = {"input_tokens": sent, "output_tokens": received, "total_tokens": sent + received}
        return kind(
            turn["model_says"], usage_metadata=usage, response_metadata={"model_name": "scripted"}
        )

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        message = self._message(AIMessage, self._turn(messages))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        turn = self._turn(messages)
        *words, last = turn["model_says"].split(" ")
        for word in words:
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))
        message = self._message(AIMessageChunk, {**turn, "model_says": last})
        yield ChatGenerationChunk(message=message)


@dataclass
class Stage:
    """The policies of one test, and the model they guard."""

    ledger: Ledger = field(default_factory=Ledger)
    model: ScriptedModel = field(default_factory=ScriptedModel)

    def policies(self) -> list[Policy]:
        return [
            TokenUsage(ledger=self.ledger),
            RateLimit("3/minute", by=by_user, reply=SLOW_DOWN),
            ContentFilter({"weapons": ["pipe bomb"]}, reply=CANNOT),
            Redact("EMAIL_ADDRESS", "CREDIT_CARD"),
        ]

    def agent(self, asynchronous: bool) -> Callable[[MessagesState], Any]:
        def agent(state: MessagesState) -> Any:
            return {"messages": [self.model.invoke(state["messages"])]}

        async def aagent(state: MessagesState) -> Any:
            return {"messages": [await self.model.ainvoke(state["messages"])]}

        aagent.__name__ = "agent"
        return aagent if asynchronous else agent


def whole_graph(stage: Stage, asynchronous: bool) -> Any:
    builder = StateGraph(MessagesState).add_node("agent", stage.agent(asynchronous))
    return harden(builder.add_edge(START, "agent"), stage.policies()).compile(InMemorySaver())


def decorator(stage: Stage, asynchronous: bool) -> Any:
    guarded = guard(*stage.policies())(stage.agent(asynchronous))
    builder = StateGraph(MessagesState).add_node("agent", guarded).add_edge(START, "agent")
    return builder.compile(InMemorySaver())


def single_node(stage: Stage, asynchronous: bool) -> Any:
    builder = StateGraph(MessagesState).add_node("agent", stage.agent(asynchronous))
    builder.add_edge(START, "agent")
    return harden(builder, nodes={"agent": stage.policies()}).compile(InMemorySaver())


def prebuilt_nodes(stage: Stage, asynchronous: bool) -> Any:
    usage, limit, content, redact = stage.policies()
    builder = StateGraph(MessagesState)
    builder.add_node("limit", as_node(limit, then="check", otherwise=END))
    builder.add_node("check", as_node(content, then="clean", otherwise=END))
    builder.add_node("clean", as_node(redact))
    builder.add_node("agent", stage.agent(asynchronous))
    builder.add_node("count", as_node(usage))
    builder.add_node("check_answer", as_node(content, then="clean_answer", otherwise=END))
    builder.add_node("clean_answer", as_node(redact))
    for start, end in (
        (START, "limit"),
        ("clean", "agent"),
        ("agent", "count"),
        ("count", "check_answer"),
    ):
        builder.add_edge(start, end)
    return builder.compile(InMemorySaver())


def agent_middleware(stage: Stage, asynchronous: bool) -> Any:
    return create_agent(
        stage.model,
        middleware=[as_middleware(policy) for policy in stage.policies()],
        checkpointer=InMemorySaver(),
    )


def hardened_agent(stage: Stage, asynchronous: bool) -> Any:
    return harden(create_agent(stage.model, checkpointer=InMemorySaver()), stage.policies())


def _call(at: int, turn: dict[str, Any]) -> tuple[Any, Any]:
    configurable = {"thread_id": f"thread-{at}", "user_id": turn["user"]}
    return {"messages": [("user", turn["says"])]}, {"configurable": configurable}


CALLS = [_call(at, turn) for at, turn in enumerate(SCENARIO)]


def invoke(graph: Any) -> list[Any]:
    return [graph.invoke(*call) for call in CALLS]


def stream(graph: Any) -> list[Any]:
    return [list(graph.stream(*call, stream_mode="values"))[-1] for call in CALLS]


def batch(graph: Any) -> list[Any]:
    inputs, configs = zip(*CALLS, strict=True)
    return graph.batch(list(inputs), [{**config, "max_concurrency": 1} for config in configs])


def events_v3(graph: Any) -> list[Any]:
    results = []
    for call in CALLS:
        run = graph.stream_events(*call, version="v3")
        results.append(run.output)
    return results


async def ainvoke(graph: Any) -> list[Any]:
    return [await graph.ainvoke(*call) for call in CALLS]


async def astream(graph: Any) -> list[Any]:
    return [
        [part async for part in graph.astream(*call, stream_mode="values")][-1] for call in CALLS
    ]


async def events_v2(graph: Any) -> list[Any]:
    results = []
    for call in CALLS:
        events = [event async for event in graph.astream_events(*call, version="v2")]
        results.append(events[-1]["data"]["output"])
    return results


FACES = [whole_graph, decorator, single_node, prebuilt_nodes, agent_middleware, hardened_agent]
SYNC, ASYNC = [invoke, stream, batch, events_v3], [ainvoke, astream, events_v2]

ASKED = [
    "#1 Hello, I am [EMAIL_ADDRESS]",
    "#2 My card is [CREDIT_CARD]",
    "#4 What should I avoid?",
    "#5 Third call within the minute",
    "#7 Pay [CREDIT_CARD] for [EMAIL_ADDRESS]",
]
SAID = [
    "Hello! Shall I write to [EMAIL_ADDRESS]?",
    "I never need a card number.",
    CANNOT,
    CANNOT,
    "Welcome back.",
    SLOW_DOWN,
    "Nothing was paid, [EMAIL_ADDRESS] is told.",
]
SPENT = {"ada": 33, "bob": 67}


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol:UserWarning")
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize(
    ("face", "way"), list(product(FACES, SYNC + ASYNC)), ids=lambda value: value.__name__
)
def test_the_same_decisions_texts_and_sums_through(face: Any, way: Any) -> None:
    stage = Stage()
    graph = face(stage, way in ASYNC)

    results = asyncio.run(way(graph)) if way in ASYNC else way(graph)

    assert stage.model.asked == ASKED
    assert [result["messages"][-1].text for result in results] == SAID
    spent = stage.ledger.total(by="user")
    assert {user: usage.total_tokens for user, usage in spent.items()} == SPENT


def test_a_refusal_outside_and_one_inside_give_one_reply() -> None:
    stage = Stage()
    policies: list[Policy] = [
        RateLimit("1/minute", reply=SLOW_DOWN),
        ContentFilter(["pipe bomb"], reply=CANNOT),
    ]
    builder = StateGraph(MessagesState).add_node("agent", stage.agent(asynchronous=False))
    graph = harden(builder.add_edge(START, "agent"), policies).compile(InMemorySaver())
    graph.invoke(*CALLS[0])

    result = graph.invoke(*CALLS[2])

    assert [message.text for message in result["messages"]] == [
        "#3 How do I build a [BLOCKED]?",
        CANNOT,
    ]


def test_a_node_s_reply_is_in_the_events_too() -> None:
    builder = StateGraph(MessagesState).add_node("agent", Stage().agent(asynchronous=True))
    limit = RateLimit("1/minute", reply=SLOW_DOWN)
    graph = harden(builder.add_edge(START, "agent"), nodes={"agent": [limit]}).compile()

    async def last(call: Any) -> str:
        events = [event async for event in graph.astream_events(*call, version="v2")]
        return events[-1]["data"]["output"]["messages"][-1].text

    assert asyncio.run(last(CALLS[0])) == SCENARIO[0]["model_says"]
    assert asyncio.run(last(CALLS[1])) == SLOW_DOWN


def test_a_prebuilt_node_s_two_ways_are_drawn() -> None:
    limit = as_node(RateLimit("1/minute", reply=SLOW_DOWN), then="agent", otherwise=END)
    builder = StateGraph(MessagesState).add_node("limit", limit)
    builder.add_node("agent", Stage().agent(asynchronous=False)).add_edge(START, "limit")

    edges = builder.compile().get_graph().edges

    assert {(edge.source, edge.target) for edge in edges} >= {("limit", "agent"), ("limit", END)}


def test_a_decorator_on_a_plain_graph_knows_whom_the_caller_s_run_is_for() -> None:
    limited = RateLimit("1/minute", by=by_user)(Stage().agent(asynchronous=False))
    graph = StateGraph(MessagesState).add_node("agent", limited).add_edge(START, "agent").compile()

    for call in CALLS[:2]:  # of two users
        graph.invoke(*call, control=Run())


def test_a_blocked_value_is_told_as_a_refusal() -> None:
    builder = StateGraph(MessagesState).add_node("agent", Stage().agent(asynchronous=False))
    policy = Redact("CREDIT_CARD", strategy="block")
    graph = harden(builder.add_edge(START, "agent"), [policy]).compile()
    run = Run()

    with pytest.raises(ContentBlocked):
        graph.invoke(*CALLS[1], control=run)
    assert (run.report.outcome, run.report.events["call_rejected"]) == ("rejected", 1)


def test_a_blocked_message_of_before_is_kept_from_the_model_and_blocks_nothing() -> None:
    stage = Stage()
    content = ContentFilter(["pipe bomb"], reply=CANNOT)
    agent = create_agent(
        stage.model, middleware=[as_middleware(content)], checkpointer=InMemorySaver()
    )
    thread: Any = {"configurable": {"thread_id": "1"}}

    for turn in (SCENARIO[2], SCENARIO[0]):
        result = agent.invoke({"messages": [("user", turn["says"])]}, thread)

    assert [message.text for message in result["messages"]] == [
        "#3 How do I build a [BLOCKED]?",
        CANNOT,
        SCENARIO[0]["says"],
        SCENARIO[0]["model_says"],
    ]


def test_a_refusal_can_be_sent_between_processes() -> None:
    refusal = RateLimitExceeded("1 per hour", retry_after=3.0)
    sent = pickle.loads(pickle.dumps(refusal))
    assert (str(sent), sent.limit, sent.retry_after) == (str(refusal), "1 per hour", 3.0)
