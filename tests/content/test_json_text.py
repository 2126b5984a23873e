"""What is JSON stays JSON where something in it was replaced."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.utils.json import parse_json_markdown

from lg_prod_nodes import Redact
from lg_prod_nodes.content.json_text import JsonText, still_json
from lg_prod_nodes.content.walk import rewrite

CARD, PHONE = 4111111111111111, 4155552671
REDACT = Redact("CREDIT_CARD", "EMAIL_ADDRESS", "PHONE_NUMBER")


def redacted(text: str) -> str:
    return rewrite(text, REDACT.replacer().change)


def streamed(text: str, size: int) -> str:
    stream = REDACT.replacer().stream()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return "".join([*map(stream.feed, pieces), stream.flush()])


RECORD = {"name": "Ann", "phone": PHONE, "cards": [CARD, {"old": [1, CARD]}], "n": -1.5e3}
CLEAN = {
    "name": "Ann",
    "phone": "[PHONE_NUMBER]",
    "cards": ["[CREDIT_CARD]", {"old": [1, "[CREDIT_CARD]"]}],
    "n": -1.5e3,
}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Here:\n```\n{}\n```\nDone."])
def test_json_is_parsed_alone_and_in_a_fence(around: str, indent: int | None, size: int) -> None:
    text = around.replace("{}", json.dumps(RECORD, indent=indent))

    assert parse_json_markdown(redacted(text)) == CLEAN
    assert parse_json_markdown(streamed(text, size)) == CLEAN


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_json_lines_are_parsed_line_by_line(size: int) -> None:
    text = "\n".join(json.dumps(line) for line in (RECORD, [CARD, "x"], {"phone": PHONE}))
    expected = [CLEAN, ["[CREDIT_CARD]", "x"], {"phone": "[PHONE_NUMBER]"}]

    assert [json.loads(line) for line in redacted(text).splitlines()] == expected
    assert [json.loads(line) for line in streamed(text, size).splitlines()] == expected


def test_json_beside_prose_is_parsed() -> None:
    text = f"Look: {json.dumps(RECORD)} and call {PHONE}, or mail ann@example.com."

    after = redacted(text)

    assert JsonOutputParser().parse(after[after.index("{") : after.rindex("}") + 1]) == CLEAN
    assert streamed(text, 4) == after


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_two_keys_do_not_become_one(size: int) -> None:
    text = json.dumps(
        {"ann@example.com": 1, "bob@example.com": {"eve@example.com": 2, "joe@example.com": 3}}
    )
    expected = {
        "[EMAIL_ADDRESS]": 1,
        "[EMAIL_ADDRESS] (2)": {"[EMAIL_ADDRESS]": 2, "[EMAIL_ADDRESS] (2)": 3},
    }

    assert json.loads(redacted(text)) == expected
    assert json.loads(streamed(text, size)) == expected


def test_two_keys_that_were_equal_before_stay_so() -> None:
    text = '{"a": 1, "a": 4111111111111111}'

    assert redacted(text) == '{"a": 1, "a": "[CREDIT_CARD]"}'


@pytest.mark.parametrize(
    "text",
    [
        f"[call me]({PHONE}) {{see}} [1] [x, y] {{'a': 1}}",
        f"see [{PHONE}, call me] or [PHONE_NUMBER], {{ {PHONE} }}",
        f"if (a[0]) {{ return [{PHONE}] }}",
        f'he said "{{" and {PHONE}',
    ],
)
def test_prose_gets_no_quotes(text: str) -> None:
    assert redacted(text).count('"') == text.count('"')


@pytest.mark.parametrize("brackets", ["[" * 5000, "{" * 5000, '{"a":' * 3000, "[[{" * 2000])
def test_nested_brackets_are_no_error(brackets: str) -> None:
    text = f"{brackets}ann@example.com"

    assert redacted(text).replace('"[EMAIL', "[EMAIL").strip('"') == f"{brackets}[EMAIL_ADDRESS]"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.sampled_from([CARD, PHONE, "ann@example.com", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", 'b"c', "ann@example.com", "bob@example.com"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


def replaced(text: str) -> str:
    text = re.sub(rf"\b({CARD}|{PHONE})\b", "[NUMBER]", text)
    return re.sub(r"\w+@example\.com", "[MAIL]", text)


def expected(value: Any) -> Any:
    match value:
        case dict():
            items: dict[str, Any] = {}
            for key, item in value.items():
                name = replaced(key)
                items[f"{name} (2)" if name in items else name] = expected(item)
            return items
        case list():
            return [expected(item) for item in value]
        case bool() | None:
            return value
        case str():
            return replaced(value)
        case _:
            return "[NUMBER]" if value in (CARD, PHONE) else value


@given(value=values, indent=st.sampled_from([None, 1]), at=st.integers(0, 200))
def test_any_json_is_parsed_after_any_replacement(value: Any, indent: int | None, at: int) -> None:
    raw = json.dumps({"v": value}, indent=indent)

    assert json.loads(still_json(raw, replaced(raw))) == {"v": expected(value)}


def test_a_text_in_which_nothing_was_replaced_stays_as_it_is() -> None:
    text = '{"a": [LINK], "b": ***, "c": <x>} [[A]] {"a": "[LINK]'

    assert JsonText().feed(text, text) == text
