"""Strategies by location, functions as strategies, and surrogates of the same form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel, StringConstraints
from tests.policies.conftest import FakeModel, Runner, one

from lg_prod_nodes import At, ConfigurationError, ContentBlocked, Redact, harden
from lg_prod_nodes.content.location import ANSWER
from lg_prod_nodes.content.message_stream import MessageStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.detectors.surrogates import Surrogates
from lg_prod_nodes.stores.vault.store import Vault

EMAIL, PHONE, CARD = "ann@example.com", "+14155552671", "4111 1111 1111 1111"
KEY = b"k" * 32
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]+$")]


def cleaned(value: Any, **settings: Any) -> Any:
    return rewrite(value, Redact(**settings).replacer())


@dataclass
class Person:
    email: str


CALL: Any = {"name": "send", "args": {"to": EMAIL, "cc": EMAIL}, "id": "1", "type": "tool_call"}
CLEAN = "[EMAIL_ADDRESS]"


@pytest.mark.parametrize(
    ("value", "at", "expected"),
    [
        ({"a": EMAIL, "b": EMAIL}, At("a"), {"a": EMAIL, "b": CLEAN}),
        ({"a": {"b": EMAIL}, "b": EMAIL}, At("a.b"), {"a": {"b": EMAIL}, "b": CLEAN}),
        ({"x": {"a": EMAIL}, "a": EMAIL}, At(field="a"), {"x": {"a": CLEAN}, "a": EMAIL}),
        (
            {"x": {"a": EMAIL, "b": EMAIL}, "a": EMAIL},
            At("a", field="x"),
            {"x": {"a": EMAIL, "b": CLEAN}, "a": CLEAN},
        ),
        ({"a": [{"b": [EMAIL]}]}, At("a"), {"a": [{"b": [EMAIL]}]}),
        ({"p": Person(EMAIL)}, At("email"), {"p": Person(EMAIL)}),
        ({"p": Person(EMAIL)}, At("p.email"), {"p": Person(EMAIL)}),
        ({"args": CALL}, At(tool="send"), {"args": CALL}),
        ({"args": CALL}, At(tool="other"), {"args": {**CALL, "args": {"to": CLEAN, "cc": CLEAN}}}),
        (CALL, At("to", tool="send"), {**CALL, "args": {"to": EMAIL, "cc": CLEAN}}),
    ],
)
def test_a_location_has_its_own_strategy(value: Any, at: At, expected: Any) -> None:
    assert cleaned(value, strategies={at: "keep"}) == expected


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        (json.dumps({"a": EMAIL, "b": EMAIL}), At("a"), json.dumps({"a": EMAIL, "b": CLEAN})),
        (
            f'```json\n{{"x": [{{"a": "{EMAIL}"}}], "b": "{EMAIL}"}}\n```',
            At("x.a"),
            f'```json\n{{"x": [{{"a": "{EMAIL}"}}], "b": "{CLEAN}"}}\n```',
        ),
    ],
)
def test_keys_in_a_text_count_where_a_model_or_tool_wrote_it(
    text: str, at: At, expected: str
) -> None:
    clean = text.replace(EMAIL, CLEAN)
    for message, left in (
        (AIMessage(text), expected),
        (ToolMessage(text, tool_call_id="1", name="send"), expected),
        ({"role": "assistant", "content": text}, expected),
        (HumanMessage(text), clean),
        ({"role": "user", "content": text}, clean),
        (("user", text), clean),
    ):
        (made,) = cleaned({"messages": [message]}, strategies={at: "keep"})["messages"]
        assert convert_to_messages([made])[0].content == left


def test_a_kept_message_is_cleaned_for_the_model() -> None:
    model = FakeModel(says="ok")

    def ask(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = harden(one(ask), [Redact(strategies={At(field="messages"): "keep"})]).compile()
    result = graph.invoke({"messages": [("user", EMAIL)]})

    assert result["messages"][0].content == EMAIL
    assert model.asked == [CLEAN]


def test_no_location_covers_exceptions_and_logs() -> None:
    from lg_prod_nodes.content.rules import LOGS
    from lg_prod_nodes.content.walk import walked

    policy = Redact(strategies={At("text"): "keep", At(field="text"): "keep"})
    assert walked({"text": EMAIL}, policy.replacer(), LOGS) == {"text": CLEAN}

    def fails(state: Any) -> Any:
        raise ValueError({"text": state["text"]})

    with pytest.raises(ValueError, match="EMAIL_ADDRESS") as caught:
        harden(one(fails), [policy]).compile().invoke({"text": EMAIL})
    assert EMAIL not in str(caught.value)


def test_a_tools_arguments_and_result_are_one_location() -> None:
    arguments = json.dumps({"to": EMAIL})
    messages = [
        HumanMessage(EMAIL),
        AIMessage(
            EMAIL,
            tool_calls=[CALL],
            additional_kwargs={
                "tool_calls": [
                    {"type": "function", "function": {"name": "send", "arguments": arguments}}
                ]
            },
        ),
        ToolMessage(EMAIL, tool_call_id="1", name="send"),
        ToolMessage(EMAIL, tool_call_id="2", name="other"),
    ]

    asked, calls, sent, other = cleaned(
        {"messages": messages}, strategies={At(tool="send"): "keep"}
    )["messages"]

    assert (asked.content, calls.content, other.content) == (CLEAN, CLEAN, CLEAN)
    assert calls.tool_calls[0]["args"] == CALL["args"]
    assert calls.additional_kwargs == messages[1].additional_kwargs
    assert sent.content == EMAIL


def test_the_first_location_that_applies_wins_and_other_entities_keep_their_strategy() -> None:
    text = f"{EMAIL} {CARD} {PHONE}"
    strategies: Any = {
        "CREDIT_CARD": "mask",
        At("a"): {"EMAIL_ADDRESS": "keep"},
        At(field="a"): {"EMAIL_ADDRESS": "block", "PHONE_NUMBER": "hash"},
    }

    left = cleaned({"a": text}, strategies=strategies, key=KEY)["a"]

    assert re.fullmatch(rf"{EMAIL} \*+1111 \[PHONE_NUMBER:[0-9a-f]+\]", left)


def test_a_location_can_block() -> None:
    graph = harden(
        one(lambda state: {"text": EMAIL}), [Redact(strategies={At(field="text"): "block"})]
    ).compile()
    with pytest.raises(ContentBlocked):
        graph.invoke({"messages": []})


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_streamed_arguments_end_as_whole_ones_do(size: int) -> None:
    text = json.dumps({"cc": EMAIL, "to": EMAIL, "n": [{"to": PHONE}], "card": CARD})
    replacer = Redact(strategies={At("to", tool="send"): "keep"}).replacer()
    stream = MessageStream([replacer])
    first = {"name": "send", "args": "", "id": "1", "index": 0}
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    chunks = [
        AIMessageChunk("", tool_call_chunks=[call])
        for call in (first, *({**first, "name": None, "id": None, "args": p} for p in pieces))
    ]

    left = [c for chunk in chunks for c in stream.feed(ChatGenerationChunk(message=chunk))]
    joined: Any = left[0].message
    for chunk in [*left[1:], *stream.flush()]:
        joined += chunk.message

    assert joined.tool_calls[0]["args"] == {
        "cc": CLEAN,
        "to": EMAIL,
        "n": [{"to": PHONE}],
        "card": "[CREDIT_CARD]",
    }


def test_streamed_arguments_in_content_blocks_are_those_of_their_tool() -> None:
    text = json.dumps({"to": EMAIL, "cc": EMAIL})
    stream = MessageStream([Redact(strategies={At("to", tool="send"): "keep"}).replacer()])
    called = {"type": "tool_use", "id": "1", "name": "send", "input": {}, "index": 1}
    pieces = [
        {"type": "input_json_delta", "partial_json": text[at : at + 5], "index": 1}
        for at in range(0, len(text), 5)
    ]
    chunks = [AIMessageChunk([block]) for block in (called, *pieces)]

    left = [c for chunk in chunks for c in stream.feed(ChatGenerationChunk(message=chunk))]
    said = "".join(
        block.get("partial_json", "")
        for chunk in (*left, *stream.flush())
        for block in chunk.message.content
        if isinstance(block, dict)
    )

    assert json.loads(said) == {"to": EMAIL, "cc": CLEAN}


@given(st.text(alphabet='{}[]":,\\ab1 @', max_size=60), st.integers(1, 7))
def test_a_place_in_json_does_not_depend_on_the_pieces(noise: str, size: int) -> None:
    text = f'{noise}{{"a": "{EMAIL}", "b": "{EMAIL}"}}'
    replacer = Redact("EMAIL_ADDRESS", strategies={At("a"): "keep"}).replacer().at((ANSWER,))
    stream = replacer.stream()
    live = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size))

    assert live + stream.flush() == replacer(text)


async def test_what_is_kept_reaches_models_tools_and_state(run: Runner) -> None:
    model = FakeModel(says="ok")

    def ask(state: Any) -> Any:
        return {"messages": [model.invoke([HumanMessage(state["text"])])], "text": state["text"]}

    graph = harden(one(ask), [Redact(strategies={At(field="text"): "keep"})]).compile()
    result = await run(graph, {"messages": [], "text": EMAIL})

    assert result["text"] == EMAIL
    assert model.asked == [CLEAN]


def test_a_field_is_no_place_in_the_store_or_in_a_stream() -> None:
    from langgraph.config import get_stream_writer
    from langgraph.store.base import BaseStore
    from langgraph.store.memory import InMemoryStore

    def writes(state: Any, *, store: BaseStore) -> Any:
        store.put(("notes",), "1", {"text": EMAIL})
        get_stream_writer()({"text": EMAIL})

    store = InMemoryStore()
    policy = Redact(strategies={At(field="text"): "keep"})
    graph = harden(one(writes), [policy]).compile(store=store)
    (streamed,) = graph.stream({"text": EMAIL}, stream_mode="custom")

    assert streamed == {"text": CLEAN}
    assert store.search(("notes",))[0].value == {"text": CLEAN}


def test_a_function_gives_the_replacement() -> None:
    seen: list[str] = []

    def shown(value: str) -> str:
        seen.append(value)
        return f"{value[0]}...@example.org"

    policy = Redact(strategies={"EMAIL_ADDRESS": shown})
    once = rewrite(f"write to {EMAIL} now", policy.replacer())

    assert once == "write to a...@example.org now"
    assert rewrite(once, policy.replacer()) == once
    assert seen == [EMAIL]


def test_a_functions_output_that_looks_like_data_passes_further_boundaries() -> None:
    numbers: Iterator[int] = iter(range(100))
    policy = Redact(strategy=lambda value: f"user{next(numbers)}@corp.example")
    graph = harden(one(lambda state: {"text": state["text"]}), [policy]).compile()

    assert graph.invoke({"text": EMAIL})["text"] == "user0@corp.example"


def test_a_function_that_returns_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="returned a NoneType; return a text"):
        cleaned(EMAIL, strategy=lambda value: None)


def test_what_a_function_returns_for_a_number_keeps_json_valid() -> None:
    text = '{"phone": 2125550142, "n": {"phone": 2125550142, "a": [1e3, true]}, "card": 4111111111111111}'
    left = cleaned(
        text, strategies={"PHONE_NUMBER": lambda value: "user@corp", "CREDIT_CARD": "mask"}
    )

    assert json.loads(left) == {
        "phone": "user@corp",
        "n": {"phone": "user@corp", "a": [1000.0, True]},
        "card": "************1111",
    }


def test_numbers_in_messages_are_searched_with_locations_too() -> None:
    message = {"role": "user", "content": "x", "created": 1700000000, "phone": 2125550142}
    call = {**CALL, "args": [4111111111111111]}

    assert cleaned([message, call], strategies={At("a"): "keep"}) == cleaned([message, call])


VALUES = [
    ("EMAIL_ADDRESS", EMAIL),
    ("CREDIT_CARD", CARD),
    ("CREDIT_CARD", "4111111111111111"),
    ("CREDIT_CARD", "3782-822463-10005"),
    ("IBAN_CODE", "DE89 3704 0044 0532 0130 00"),
    ("IBAN_CODE", "GB29NWBK60161331926819"),
    ("PHONE_NUMBER", PHONE),
    ("PHONE_NUMBER", "(212) 555-0142"),
    ("PHONE_NUMBER", "+44 20 7946 0958"),
    ("PHONE_NUMBER", "+33 6 12 34 56 78"),
    ("PHONE_NUMBER", "020 7946 0958"),
    ("US_SSN", "219-09-9999"),
    ("IP_ADDRESS", "81.2.69.160"),
    ("IP_ADDRESS", "2a02:26f7::1"),
]


@pytest.mark.parametrize(("entity", "value"), VALUES)
def test_a_surrogate_has_the_form_of_its_value_and_stays(entity: str, value: str) -> None:
    replacer = Redact(strategy="surrogate", key=KEY).replacer()
    for text in (
        value,
        f"my phone number, card or e-mail is {value}.",
        f'{{"{entity}": "{value}"}}',
    ):
        once = replacer(text)

        assert value not in once
        assert replacer(once) == once
        if entity not in ("EMAIL_ADDRESS", "IP_ADDRESS"):
            assert re.sub(r"\d", "0", once) == re.sub(r"\d", "0", text) or entity == "IBAN_CODE"
            assert len(once) == len(text)
    assert replacer.take() == {entity: 3}


def passes_luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def test_the_same_digits_in_another_shape_have_a_surrogate_of_that_shape() -> None:
    make = Surrogates(KEY).of
    plain, spaced = make("CREDIT_CARD", "4111111111111111"), make("CREDIT_CARD", CARD)
    dashed = make("CREDIT_CARD", CARD.replace(" ", "-"))
    assert plain
    assert spaced
    assert dashed
    assert spaced.replace(" ", "") == dashed.replace("-", "") == plain


PIECES = {EMAIL: EMAIL, CARD: "[CREDIT_CARD]", "192.0.2.7": "*****.2.7", "word": "word"}


@given(st.lists(st.sampled_from([*PIECES, "cat@example.com"]), max_size=12))
def test_what_stays_stays_among_what_is_replaced(parts: list[str]) -> None:
    function = lambda value: value if value == EMAIL else "someone@example.org"  # noqa: E731
    strategies: Any = {"EMAIL_ADDRESS": function, "IP_ADDRESS": "mask"}
    text = ", ".join(parts)

    left = cleaned(text, strategies=strategies)

    expected = {**PIECES, "cat@example.com": "someone@example.org"}
    assert left == ", ".join(expected[part] for part in parts)


def test_surrogates_are_valid() -> None:
    import phonenumbers

    make = Surrogates(KEY).of
    for entity, value in VALUES:
        made = make(entity, value)
        assert made
        if entity == "CREDIT_CARD":
            assert passes_luhn(re.sub(r"\D", "", made))
        if entity == "IBAN_CODE":
            compact = made.replace(" ", "")
            assert int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
    american = make("PHONE_NUMBER", PHONE)
    assert american
    assert phonenumbers.is_valid_number(phonenumbers.parse(american))


def test_a_surrogate_depends_on_the_value_and_the_key_alone() -> None:
    values = [f"user{n}@corp.example" for n in range(300)]
    made = [Surrogates(KEY).of("EMAIL_ADDRESS", value) for value in values]

    assert len(set(made)) == 300
    assert made == [Surrogates(KEY).of("EMAIL_ADDRESS", value.upper()) for value in values]
    assert not set(made) & {Surrogates(b"x" * 32).of("EMAIL_ADDRESS", value) for value in values}


def test_what_has_no_form_gets_its_name() -> None:
    assert cleaned("password=hunter2hunter2", strategy="surrogate", key=KEY) == "password=[SECRET]"
    assert Surrogates(KEY).of("PHONE_NUMBER", "%2B1 (415) 555-2671") is None


def test_a_number_stays_a_number() -> None:
    state = {"phone": 2125550142, "card": 4111111111111111}
    made = cleaned(state, strategy="surrogate", key=KEY)

    assert made != state
    assert all(type(value) is int for value in made.values())
    assert cleaned(made, strategy="surrogate", key=KEY) == made
    assert cleaned({"phone": 2125550142}, strategy=lambda value: "555" + value[3:]) == {
        "phone": 5555550142
    }


class Contact(BaseModel):
    email: Email
    phone: int = 0
    greeting: str = ""


async def test_constrained_state_works_with_surrogates(run: Runner) -> None:
    def greet(state: Contact) -> Any:
        return {"greeting": f"hi {state.email}"}

    builder = StateGraph(Contact).add_node("greet", greet).add_edge(START, "greet")
    graph = harden(builder, [Redact(strategy="surrogate", key=KEY)]).compile()

    result = await run(graph, {"email": EMAIL, "phone": 14155552671})

    assert result["greeting"] == f"hi {result['email']}"
    assert EMAIL not in str(result)
    assert "4155552671" not in str(result)


async def test_typed_tools_work_with_surrogates(run: Runner) -> None:
    sent: list[Any] = []

    class Mail(BaseModel):
        to: Email
        phone: int

    @tool(args_schema=Mail)
    def send_email(to: str, phone: int) -> str:
        """Send an e-mail."""
        sent.append((to, phone))
        return "ok"

    call = {"name": "send_email", "args": {"to": EMAIL, "phone": 2125550142}, "id": "1"}
    builder = StateGraph(MessagesState).add_node("tools", ToolNode([send_email]))
    builder.add_edge(START, "tools")
    graph = harden(builder, [Redact(strategy="surrogate", key=KEY)]).compile()

    await run(graph, {"messages": [AIMessage("", tool_calls=[call])]})

    ((to, phone),) = sent
    assert to.endswith("@redacted.example.com")
    assert phone != 2125550142


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategy": "surogate"}, "did you mean 'surrogate'?"),
        ({"strategies": {At("a"): "kep"}}, "did you mean 'keep'?"),
        ({"strategies": {At("a"): {"CREDIT_CRAD": "keep"}}}, "did you mean 'CREDIT_CARD'?"),
        ({"strategies": {"EMAIL_ADRESS": "mask"}}, "did you mean 'EMAIL_ADDRESS'?"),
        ({"strategies": {At("a"): "surrogate"}}, "'surrogate' needs key="),
        (
            {"strategies": {("a", "b"): "keep"}},
            "is given for a tuple; give an entity's name or At(",
        ),
        ({"strategies": {At("a"): "tokenize"}}, "needs vault="),
    ],
)
def test_an_unknown_name_is_refused(settings: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Redact(**settings)


@pytest.mark.parametrize("location", [{}, {"path": 7}, {"field": ""}, {"tool": 1}])
def test_a_location_names_something(location: Any) -> None:
    with pytest.raises(ConfigurationError, match="names no location"):
        At(**location)


@tool
def send_email(to: str) -> str:
    """Send an e-mail."""
    return "ok"


def mailing() -> StateGraph[Any]:
    builder = StateGraph(Contact).add_node("greet", lambda state: {})
    inner = StateGraph(MessagesState).add_node("tools", ToolNode([send_email]))
    builder.add_node("mail", inner.add_edge(START, "tools").compile())
    return builder.add_edge(START, "greet")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"strategies": {At(field="emial"): "keep"}}, "did you mean 'email'?"),
        ({"strategies": {At(field="other"): "keep"}}, "it has email, greeting, messages, phone"),
        ({"strategies": {At(tool="send_emial"): "keep"}}, "did you mean 'send_email'?"),
        ({"reveal_to": ["send_mail"]}, "did you mean 'send_email'?"),
        ({"reveal_to": ["gret"]}, "did you mean 'greet'?"),
    ],
)
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_name_that_the_graph_lacks_is_refused(
    settings: Any, says: str, is_compiled: bool
) -> None:
    policy = Redact("EMAIL_ADDRESS", strategy="tokenize", vault=Vault(key=KEY), **settings)
    graph: Any = mailing().compile() if is_compiled else mailing()
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        harden(graph, [policy])


def test_names_that_the_graph_or_an_inner_one_has_or_may_have_are_taken() -> None:
    strategies: Any = {
        At(field="messages"): "keep",
        At(tool="send_email"): "keep",
        At(tool="made_later"): "keep",
    }
    policy = Redact(vault=Vault(key=KEY), strategies=strategies, reveal_to=["tools", "made_later"])
    assert harden(mailing(), [policy])
