"""A history that was searched is not searched again, and one that nobody searched is."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from tests.policies.conftest import THREAD, FakeModel, asks, notes, one

from lg_prod_nodes import ContentFilter, Redact, guard, harden
from lg_prod_nodes.detectors import Detector

EMAIL = "ann@example.com"


def looked_at(graph: Any, inputs: Any, config: Any = THREAD) -> list[str]:
    """The texts that a run has looked for in."""
    seen: list[str] = []
    find = Detector.find

    def noted(self: Detector, text: str) -> Any:
        seen.append(text)
        return find(self, text)

    with patch.object(Detector, "find", noted):
        graph.invoke(inputs, config)
    return seen


@pytest.mark.parametrize("policy", [Redact("EMAIL_ADDRESS"), ContentFilter(["never"])])
def test_a_turn_looks_at_what_is_new(policy: Any) -> None:
    model = FakeModel(says="fine")
    graph = harden(one(asks(model)), [policy]).compile(InMemorySaver())
    turns = [looked_at(graph, {"messages": [("user", f"question {n}")]}) for n in range(6)]

    assert {len(turn) for turn in turns[1:]} == {len(turns[1])}
    assert not [text for text in turns[5] if text.startswith("question") and text[-1] != "5"]


def test_a_history_that_is_older_than_the_policy_is_cleaned_each_time() -> None:
    saver, builder, model = InMemorySaver(), MessagesState, FakeModel()
    graph = StateGraph(builder).add_node("node", asks(model)).add_edge(START, "node")
    graph.compile(saver).invoke({"messages": [("user", EMAIL), ("user", "bye")]}, THREAD)
    hardened = harden(graph, [Redact()]).compile(saver)
    seen: list[str] = []

    def sees(state: Any) -> Any:
        seen.extend(message.text for message in state["messages"])

    for node in (asks(model), sees):
        hardened = harden(one(node), [Redact()]).compile(saver)
        for _ in range(2):
            hardened.invoke({"messages": [("user", "again")]}, THREAD)

    assert seen
    assert EMAIL not in seen


def test_an_earlier_checkpoint_is_looked_at_again() -> None:
    saver = InMemorySaver()
    seen: list[str] = []

    def node(state: Any) -> Any:
        seen.append(state["text"])

    builder = one(node)
    builder.compile(saver).invoke({"text": EMAIL}, THREAD)
    old = next(iter(builder.compile(saver).get_state_history(THREAD))).config
    graph = harden(builder, [Redact()]).compile(saver)
    graph.invoke({"text": "fine"}, THREAD)
    graph.invoke({"text": "fine"}, THREAD)
    seen.clear()

    graph.invoke({"log": ["x"]}, old)

    assert seen == ["[EMAIL_ADDRESS]"]


def test_a_policy_of_one_node_always_looks() -> None:
    graph = harden(one(notes("ran")), nodes={"node": [Redact()]}).compile(InMemorySaver())

    turns = [looked_at(graph, {"text": f"to {n} a@b"}) for n in range(3)]

    assert all(f"to {n} a@b" in turn for n, turn in enumerate(turns))


def test_a_decorated_function_always_looks() -> None:
    @guard(Redact())
    def node(state: Any) -> Any:
        return {"log": [state["text"]]}

    graph = one(node).compile(InMemorySaver())

    for _ in range(3):
        assert graph.invoke({"text": EMAIL}, THREAD)["log"][-1] == "[EMAIL_ADDRESS]"


class Remembering(FakeModel):
    """Remembers all that it is asked."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self.asked.extend(message.text for message in messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


def test_a_model_is_asked_nothing_that_nobody_looked_at() -> None:
    model = Remembering()

    def node(state: MessagesState) -> Any:
        first = state["messages"][0]
        first.content = f"it is {EMAIL}"  # a message of the state, changed in its place
        model.invoke([SystemMessage(f"mail {EMAIL}"), first, HumanMessage(EMAIL)])

    graph = harden(one(node, schema=MessagesState), [Redact()]).compile(InMemorySaver())
    graph.invoke({"messages": [("user", "hi")]}, THREAD)

    assert model.asked == ["mail [EMAIL_ADDRESS]", "it is [EMAIL_ADDRESS]", "[EMAIL_ADDRESS]"]
