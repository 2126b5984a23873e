"""Events hold names and numbers, whatever the call was about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import (
    CaptureErrors,
    Event,
    Policy,
    RateLimit,
    Redact,
    TokenUsage,
    harden,
)
from lg_prod_nodes.core.policy import Role

EMAIL = "ann@example.com"
CONFIG: Any = {"configurable": {"thread_id": "1", "who": EMAIL, "request_id": "7"}, "tags": [EMAIL]}


@dataclass(frozen=True)
class Diary(Policy):
    """An observer as the docs teach it, which writes down all that it gets."""

    role: ClassVar[Role | None] = "observe"
    lines: list[str] = field(default_factory=list)
    seen: list[Event] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        self.lines.append(repr(event))
        self.seen.append(event)


def test_no_event_holds_content() -> None:
    diary = Diary()

    def agent(state: MessagesState) -> Any:
        return {"messages": [FakeListChatModel(responses=[EMAIL]).invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")
    policies = [diary, CaptureErrors(), TokenUsage(), RateLimit("9/day"), Redact()]
    graph = harden(builder, policies).compile()
    graph.invoke({"messages": [("user", f"I am {EMAIL}")]}, CONFIG)

    names = {event.name for event in diary.seen}
    assert names >= {"content_found", "limit_checked", "model_called"}
    assert EMAIL not in "".join(diary.lines)


def test_an_event_says_where_it_happened() -> None:
    diary = Diary()

    def agent(state: MessagesState) -> None:
        FakeListChatModel(responses=["hi"]).invoke("hi")

    builder = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")
    graph = harden(builder, [diary, TokenUsage()]).compile(name="desk")
    graph.invoke({"messages": []}, CONFIG)

    (called,) = (event for event in diary.seen if event.name == "model_called")
    assert (called.kind, called.graph, called.node) == ("model", "desk", "agent")
    assert (called.attempt, called.request_id) == (1, "7")
    assert called.run_id
