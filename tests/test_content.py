"""The walk over content: each shape keeps its form, and what nothing changed in stays the very same object."""

from __future__ import annotations

import collections
import json
from copy import deepcopy
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
    messages_to_dict,
)
from langgraph.types import Command, Interrupt, Overwrite, Send, StateUpdate
from pydantic import BaseModel

from lg_prod_nodes.content.walk import rewrite, texts

RAW, CLEAN = "raw", "clean"
ENCODED = "raw" * 20


def clean(text: str) -> str:
    return text.replace(RAW, CLEAN)


class Model(BaseModel):
    text: str = ""
    deep: Any = None


class Open(Model, extra="allow"): ...


@dataclass(frozen=True)
class Data:
    text: str = ""
    deep: Any = None


class Pair(NamedTuple):
    first: str
    second: int


def tool_call(text: Any) -> AIMessage:
    call = {"name": "send", "id": "raw-1", "args": {"to": text, "cc": [text], "name": text}}
    return AIMessage("", id="1", tool_calls=[call])


def invalid_call(text: str) -> AIMessage:
    call = {"name": "send", "id": "raw-1", "args": f'{{"to": "{text}', "error": f"no {text}"}
    return AIMessage("", id="1", invalid_tool_calls=[{**call, "type": "invalid_tool_call"}])


def streamed_call(text: str) -> AIMessageChunk:
    call = {"name": "send", "id": "raw-1", "args": f'{{"to": "{text}"}}', "index": 0}
    return AIMessageChunk("", id="1", tool_call_chunks=[call])


def blocks(text: str) -> AIMessage:
    tools = {"name": "raw", "id": "raw-1"}
    return AIMessage(
        [
            text,
            {"type": "text", "text": text, "id": "raw", "annotations": [{"cited_text": text}]},
            {"type": "reasoning", "reasoning": text, "summary": [{"text": text}]},
            {"type": "thinking", "thinking": text},
            {"type": "tool_use", **tools, "input": {"to": text}},
            {"type": "server_tool_call", **tools, "args": {"q": text}},
            {"type": "image", "base64": ENCODED, "mime_type": "image/raw"},
            {"type": "file", "data": ENCODED, "filename": text},
        ],
        id="1",
    )


def wire_call(text: str) -> AIMessage:
    function = {"name": "raw", "arguments": f'{{"to": "{text}"}}'}
    call = {"id": "raw", "type": "function", "function": function}
    said = {"logprobs": [text]}
    return AIMessage("", additional_kwargs={"tool_calls": [call]}, response_metadata=said)


SHAPES = {
    "text": lambda text: text,
    "bytes of a text": lambda text: text.encode(),
    "message": lambda text: HumanMessage(text, id="raw-1"),
    "chunk": lambda text: AIMessageChunk(text, id="raw-1"),
    "blocks": blocks,
    "tool call": tool_call,
    "invalid tool call": invalid_call,
    "streamed tool call": streamed_call,
    "tool call on the wire": wire_call,
    "tool result": lambda text: ToolMessage(text, tool_call_id="raw", artifact={"rows": [text]}),
    "tuple message": lambda text: ("user", text),
    "dict message": lambda text: {"role": "user", "id": "raw", "content": text, "name": text},
    "dumped message": lambda text: messages_to_dict([HumanMessage(text)]),
    "document": lambda text: Document(text, id="1", metadata={"source": text}),
    "state": lambda text: {"messages": [HumanMessage(text)], "n": 1, "deep": [{"a": (text, None)}]},
    "pydantic": lambda text: Model(text=text, deep=[Model(text=text)]),
    "dataclass": lambda text: Data(text, deep=(Data(text),)),
    "named tuple": lambda text: Pair(text, 2),
    "mapping with a default": lambda text: collections.defaultdict(list, {"a": [text]}),
    "set": lambda text: {text},
    "command": lambda text: Command(update=[("a", text)], resume={"raw": text}, goto="raw"),
    "command that sends": lambda text: Command(goto=[Send("raw", {"a": text}), "raw"]),
    "command to the parent": lambda text: Command(graph=Command.PARENT, update=Model(text=text)),
    "send": lambda text: Send("raw", [HumanMessage(text)], timeout=3),
    "interrupt": lambda text: Interrupt({"ask": text}, id="raw"),
    "overwrite": lambda text: Overwrite([text]),
    "update of the state": lambda text: [[StateUpdate({"a": text}, "node", None)]],
    "arguments of an exception": lambda text: (f"no {text}", {"asked": text}, 404),
}


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_a_shape_keeps_its_form(make: Any) -> None:
    before = make(RAW)
    copy = deepcopy(before)

    after = rewrite(before, clean)

    assert after == (expected := make(CLEAN))
    assert repr(after) == repr(expected)
    assert type(after) is type(before)
    assert before == copy


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_what_nothing_changed_in_is_the_very_same_object(make: Any) -> None:
    value = make(CLEAN)

    assert rewrite(value, clean) is value
    assert rewrite(value, str) is value


@pytest.mark.parametrize(
    "value", [None, True, 411111, 1.5, b"\xffraw", RemoveMessage(id="raw"), object(), Model]
)
def test_what_carries_no_text_stays_as_it_is(value: Any) -> None:
    assert rewrite(value, clean) is value
    assert "".join(texts(value)) == ""


def test_a_mapping_that_cannot_be_changed_becomes_a_dictionary() -> None:
    assert rewrite(MappingProxyType({"a": RAW, "n": 1}), clean) == {"a": CLEAN, "n": 1}


words = st.text("raw clen", max_size=8)
values = st.recursive(
    st.none() | st.integers() | words | words.map(HumanMessage) | words.map(tool_call),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["a", "messages", "deep"]), inner, max_size=3)
        | st.builds(Model, deep=inner)
        | st.builds(Data, deep=inner)
        | st.builds(Overwrite, inner)
        | st.builds(Send, st.just("node"), inner)
        | st.builds(Command, update=inner)
    ),
    max_leaves=12,
)


@given(value=values)
def test_each_text_is_rewritten_once_in_its_place(value: Any) -> None:
    before = texts(value)

    after = rewrite(value, clean)

    assert texts(after) == [clean(text) for text in before]
    assert rewrite(after, clean) is after
    assert (after is value) == (before == texts(after))
    assert texts(value) == before


@dataclass
class Noted:
    seed: InitVar[int]
    text: str = ""
    note: str = field(init=False, default="")
    made: int = 0

    def __post_init__(self, seed: int) -> None:
        self.made += seed


def having(value: Any, **fields: str) -> Any:
    vars(value).update(fields)
    return value


FURTHER = {
    "text that claims to be encoded": lambda text: f"data:;base64, {text}!",
    "block that claims to be encoded": lambda text: {"type": "image", "base64": f"{text}!"},
    "name of a message": lambda text: HumanMessage("", name=text),
    "further field of a message": lambda text: HumanMessage("", note=text),
    "deque": lambda text: collections.deque([text]),
    "further field of pydantic": lambda text: Open(note=text),
    "field that is not initialised": lambda text: having(Noted(1), note=text),
    "field beside an InitVar": lambda text: having(Noted(1), text=text),
    "command that sends once": lambda text: Command(goto=Send("node", text)),
    "tool arguments that have a type": lambda text: tool_call({"type": "user", "id": text}),
    "state that has a type": lambda text: {"type": "user", "id": text},
    "state that has a role": lambda text: {"role": text},
    "state that has args": lambda text: {"args": [], "name": text},
    "key of a mapping": lambda text: {f"{text} key": 1},
    "error in the state": lambda text: {"error": ValueError(text)},
    "text over two blocks": lambda text: HumanMessage(
        ["r", {"type": "text", "text": "aw"}]
        if text == RAW
        else [text, {"type": "text", "text": ""}]
    ),
}


@pytest.mark.parametrize("make", FURTHER.values(), ids=FURTHER)
def test_a_further_shape_keeps_its_form(make: Any) -> None:
    assert repr(rewrite(make(RAW), clean)) == repr(make(CLEAN))


def test_a_dataclass_is_not_initialised_again() -> None:
    assert rewrite(Noted(1, RAW), clean).made == 1


@pytest.mark.parametrize(
    "block",
    [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": ENCODED},
        },
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{ENCODED}"}},
    ],
    ids=["anthropic", "openai image", "openai file"],
)
def test_encoded_bytes_stay_as_they_are(block: dict[str, Any]) -> None:
    message = HumanMessage([block])

    assert rewrite(message, clean) is message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"phone": "2125550142"}, {"phone": "<phone>"}),
        ({"phone": 2125550142}, {"phone": "<phone>"}),
        ({"phones": [{"work": "212 555 0142"}]}, {"phones": [{"work": "<phones work>"}]}),
        ({"order": "word"}, {"order": "word"}),
        ([2125550142], ["<>"]),
    ],
)
def test_a_number_is_given_with_the_keys_that_it_stands_under(value: Any, expected: Any) -> None:
    def named(text: str) -> str:
        key, colon, number = text.rpartition(": ")
        return f"{key}{colon}<{key}>" if number[-1:].isdigit() else text

    assert rewrite(value, named) == expected


def test_json_stays_json() -> None:
    text = '{"card": 4111111111111111, "list": [4111111111111111]}'

    after = rewrite(text, lambda text: text.replace("4111111111111111", "[CARD]"))

    assert json.loads(after) == {"card": "[CARD]", "list": ["[CARD]"]}
