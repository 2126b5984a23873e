"""A graph means what it did before, and shapes that hold themselves, or each other, are no trap."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Send
from tests.policies.conftest import THREAD, FakeModel, State, asks, notes, one

from lg_prod_nodes import ContentBlocked, ContentFilter, Policy, Redact, guard, harden
from lg_prod_nodes.content.message_stream import MessageStream

EMAIL = "ann@example.com"


@dataclass
class Person:
    name: str
    friend: Any = None


class Knotted(Exception):
    """As jsonschema's errors, which know their parent."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parent = self
        self.others = [self]


def test_an_error_that_holds_itself_is_cleaned() -> None:
    def node(state: Any) -> Any:
        raise Knotted(EMAIL)

    with pytest.raises(Knotted, match="EMAIL_ADDRESS"):
        harden(one(node), [Redact()]).compile().invoke({"text": "x"})


def test_a_state_that_holds_itself_is_cleaned() -> None:
    ann = Person(EMAIL)
    ann.friend = Person("Bob", ann)

    cleaned = guard(Redact())(lambda state: {"text": ann})({})["text"]

    assert cleaned.name == "[EMAIL_ADDRESS]"
    assert ann.name == EMAIL


def test_what_stands_in_many_places_is_looked_at_once() -> None:
    shared: Any = [EMAIL]
    for _ in range(40):
        shared = [shared, shared]

    cleaned = guard(Redact())(lambda state: {"text": shared})({})["text"]

    assert cleaned[0] is cleaned[1]


def test_keys_stay_apart_and_a_mapping_of_its_class() -> None:
    counted = Counter({EMAIL: 1, "bob@example.com": 2, "x": 3})

    cleaned = guard(Redact())(lambda state: {"text": counted})({})["text"]

    assert cleaned == Counter({"[EMAIL_ADDRESS]": 1, "[EMAIL_ADDRESS] (2)": 2, "x": 3})
    assert type(cleaned) is Counter


@pytest.mark.parametrize("name", ["id", "user_id", "snowflake_id", "timestamp"])
def test_numbers_that_identify_stay_numbers(name: str) -> None:
    state = {name: 4111111111111111}

    assert guard(Redact())(lambda _: state)({}) is state


def test_methods_that_are_led_stay_what_they_were() -> None:
    harden(one(asks(FakeModel())), [Redact()]).compile().invoke({"messages": []})

    assert inspect.iscoroutinefunction(BaseChatModel.ainvoke)
    assert inspect.isasyncgenfunction(BaseChatModel.astream)
    assert inspect.isgeneratorfunction(BaseChatModel.stream)
    assert inspect.iscoroutinefunction(BaseTool.arun)


@dataclass(frozen=True)
class Models(Policy):
    """Counts the calls of models and tools."""

    seen: list[str] = field(default_factory=list, hash=False, compare=False)
    kinds = frozenset({"model", "tool"})

    async def wrap(self, call: Any, handler: Any) -> Any:
        self.seen.append(call.kind)
        return await handler(call)


def test_a_policy_for_models_and_tools_alone_acts_and_they_keep_their_state() -> None:
    model, policy = FakeListChatModel(responses=["one", "two"]), Models()
    ran: list[int] = []

    @tool
    def count() -> int:
        """Count."""
        ran.append(len(ran))
        return len(ran)

    def node(state: Any) -> Any:
        return {"log": [model.invoke("x").text, count.invoke({})]}

    graph = harden(one(node), [policy]).compile()

    assert [graph.invoke({"log": []})["log"] for _ in range(2)] == [["one", 1], ["two", 2]]
    assert policy.seen == ["model", "tool"] * 2


def test_a_graph_without_messages_may_be_called_where_a_filter_replies() -> None:
    inner = one(lambda state: {"text": state["text"]}).compile()

    def node(state: Any) -> Any:
        return {"log": [inner.invoke({"text": state["text"]})["text"]]}

    graph = harden(one(node), [ContentFilter(["pipe bomb"], reply="No.")]).compile()

    assert graph.invoke({"text": "fine"})["log"] == ["fine"]


def test_a_graph_without_messages_that_is_refused_says_so() -> None:
    @dataclass
    class Plain:
        text: str = ""

    inner = StateGraph(Plain).add_node("node", lambda state: {"text": "x"}).add_edge(START, "node")
    compiled = inner.compile()

    def node(state: Any) -> Any:
        return {"log": [compiled.invoke({"text": "a pipe bomb"})["text"]]}

    policy = ContentFilter(["pipe bomb"], reply="No.")
    with pytest.raises(ContentBlocked):
        harden(one(node), nodes={"node": [policy]}).compile().invoke({"text": "fine"})


def test_a_number_in_streamed_arguments_gets_quotes() -> None:
    stream = MessageStream((Redact().replacer(),))
    text = '{"card": 4111111111111111, "note": "[A] \\" *", "list": [4111111111111111]}'
    named = {"name": "pay", "id": "1", "index": 0}
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    calls: list[Any] = [{"name": None, "id": None, "index": 0, "args": piece} for piece in pieces]
    calls[0] |= named
    chunks = [AIMessageChunk("", tool_call_chunks=[call]) for call in calls]

    left = [c for chunk in chunks for c in stream.feed(ChatGenerationChunk(message=chunk))]
    left += stream.flush()
    whole: Any = left[0].message
    for chunk in left[1:]:
        whole += chunk.message

    assert whole.tool_calls[0]["args"] == {
        "card": "[CREDIT_CARD]",
        "note": '[A] " *',
        "list": ["[CREDIT_CARD]"],
    }


@pytest.mark.parametrize("policy", [Redact(), ContentFilter(["pipe bomb"])])
def test_a_policy_can_be_copied_and_pickled(policy: Any) -> None:
    policy.detector.open()

    for again in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert again == policy
        assert guard(again)(lambda state: {"text": "fine"})({}) == {"text": "fine"}


def test_a_hardened_graph_inside_says_nothing_of_the_one_around_it() -> None:
    policy, saver = Redact(), InMemorySaver()
    seen: list[str] = []
    inner = harden(one(notes("inner"), schema=MessagesState), [policy]).compile()
    builder = StateGraph(MessagesState).add_node("sub", inner)
    builder.add_node("node", lambda state: seen.extend(m.text for m in state["messages"]))
    builder.add_edge(START, "sub").add_edge("sub", "node")
    graph = harden(builder, nodes={"node": [policy]}).compile(saver)

    for _ in range(2):
        graph.invoke({"messages": [("user", EMAIL)]}, THREAD)

    assert EMAIL not in seen


def test_going_back_behind_the_policy_is_no_way_around_it() -> None:
    saver, seen = InMemorySaver(), list[str]()
    builder = one(lambda state: seen.append(state["text"]))
    plain, graph = builder.compile(saver), harden(builder, [Redact()]).compile(saver)
    plain.invoke({"text": EMAIL}, THREAD)
    old = next(iter(plain.get_state_history(THREAD))).config
    for text in ("one", "two"):
        graph.invoke({"text": text}, THREAD)
    graph.invoke({"log": ["back"]}, old)
    seen.clear()

    graph.invoke({"log": ["on"]}, THREAD)

    assert seen == ["[EMAIL_ADDRESS]"]


def test_what_is_configured_for_one_of_many_is_its_own() -> None:
    seen: list[str] = []

    def reads(state: Any, config: RunnableConfig) -> Any:
        seen.append(f"{state['text']}: {config['configurable']['who']}")

    inner = one(reads).compile()

    def calls(state: Any) -> Any:
        who = {"configurable": {"who": f"{state['text']}@example.com"}}
        inner.invoke({"text": state["text"]}, who)

    builder = StateGraph(State).add_node("calls", calls).add_node("after", reads)
    builder.add_conditional_edges(
        START, lambda state: [Send("calls", {"text": name}) for name in ("ann", "bob", "cy")]
    )
    builder.add_edge("calls", "after")
    graph = harden(builder, [Redact()]).compile(InMemorySaver())

    graph.invoke({"text": "end"}, {"configurable": {**THREAD["configurable"], "who": EMAIL}})

    each = [f"{name}: {name}@example.com" for name in ("ann", "bob", "cy")]
    assert sorted(set(seen)) == sorted({*each, f"end: {EMAIL}"})


def test_an_item_that_is_put_by_name_is_found_again() -> None:
    store = InMemoryStore()

    def node(state: Any, *, store: BaseStore) -> Any:
        store.put(namespace=("users", "ann"), key=EMAIL, value={"note": EMAIL})

    harden(one(node), [Redact()]).compile(store=store).invoke({"text": "x"})

    item = store.get(("users", "ann"), EMAIL)
    assert item is not None
    assert item.value == {"note": "[EMAIL_ADDRESS]"}


def test_another_database_is_another_thread() -> None:
    policy, seen = Redact(), list[str]()
    builder = one(lambda state: seen.append(state["text"]))
    old = InMemorySaver()
    builder.compile(old).invoke({"text": EMAIL}, THREAD)
    for saver in (InMemorySaver(), old):
        seen.clear()
        graph = harden(builder, [policy]).compile(saver)
        graph.invoke({"text": "fine"}, THREAD) if saver is not old else None
        graph.invoke({"log": ["x"]}, THREAD)

    assert seen == ["[EMAIL_ADDRESS]"]
