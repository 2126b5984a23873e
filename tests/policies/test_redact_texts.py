"""What is found in a text, and what stands in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from presidio_analyzer import Pattern, PatternRecognizer
from tests.policies.conftest import FakeModel, Runner, asks, notes, one, said

from lg_prod_nodes import ConfigurationError, ContentBlocked, Redact, Run, as_node, guard, harden

CARD, EMAIL, PHONE = "4111 1111 1111 1111", "ann@example.com", "+1 212 555 0142"
KEY = b"0123456789abcdef"
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
WIDE_ANN = "ann".translate(WIDE)

STAFF = PatternRecognizer("STAFF_ID", patterns=[Pattern("staff", r"\bE-\d{6}\b", 0.9)])
POLICIES = {
    "redact": Redact(),
    "mask": Redact(strategy="mask"),
    "hash": Redact(strategy="hash", key=KEY),
    "own": Redact(*Redact().entities, recognizers=[STAFF]),
}

PIECES = [
    *(CARD, EMAIL, PHONE, "4111111111111111", "2125550142", "078-05-1120", "10.1.2.3"),
    *("2001:db8::beef", "DE89370400440532013000", "E-123456", "[US_SSN]"),
    *("the card of", "ssn", "call", "Ångström", "東京", "\n", "\u2029", "{}"),
]


def texts(*glue: str) -> st.SearchStrategy[str]:
    pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6)
    return st.builds(lambda glue, pieces: glue.join(pieces), st.sampled_from(glue), pieces)


def through(policy: Redact, value: Any) -> Any:
    """What a node gives out whose result is redacted."""
    return guard(policy)(lambda state: value)({})


@pytest.mark.parametrize(
    ("policy", "text", "expected"),
    [
        (Redact(), f"{EMAIL} pays", "[EMAIL_ADDRESS] pays"),
        (Redact(), f"{CARD}, {PHONE}", "[CREDIT_CARD], [PHONE_NUMBER]"),
        (Redact("CREDIT_CARD"), f"{EMAIL}: {CARD}", f"{EMAIL}: [CREDIT_CARD]"),
        (Redact(strategy="mask"), CARD, "***************1111"),
        (Redact("IP_ADDRESS", strategy="mask"), "1.1.1.1", "****.1.1"),
        (Redact(strategies={"CREDIT_CARD": "mask"}), f"{CARD} {EMAIL}", "***************1111 [EMAIL_ADDRESS]"),
        (Redact(recognizers=[STAFF]), f"E-123456 {EMAIL}", f"[STAFF_ID] {EMAIL}"),
        (POLICIES["own"], f"E-123456 {EMAIL}", "[STAFF_ID] [EMAIL_ADDRESS]"),
        (Redact("PHONE_NUMBER", threshold=0.9), PHONE, PHONE),
    ],
)  # fmt: skip
def test_puts_something_else_in_its_place(policy: Redact, text: str, expected: str) -> None:
    assert through(policy, {"text": text}) == {"text": expected}


def test_equal_values_have_equal_digests_that_need_the_key() -> None:
    first, again, other = (
        through(Redact(strategy="hash", key=key), f"{EMAIL} {PHONE}") for key in (KEY, KEY, b"k")
    )

    assert first == again != other
    assert EMAIL not in first
    assert first.startswith("[EMAIL_ADDRESS:")
    assert len(first.split()[0]) == len("[EMAIL_ADDRESS:0123456789abcdef]")


async def test_blocks_where_that_is_the_strategy(run: Runner) -> None:
    graph = harden(one(notes("ran")), [Redact("EMAIL_ADDRESS", strategy="block")]).compile()

    with pytest.raises(ContentBlocked) as blocked:
        await run(graph, {"text": EMAIL})

    assert blocked.value.categories == ("EMAIL_ADDRESS",)
    assert blocked.value.policy == "Redact"
    assert EMAIL not in str(blocked.value)


def test_single_entities_may_block_while_the_others_are_replaced() -> None:
    policy = Redact(strategies={"US_SSN": "block"})

    assert through(policy, EMAIL) == "[EMAIL_ADDRESS]"
    with pytest.raises(ContentBlocked):
        through(policy, f"{EMAIL}, ssn 219-09-9999")


@given(value=st.integers(-(10**6) + 1, 10**6 - 1) | st.floats(allow_nan=False))
def test_numbers_that_say_nothing_stay_untouched(value: float) -> None:
    state = {"amount": value, "deep": [value]}

    assert through(Redact(), state) is state


def test_a_number_is_taken_for_what_its_key_says() -> None:
    state = {"card": 4111111111111111, "phone": 2125550142, "order": 2125550142}

    cleaned = {"card": "[CREDIT_CARD]", "phone": "[PHONE_NUMBER]"}
    assert through(Redact(), state) == state | cleaned


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@given(text=texts(", ", " and ", " ", "/"))
def test_redacting_twice_is_redacting_once_and_nothing_is_left_to_find(
    policy: Redact, text: str
) -> None:
    once = through(policy, {"text": text})

    assert through(policy, once) is once


@given(text=texts(", ", "; ", " and "))
def test_nothing_is_left_of_what_stands_apart(text: str) -> None:
    once = through(Redact(), {"text": text})["text"]

    assert not [piece for piece in (CARD, EMAIL, PHONE) if piece in once]


@pytest.mark.parametrize(
    "text",
    [
        f"users/{EMAIL}",
        f"{PHONE} {CARD}",
        f"{CARD} {PHONE}",
        f"{EMAIL} {EMAIL}",
        f"\ufb01le {EMAIL.translate(WIDE)}",
    ],
)
def test_nothing_is_left_of_close_neighbours(text: str) -> None:
    once = through(Redact(), text)

    assert not [digit for digit in ("4111", "0142", "ann", WIDE_ANN) if digit in once]


def test_what_a_mask_leaves_is_no_finding_again() -> None:
    once = through(POLICIES["mask"], {"text": "2001:db8::1"})

    assert through(POLICIES["mask"], once) is once


ARGUMENTS = [
    {"to": EMAIL, "cc": [PHONE, f'"{EMAIL}"'], "note": f"line\n{CARD}"},
    {"card": 4111111111111111},
    {"note": f"to\n{EMAIL}"},
    {"see": "https://example.com/a"},
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_tool_call_s_arguments_stay_json(arguments: dict[str, Any]) -> None:
    text = json.dumps(arguments)
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": text}}
    message = AIMessage("", id="m", additional_kwargs={"tool_calls": [call]})

    cleaned = through(Redact(*Redact().entities, "URL"), {"messages": [message]})["messages"][0]
    after = cleaned.additional_kwargs["tool_calls"][0]

    assert json.loads(after["function"]["arguments"]).keys() == arguments.keys()
    assert after["function"]["arguments"] != text
    assert (cleaned.id, after["id"], after["function"]["name"]) == ("m", "1", "send")


def test_a_prebuilt_node_replaces_messages_by_their_ids() -> None:
    graph = one(as_node(Redact("EMAIL_ADDRESS"))).compile()
    asked = [HumanMessage(EMAIL, id="1"), HumanMessage("fine", id="2")]

    cleaned = graph.invoke({"messages": asked})["messages"]

    assert cleaned == [HumanMessage("[EMAIL_ADDRESS]", id="1"), asked[1]]


def test_tells_what_was_found_by_name_and_number(model: FakeModel) -> None:
    told = Run()
    model.says = EMAIL
    graph = harden(one(asks(model)), [Redact("EMAIL_ADDRESS")]).compile()

    result = graph.invoke({"messages": [("user", f"{EMAIL}, {EMAIL}")]}, control=told)

    assert said(result) == ["[EMAIL_ADDRESS], [EMAIL_ADDRESS]", "[EMAIL_ADDRESS]"]
    assert told.report.found == {"EMAIL_ADDRESS": 3}
    assert EMAIL not in repr(told.report)


@pytest.mark.parametrize(
    ("entities", "settings", "says"),
    [
        (("EMAIL",), {}, "no recognizer for EMAIL; known are .*EMAIL_ADDRESS"),
        ((), {"strategy": "star"}, "unknown strategy 'star'; choose one of redact, mask"),
        ((), {"strategies": {"US_SSN": "star"}}, "unknown strategy 'star'"),
        ((), {"strategy": "hash"}, "needs key="),
        ((), {"strategies": {"US_SSN": "hash"}}, "needs key="),
        ((), {"threshold": 1.5}, "threshold is 1.5"),
        (("US_SSN",), {"strategies": {"IBAN_CODE": "mask"}}, "IBAN_CODE, which is not looked for"),
    ],
)
def test_settings_that_cannot_work_are_refused_while_building(
    entities: tuple[str, ...], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Redact(*entities, **settings)


def test_the_key_does_not_show() -> None:
    assert "0123456789abcdef" not in repr(POLICIES["hash"])
