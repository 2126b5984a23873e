"""What leaves piece by piece: a model's chunks, protocol events, payloads of the custom stream."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from lg_prod_nodes import Redact
from lg_prod_nodes.payloads import PayloadStream
from lg_prod_nodes.streams import EventStream, MessageStream, _copied

EMAIL = "ann@example.com"
SAID = f"write to {EMAIL} now"
CLEAN = "write to [EMAIL_ADDRESS] now"


def message_stream() -> MessageStream:
    return MessageStream((Redact().replacer(),))


def through(*messages: AIMessageChunk) -> AIMessageChunk:
    """The chunks joined, as they leave."""
    stream = message_stream()
    left = [c for m in messages for c in stream.feed(ChatGenerationChunk(message=m))]
    left += stream.flush()
    assert all(chunk.text == chunk.message.text for chunk in left)
    joined = reduce(add, (chunk.message for chunk in left))
    assert isinstance(joined, AIMessageChunk)
    return joined


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@given(size=st.integers(1, 30))
def test_a_text_leaves_clean(size: int) -> None:
    chunks = [AIMessageChunk(piece, id="m") for piece in pieces(SAID, size)]

    joined = through(*chunks)

    assert (joined.content, joined.id) == (CLEAN, "m")


@pytest.mark.parametrize("kind", ["text", "reasoning", "thinking"])
def test_content_blocks_leave_clean_and_apart(kind: str) -> None:
    chunks = [
        AIMessageChunk([{"type": kind, kind: piece, "index": index}])
        for piece in pieces(SAID)
        for index in (0, 1)
    ]

    joined = through(*chunks)

    assert joined.content == [{"type": kind, kind: CLEAN, "index": index} for index in (0, 1)]


def test_blocks_without_an_index_are_one_text() -> None:
    joined = through(*(AIMessageChunk([{"type": "text", "text": p}]) for p in pieces(SAID)))

    assert joined.text == CLEAN


def test_a_tool_call_s_arguments_leave_as_json() -> None:
    chunks = [
        AIMessageChunk(
            "",
            tool_call_chunks=[
                {"name": "send" if at == 0 else None, "args": piece, "id": "1" if at == 0 else None, "index": 0}
            ],
        )
        for at, piece in enumerate(pieces(f'{{"to": "{EMAIL}"}}'))
    ]  # fmt: skip

    joined = through(*chunks)

    assert [(c["name"], c["args"], c["id"]) for c in joined.tool_calls] == [
        ("send", {"to": "[EMAIL_ADDRESS]"}, "1")
    ]


def test_tool_calls_without_an_index_are_whole() -> None:
    call = {"name": "send", "args": f'{{"to": "{EMAIL}"}}', "id": "1", "index": None}

    joined = through(AIMessageChunk("", tool_call_chunks=[call, {**call, "id": "2"}]))

    assert [c["args"] for c in joined.tool_calls] == [{"to": "[EMAIL_ADDRESS]"}] * 2


def test_what_a_provider_adds_leaves_clean() -> None:
    chunks = [
        AIMessageChunk("", additional_kwargs={"reasoning_content": piece}) for piece in pieces(SAID)
    ]

    assert through(*chunks).additional_kwargs == {"reasoning_content": CLEAN}


def test_the_last_chunk_has_the_rest() -> None:
    stream = message_stream()
    stream.feed(ChatGenerationChunk(message=AIMessageChunk("to ann@exam")))

    (last,) = stream.feed(
        ChatGenerationChunk(message=AIMessageChunk("ple.com", chunk_position="last"))
    )

    assert last.message.content == "to [EMAIL_ADDRESS]"
    assert stream.flush() == []


@given(size=st.integers(1, 12))
def test_where_nothing_is_replaced_the_chunks_are_the_model_s_own(size: int) -> None:
    chunks = [
        ChatGenerationChunk(message=AIMessageChunk(p))
        for p in pieces("call 2 of 10, ann@home", size)
    ]
    stream = message_stream()

    left = [c for chunk in chunks for c in stream.feed(chunk)] + stream.flush()

    assert [id(chunk) for chunk in left] == [id(chunk) for chunk in chunks]


def test_a_long_chunk_does_not_wait_for_its_last_word() -> None:
    (left,) = message_stream().feed(
        ChatGenerationChunk(message=AIMessageChunk("word " * 30 + "an"))
    )

    assert left.message.content == "word " * 30


def test_usage_and_metadata_pass_at_once() -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    joined = through(
        AIMessageChunk("ann@"),
        AIMessageChunk(
            "", usage_metadata=usage, response_metadata={"model_name": "m", "to": EMAIL}
        ),
        AIMessageChunk("example.com"),
    )

    assert joined.content == "[EMAIL_ADDRESS]"
    assert joined.usage_metadata == usage
    assert joined.response_metadata == {"model_name": "m", "to": "[EMAIL_ADDRESS]"}


def test_the_model_s_own_chunks_stay_as_they_are() -> None:
    chunks = [ChatGenerationChunk(message=AIMessageChunk(piece)) for piece in pieces(SAID)]
    before = [chunk.model_dump() for chunk in chunks]
    stream = message_stream()

    for chunk in chunks:
        stream.feed(chunk)

    assert [chunk.model_dump() for chunk in chunks] == before


def test_a_copied_model_is_what_pydantic_would_have_made() -> None:
    message = AIMessageChunk("a", id="1", note="further")
    message.content = "b"

    copy, expected = _copied(message, {"content": "c"}), message.model_copy(update={"content": "c"})

    assert copy == expected
    assert copy.model_fields_set == expected.model_fields_set
    assert copy.model_extra == expected.model_extra == {"note": "further"}
    assert copy.model_dump() == expected.model_dump()


def test_protocol_events_leave_clean() -> None:
    events: list[dict[str, Any]] = [
        {"event": "message-start", "id": "m"},
        {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}},
        *(
            {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": p}}
            for p in pieces(SAID)
        ),
        {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": SAID}},
        {"event": "message-finish"},
    ]
    stream = EventStream((Redact().replacer(),))

    left = [told for event in events for told in stream.feed(event)]

    deltas = [told["delta"]["text"] for told in left if told["event"] == "content-block-delta"]
    assert "".join(deltas) == CLEAN
    assert left[-2] == {**events[-2], "content": {"type": "text", "text": CLEAN}}
    assert [left[0], left[-1]] == [events[0], events[-1]]


def written(*payloads: Any) -> list[Any]:
    left: list[Any] = []
    stream = PayloadStream(left.append, (Redact().replacer(),))
    for payload in payloads:
        stream(payload)
    stream.flush()
    return left


def test_payloads_pass_whole_and_at_once() -> None:
    left: list[Any] = []
    stream = PayloadStream(left.append, (Redact().replacer(),))

    for payload in ("Looking up", {"step": 3, "of": "10"}, {"status": "done"}, 42, ("a", 1)):
        stream(payload)
        assert left[-1] is payload


def test_a_payload_leaves_clean() -> None:
    assert written({"to": EMAIL, "cc": [EMAIL]}) == [
        {"to": "[EMAIL_ADDRESS]", "cc": ["[EMAIL_ADDRESS]"]}
    ]


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("value", [EMAIL, "4111 1111 1111 1111", "DE89370400440532013000"])
def test_an_entity_that_is_written_in_pieces_is_not_left(size: int, value: str) -> None:
    said = pieces(f"it is {value} he said", size)

    texts = "".join(written(*said))
    fields = "".join(payload["token"] for payload in written(*({"token": p} for p in said)))

    assert texts == fields
    assert value not in texts
    assert value[-7:] not in texts
    assert texts.startswith("it is ")
    assert texts.endswith(" he said")


def test_payloads_of_other_shapes_keep_their_order() -> None:
    left = written({"token": "card 4111 1111"}, {"step": 1}, {"token": " 1111 1111 ok"})

    assert left == [{"token": "card [CREDIT_CARD] ok"}, {"step": 1}, {"token": ""}]
