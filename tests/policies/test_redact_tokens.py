"""Tokens in place of personal values: one for a thread, originals for trusted tools and readers, until forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, notes, one, said, saved

from lg_prod_nodes import ConfigurationError, Redact, by_user, harden
from lg_prod_nodes.stores.vault.store import TOKEN, Vault

EMAIL = "ann@example.com"
KEY = b"k" * 32


@pytest.fixture(params=["memory", "postgres"])
def vault(request: pytest.FixtureRequest) -> Iterator[Vault]:
    dsn = request.getfixturevalue("dsn") if request.param == "postgres" else None
    with Vault(dsn, key=KEY) as vault:
        yield vault


def tokenizing(vault: Vault, **settings: Any) -> Redact:
    return Redact("EMAIL_ADDRESS", strategy="tokenize", vault=vault, **settings)


async def test_a_value_has_the_same_token_throughout_its_thread(run: Runner, vault: Vault) -> None:
    model = FakeModel(says=f"writing to {EMAIL}")
    saver = InMemorySaver()
    graph = harden(one(asks(model)), [tokenizing(vault)]).compile(saver)

    result = await run(graph, {"messages": [("user", f"I am {EMAIL}")]}, THREAD)

    asked, answer = said(result)
    (token,) = TOKEN.findall(asked)
    assert answer == f"writing to {token}"
    assert model.asked == [f"I am {token}"]
    assert vault.resolve("thread-1", [token]) == {token: EMAIL}
    assert EMAIL not in saved(saver)


async def test_what_streams_has_tokens_that_can_be_resolved(vault: Vault) -> None:
    model = FakeModel(says=f"writing to {EMAIL} now")
    graph = harden(one(asks(model)), [tokenizing(vault)]).compile(InMemorySaver())

    parts = [m.text for m, _ in graph.stream({"messages": []}, THREAD, stream_mode="messages")]

    (token,) = TOKEN.findall("".join(parts))
    assert vault.restore("thread-1", "".join(parts)) == f"writing to {EMAIL} now"
    assert token


class Watch(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.seen.append(input_str)

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.seen.append(repr(output))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_tool_that_may_see_them_gets_the_originals(vault: Vault, is_async: bool) -> None:
    sent: list[str] = []

    @tool
    def send_email(to: str) -> str:
        """Send an e-mail."""
        sent.append(to)
        return f"sent to {to}"

    @tool
    def look_up(who: str) -> str:
        """Look someone up."""
        sent.append(who)
        return "nobody"

    calls = [
        {"name": "send_email", "args": {"to": EMAIL}, "id": "1"},
        {"name": "look_up", "args": {"who": EMAIL}, "id": "2"},
    ]
    builder = StateGraph(MessagesState).add_node("tools", ToolNode([send_email, look_up]))
    builder.add_edge(START, "tools")
    graph = harden(builder, [tokenizing(vault, reveal_to=["send_email"])]).compile(InMemorySaver())
    watch = Watch()
    inputs = {"messages": [AIMessage("", tool_calls=calls)]}
    config: Any = {**THREAD, "callbacks": [watch]}

    result = await graph.ainvoke(inputs, config) if is_async else graph.invoke(inputs, config)

    (token,) = TOKEN.findall(str(result["messages"][0].tool_calls[0]["args"]))
    assert sorted(sent) == sorted([EMAIL, token])
    assert [m.text for m in result["messages"][1:]] == [f"sent to {token}", "nobody"]
    assert EMAIL not in str(watch.seen)


def test_a_final_reader_may_have_them_back(vault: Vault) -> None:
    policy = tokenizing(vault)
    graph = harden(one(notes("ran")), [policy]).compile(InMemorySaver())

    result = graph.invoke({"messages": [HumanMessage(EMAIL, id="1")]}, THREAD)

    assert policy.restore(result, "thread-1")["messages"] == [HumanMessage(EMAIL, id="1")]
    assert policy.restore(result, "another") == result


async def test_a_subject_that_is_forgotten_leaves_tokens_that_mean_nothing(vault: Vault) -> None:
    policy = tokenizing(vault, by=by_user)
    saver = InMemorySaver()
    graph = harden(one(notes("ran")), [policy]).compile(saver)
    config: Any = {"configurable": {**THREAD["configurable"], "user_id": "ann"}}
    before = graph.invoke({"messages": [("user", EMAIL)]}, config)

    assert vault.forget("ann")

    assert await policy.arestore(before, "ann") == before
    assert graph.get_state(config).values["messages"] == before["messages"]
    after = graph.invoke({"messages": [("user", EMAIL)]}, config)
    old, new = said(after)
    assert TOKEN.fullmatch(old)
    assert TOKEN.fullmatch(new)
    assert old != new
    assert policy.restore(new, "ann") == EMAIL


def test_a_token_is_no_finding(vault: Vault) -> None:
    policy = tokenizing(vault)
    graph = harden(one(lambda state: state), [policy]).compile(InMemorySaver())

    once = graph.invoke({"text": f"{EMAIL}, {EMAIL}"}, THREAD)["text"]

    assert len(set(TOKEN.findall(once))) == 1
    assert graph.invoke({"text": once}, THREAD)["text"] == once


def test_only_the_named_entities_are_tokenized(vault: Vault) -> None:
    policy = Redact(
        "EMAIL_ADDRESS", "US_SSN", strategies={"EMAIL_ADDRESS": "tokenize"}, vault=vault
    )
    graph = harden(one(lambda state: state), [policy]).compile()

    text = graph.invoke({"text": f"{EMAIL}, ssn 219-09-9999"})["text"]

    assert TOKEN.search(text)
    assert text.endswith(", ssn [US_SSN]")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "tokenize"}, "needs vault="),
        ({"reveal_to": ["send_email"]}, "reveal_to needs the strategy 'tokenize'"),
        ({"reveal_to": "send_email"}, "reveal_to is a text"),
        ({"detector_down": "pass"}, "choose 'raise' or 'admit'"),
        ({"thresholds": {"IBAN": 0.5}}, "IBAN, which is not looked for"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Redact(**settings)
