"""A value that needs no walk: whatever is taken for ordinary, a walk and a search find nothing in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from lg_prod_nodes import ContentFilter, Redact
from lg_prod_nodes.content.ordinary import is_ordinary
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.plain import PlainText
from lg_prod_nodes.detectors.terms import PlainOfTerms

TERMS = ["kill switch", "bomb", "Naïve", "爆弾", "c++"]
ENTITIES = (*DEFAULT_ENTITIES, "URL")

PIECES = st.one_of(
    st.sampled_from(
        [
            *("4111 1111 1111 1111", "078-05-1120", "078 05 1120", "GB82 WEST 1234 5698 7654 32"),
            *("+1 (212) 555-0142", "212 555 0142", "2125550142", "555-0142", "ann@example.com"),
            *("10.0.0.1", "2001:db8::1", "https://a.io/x", "example.com", "AKIAIOSFODNN7EXAMPLE"),
            *(
                "pin 1234",
                "the password is hunter",
                "Passwort: geheim",
                "token abc",
                "ghp_16C7e42F",
            ),
            *(
                "my code is 8841",
                "key\n123",
                "BASIC dXNlcg==",
                "kill  switch",
                "BOMB",
                "bombs",
                "n1",
            ),
            *(
                "nai\u0308ve",
                "n\uff41\u00efve",
                "C++",
                "爆弾",
                "%40",
                "a&amp;b",
                "c\\u0061rd",
                "12 345",
            ),
        ]
    ),
    st.text("0123456789 .-", max_size=14),
    st.text("abpPsSxX kKeEyY019.,:;'!?@-", max_size=12),
    st.text(max_size=8),
)
TEXTS = st.lists(PIECES, max_size=4).map(" ".join)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(
            st.sampled_from(["words", "password", "note", "content", "id"]) | TEXTS, inner
        )
        | TEXTS.map(HumanMessage)
        | st.builds(
            lambda text, more: AIMessage(text, response_metadata={"note": more}), TEXTS, inner
        )
        | st.builds(
            lambda text, more: ToolMessage(text, tool_call_id="1", artifact=more), TEXTS, inner
        )
    ),
    max_leaves=6,
)


@cache
def detector() -> Detector:
    return Detector(ENTITIES)


@cache
def terms() -> ContentFilter:
    return ContentFilter(TERMS)


@given(TEXTS)
@example("1 2 3 4 5 6")
@settings(max_examples=1500, deadline=None)
def test_a_plain_text_holds_no_entity(text: str) -> None:
    if PlainText(ENTITIES).is_plain(text):
        assert detector().find(text) == ()


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_a_text_that_is_plain_for_the_terms_holds_none(text: str) -> None:
    if PlainOfTerms(TERMS).is_plain(text):
        assert terms().detector.find(text) == ()


@given(VALUES)
@settings(max_examples=600, deadline=None)
def test_a_walk_changes_nothing_in_an_ordinary_value(value: Any) -> None:
    change = Redact(*ENTITIES).replacer().change
    if is_ordinary(value, PlainText(ENTITIES).is_plain):
        assert rewrite(value, change) is value


def never(text: str) -> bool:
    return False


def always(text: str) -> bool:
    return True


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [HumanMessage("Hello"), AIMessage("Hi.", response_metadata={"model": "x"})]},
        {"words": ["n1"], "count": 3, "is_done": False, "rest": None, "pair": (1.5, "b")},
        ToolMessage("12 degrees", tool_call_id="call_8f14e45fceea167a5a36dedd4bea2543"),
        "hello",
    ],
    ids=repr,
)
def test_everyday_values_are_ordinary(value: Any) -> None:
    assert is_ordinary(value, PlainText(ENTITIES).is_plain)
    assert not is_ordinary(value, never)


@pytest.mark.parametrize(
    "value",
    [
        {"password": "x"},
        {"a-b": "x"},
        {1: "x"},
        {"phone": 2125550142},
        {
            "role": "user",
            "content": [{"type": "text", "text": "212 555"}, {"type": "text", "text": "0142"}],
        },
        HumanMessage([{"type": "text", "text": "x"}]),
        HumanMessage("x", note="y"),
        ["x"] * 33,
        "x" * 101,
        1j,
        {"x"},
    ],
    ids=repr,
)
def test_what_a_walk_treats_specially_is_walked(value: Any) -> None:
    assert not is_ordinary(value, always)


@pytest.mark.parametrize("entities", [("PERSON",), ("EMAIL_ADDRESS", "MEDICAL_LICENSE")])
def test_no_text_is_plain_for_entities_without_marks(entities: tuple[str, ...]) -> None:
    assert not PlainText(entities).is_plain("Ann")


@pytest.mark.parametrize(
    "find", [Redact("EMAIL_ADDRESS"), ContentFilter(["bomb"])], ids=["Redact", "ContentFilter"]
)
def test_a_field_of_a_message_is_read(find: Any) -> None:
    is_plain: Callable[[str], bool] = find._plain.is_plain
    for text in ("ann@example.com", "a bomb"):
        message = AIMessage("fine", additional_kwargs={"note": text})
        assert is_ordinary(message, is_plain) == is_plain(text)
