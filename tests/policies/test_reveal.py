"""Originals for trusted tools, nodes and readers: before validation, in any spelling of a token, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send
from pydantic import BaseModel, StringConstraints
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, one, saved

from lg_prod_nodes import Redact, as_middleware, harden
from lg_prod_nodes.stores.vault.restoring import Restorer
from lg_prod_nodes.stores.vault.store import Vault
from lg_prod_nodes.stores.vault.tokens import tokens_in

EMAIL, PHONE = "ann@example.com", "+1 (415) 555-2671"
KEY = b"k" * 32
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]+$")]
TOKEN = "[EMAIL_ADDRESS_k3f7q2ab]"


def tokenizing(**settings: Any) -> Redact:
    return Redact(
        "EMAIL_ADDRESS", "PHONE_NUMBER", strategy="tokenize", vault=Vault(key=KEY), **settings
    )


class Mail(BaseModel):
    to: Email
    cc: list[Email] = []
    phones: list[int] = []


class Seen(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        self.seen.append(input_str + repr(kwargs.get("inputs")))

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(repr(error) + str(error))


def mailing(policy: Redact) -> tuple[Any, list[Any]]:
    sent: list[Any] = []

    @tool(args_schema=Mail)
    def send_email(to: str, cc: list[str], phones: list[int]) -> str:
        """Send an e-mail."""
        sent.append((to, cc, phones))
        return f"sent to {to}"

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([send_email]))
    return harden(builder.add_edge(START, "tools"), [policy]).compile(InMemorySaver()), sent


def calling(**args: Any) -> Any:
    call = {"name": "send_email", "args": args, "id": "1"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


async def test_a_tool_s_schema_checks_the_originals(run: Runner) -> None:
    graph, sent = mailing(tokenizing(reveal_to=["send_email"]))
    watch = Seen()
    config: Any = {**THREAD, "callbacks": [watch]}

    result = await run(graph, calling(to=EMAIL, cc=[EMAIL], phones=[PHONE]), config)

    assert sent == [(EMAIL, [EMAIL], [14155552671])]
    assert EMAIL not in str(result) + str(watch.seen) + saved(graph.checkpointer)


async def test_an_original_that_does_not_fit_is_not_shown(run: Runner) -> None:
    graph, sent = mailing(tokenizing(reveal_to=["send_email"]))
    watch = Seen()
    config: Any = {**THREAD, "callbacks": [watch]}

    result = await run(graph, calling(to=f"{EMAIL} or {PHONE}", phones=["x"]), config)

    assert sent == []
    assert "should match pattern" in result["messages"][-1].text
    assert EMAIL not in str(result) + str(watch.seen)


def spelled(token: str) -> dict[str, str]:
    return {
        "percent": token.replace("[", "%5B").replace("]", "%5D"),
        "percent, underscores": token.replace("[", "%5b").replace("_", "%5F").replace("]", "%5d"),
        "markdown": token.replace("[", "\\[").replace("_", "\\_").replace("]", "\\]"),
        "html": token.replace("[", "&#91;").replace("]", "&#93;"),
        "html by name": token.replace("[", "&lsqb;").replace("]", "&rsqb;"),
        "json": token.replace("[", "\\u005b").replace("]", "\\u005D"),
        "lower case": token.lower(),
        "upper case": token.upper(),
    }


@pytest.mark.parametrize("spelling", spelled(TOKEN))
async def test_a_token_is_revealed_however_the_model_spelled_it(run: Runner, spelling: str) -> None:
    policy = tokenizing(reveal_to=["send_email"])
    graph, sent = mailing(policy)
    await run(graph, calling(to=EMAIL), THREAD)
    (known,) = tokens_in(str(graph.get_state(THREAD).values["messages"][0].tool_calls))

    await run(graph, calling(to=spelled(known)[spelling]), THREAD)

    assert sent == [(EMAIL, [], [])] * 2


def test_an_original_is_encoded_in_a_url_as_its_token_was() -> None:
    policy, token = reader()
    address = f"https://a.example/?to={spelled(token)['percent']}&cc={token}"
    assert policy.restore(address, "ada") == f"https://a.example/?to=ann%40example.com&cc={EMAIL}"


class Contact(BaseModel):
    email: Email
    said: str = ""


async def test_a_node_gets_originals_before_its_state_is_validated(run: Runner) -> None:
    seen: list[Any] = []

    def greet(state: Contact) -> Any:
        seen.append(state)
        return {"said": f"hi {state.email}"}

    builder = StateGraph(Contact).add_node("greet", greet).add_edge(START, "greet")
    graph = harden(builder, [tokenizing(reveal_to=["greet"])]).compile(InMemorySaver())

    result = await run(graph, {"email": EMAIL}, THREAD)

    assert seen == [Contact(email=EMAIL)]
    assert result["said"] == f"hi {result['email']}"
    assert EMAIL not in str(result) + saved(graph.checkpointer)


def test_what_is_sent_to_such_a_node_is_not_coerced() -> None:
    seen: list[Any] = []

    def greet(state: Any) -> Any:
        seen.append(state)

    builder = StateGraph(Contact).add_node("greet", greet)
    builder.add_conditional_edges(START, lambda state: [Send("greet", {"email": EMAIL})], ["greet"])
    policy = tokenizing(reveal_to=["greet"], strategies={"EMAIL_ADDRESS": "keep"})
    harden(builder, [policy]).compile().invoke({"email": EMAIL})

    assert seen == [{"email": EMAIL}]


async def test_a_model_that_such_a_node_calls_gets_tokens(run: Runner) -> None:
    model = FakeModel(says="ok")
    heard: list[str] = []

    def ask(state: Any) -> Any:
        heard.append(state["messages"][-1].text)
        return asks(model)(state)

    graph = harden(one(ask, "ask"), [tokenizing(reveal_to=["ask"])]).compile(InMemorySaver())
    await run(graph, {"messages": [("user", EMAIL)]}, THREAD)

    assert heard == [EMAIL]
    (asked,) = model.asked
    assert tokens_in(asked) == {asked}


class Calls(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


async def test_tools_of_middleware_get_originals_too(run: Runner) -> None:
    sent: list[str] = []

    @tool(args_schema=Mail)
    def send_email(to: str, cc: list[str], phones: list[int]) -> str:
        """Send an e-mail."""
        sent.append(to)
        return f"sent to {to}"

    model = Calls(messages=iter([calling(to=EMAIL)["messages"][0], AIMessage("done")]))
    middleware = [as_middleware(tokenizing(reveal_to=["send_email"]))]
    agent = create_agent(model, [send_email], middleware=middleware, checkpointer=InMemorySaver())
    result = await run(agent, {"messages": [("user", "go")]}, THREAD)

    assert sent == [EMAIL]
    assert EMAIL not in str(result)


# The reader


def reader() -> tuple[Redact, str]:
    policy = tokenizing()
    assert policy.vault is not None
    session = policy.vault.session("ada")
    policy.vault.load(session)
    token = session.token("EMAIL_ADDRESS", EMAIL)
    assert policy.vault.keep(session)
    return policy, token


@pytest.mark.parametrize("size", [1, 2, 5, 100])
async def test_pieces_of_a_text_are_restored(size: int) -> None:
    policy, token = reader()
    text = f"write to {token}, or [see] 5% & [EMAIL_ADDRESS_aaaaaaaa] to {token} [EMAIL"
    expected = text.replace(token, EMAIL)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    async def apieces() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    assert "".join(policy.restore(iter(pieces), "ada")) == expected
    assert "".join([piece async for piece in policy.restore(apieces(), "ada")]) == expected
    assert "".join([piece async for piece in await policy.arestore(apieces(), "ada")]) == expected
    assert "".join(policy.restore(iter(pieces), "bob")) == text


@pytest.mark.parametrize("mode", ["messages", "values", ["messages", "updates"]])
async def test_a_graph_s_stream_is_restored_for_its_reader(mode: Any) -> None:
    policy = tokenizing()
    model = FakeModel(says=f"writing to {EMAIL} now")
    graph = harden(one(asks(model)), [policy]).compile(InMemorySaver())
    question: Any = {"messages": [("user", EMAIL)]}

    raw = list(graph.stream(question, THREAD, stream_mode=mode))
    restored = list(policy.restore(graph.stream(question, THREAD, stream_mode=mode), "thread-1"))
    later = policy.restore(graph.astream(question, THREAD, stream_mode=mode), "thread-1")
    arestored = [item async for item in later]

    assert EMAIL not in str(raw)
    for items in (restored, arestored):
        assert not tokens_in(str(items))
        assert said_in(items).count(EMAIL) >= said_in(raw).count("[EMAIL_ADDRESS_")


def said_in(items: Any) -> str:
    return "".join(
        item.content if isinstance(item, AIMessageChunk) else repr(item)
        for each in items
        for item in (flat(each))
    )


def flat(item: Any) -> list[Any]:
    if isinstance(item, AIMessageChunk):
        return [item]
    if isinstance(item, tuple):
        return [part for each in item for part in flat(each)]
    return [item]


async def test_events_are_restored_for_their_reader() -> None:
    policy = tokenizing()
    model = FakeModel(says=f"writing to {EMAIL} now")
    graph = harden(one(asks(model)), [policy]).compile(InMemorySaver())
    events = graph.astream_events({"messages": [("user", EMAIL)]}, THREAD, version="v2")

    restored = [event async for event in policy.restore(events, "thread-1")]

    live = [e["data"]["chunk"].text for e in restored if e["event"] == "on_chat_model_stream"]
    assert "".join(live) == f"writing to {EMAIL} now"
    assert not tokens_in(str(restored))


def test_a_stream_that_is_left_early_is_closed() -> None:
    policy, token = reader()
    closed: list[bool] = []

    def pieces() -> Any:
        try:
            yield token
            yield token
        finally:
            closed.append(True)

    stream: Any = policy.restore(pieces(), "ada")
    assert next(stream) == EMAIL
    stream.close()
    assert closed == [True]


@given(
    st.lists(st.sampled_from([TOKEN, *spelled(TOKEN).values(), "[", "a", "%", " ", "\\", "&"])),
    st.integers(1, 9),
)
def test_restoring_does_not_depend_on_the_pieces(parts: list[str], size: int) -> None:
    text = "".join(parts)
    restorer = Restorer(lambda tokens: dict.fromkeys(tokens, EMAIL))
    stream = restorer.stream()
    live = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size))

    assert live + stream.flush() == restorer(text)
