"""What leaves piece by piece: a model's chunks, protocol events, payloads of the custom stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import reduce
from itertools import pairwise, zip_longest
from operator import add
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableGenerator
from langgraph.graph import START, MessagesState, StateGraph
from tests.test_settling import PIECES, cut

from lg_prod_nodes import ContentFilter, Redact, harden
from lg_prod_nodes.content.message_stream import EventStream, MessageStream
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.text_stream import copied
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.filters import through as passed
from lg_prod_nodes.detectors.replacing import Replacer

EMAIL = "ann@example.com"
SAID = f"write to {EMAIL} now"
CLEAN = "write to [EMAIL_ADDRESS] now"


def message_stream() -> MessageStream:
    return MessageStream((Redact().replacer(),))


def through(*messages: AIMessageChunk, filter: Replacer | None = None) -> AIMessageChunk:
    """The chunks joined, as they leave."""
    stream = MessageStream((filter or Redact().replacer(),))
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


def blocks(*texts: str, size: int = 3) -> list[AIMessageChunk]:
    """The chunks of a message with a block for each text, one after the other."""
    return [
        AIMessageChunk([{"type": "text", "text": piece, "index": index}])
        for index, text in enumerate(texts)
        for piece in pieces(text, size)
    ]


def said_in(message: AIMessageChunk) -> list[str]:
    assert isinstance(message.content, list)
    return [b["text"] for b in message.content if isinstance(b, dict) and "text" in b]


CARD = "4111 1111 1111 1111"
SPLIT = [
    (["write to ann@exam", "ple.com now"], ["write to [EMAIL_ADDRESS]", " now"]),
    (["a", "n", "n@exam", "ple.", "com now"], ["[EMAIL_ADDRESS]", "", "", "", " now"]),
    (["card 4111 1111", "1111 1111 is", " it"], ["card [CREDIT_CARD]", " is", " it"]),
    (["card 4111 1111 ", "1111 1111"], ["card [CREDIT_CARD]", ""]),
    ([f"card {CARD}", "5 items"], ["card [CREDIT_CARD]", "5 items"]),
    ([f"{CARD} {EMAIL}", "The next."], ["[CREDIT_CARD] [EMAIL_ADDRESS]", "The next."]),
    ([EMAIL, f"1 and {EMAIL}"], ["[EMAIL_ADDRESS]", "1 and [EMAIL_ADDRESS]"]),
    ([EMAIL, CARD, "is his"], ["[EMAIL_ADDRESS]", "[CREDIT_CARD]", "is his"]),
    (["to ann", "went 41", "11 1111 1111 1111"], ["to ann", "went [CREDIT_CARD]", ""]),
    (["p", "h", "one: 212", "5550142"], ["p", "h", "one: [PHONE_NUMBER]", ""]),
    (["phone: ", "2125550142"], ["phone: ", "[PHONE_NUMBER]"]),
    (["phone:", " 2125550142"], ["phone:", " [PHONE_NUMBER]"]),
    (["the end.", "The beginning"], ["the end.", "The beginning"]),
]


@pytest.mark.parametrize(("texts", "clean"), SPLIT)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 99])
def test_a_value_over_neighbouring_blocks_leaves_in_the_first(
    size: int, texts: list[str], clean: list[str]
) -> None:
    assert said_in(through(*blocks(*texts, size=size))) == clean


@given(size=st.integers(1, 30), at=st.lists(st.integers(0, 80), max_size=4))
def test_wherever_blocks_are_cut_nothing_shows(size: int, at: list[int]) -> None:
    text = f"{SAID}, card {CARD}, call +1 212 555 0142 ok"
    ends = [0, *sorted(at), len(text)]
    texts = [text[start:end] for start, end in pairwise(ends) if text[start:end]]

    live = "".join(said_in(through(*blocks(*texts, size=size))))

    assert live == Redact().replacer().change(text)


@given(
    said=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6),
    glue=st.sampled_from([" ", ", ", "\n"]),
    at=st.lists(st.integers(0, 10**6), max_size=4),
    size=st.integers(1, 30),
)
def test_blocks_that_part_no_word_are_as_clean_live_as_in_the_message(
    said: list[str], glue: str, at: list[int], size: int
) -> None:
    texts = cut(glue.join(said), at)
    assume(not any(a[-1].isalpha() and b[0].isalpha() for a, b in pairwise(texts)))
    change = Redact("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "SECRET", "US_SSN").replacer()

    live = through(*blocks(*texts, size=size), filter=change)

    assert rewrite(live, change) == live


@pytest.mark.parametrize("size", [1, 2, 99])
def test_a_term_over_two_blocks_does_not_leave(size: int) -> None:
    policy = ContentFilter(["pipe bomb"])
    blocked = Replacer(policy.detector.find, lambda *_: "", policy._reach, lambda *_: True)

    joined = through(*blocks("how to build a pipe", "bomb at home", size=size), filter=blocked)

    assert said_in(joined) == ["how to build a ", ""]
    assert blocked.blocked


def test_another_block_parts_two_texts() -> None:
    image = {"type": "image", "url": "https://x.org/a.png", "index": 1}
    before, after = blocks("write to ann", "@exam.com ok", size=99)
    after.content[0]["index"] = 2  # type: ignore[index, call-overload]

    joined = through(before, AIMessageChunk([image]), after)

    assert said_in(joined) == ["write to ann", "@exam.com ok"]


@pytest.mark.parametrize("third", ["com ok", EMAIL, "1111 1111 ok"])
@given(size=st.integers(1, 30))
def test_blocks_that_are_written_side_by_side_leave_each_by_itself(third: str, size: int) -> None:
    one, two = (
        blocks(text, size=size) for text in (f"{SAID}, card {CARD} ok", f"{SAID} 4111 1111")
    )
    for chunk in two:
        chunk.content[0]["index"] = 1  # type: ignore[index, call-overload]
    last = AIMessageChunk([{"type": "text", "text": third, "index": 2}])
    side_by_side = [chunk for pair in zip_longest(one, two) for chunk in pair if chunk]

    first, second, left = said_in(through(*side_by_side, last))

    assert left == Redact().replacer().change(third)
    assert second == f"{CLEAN} 4111 1111"
    assert first == f"{CLEAN}, card [CREDIT_CARD] ok"


def test_the_rest_of_blocks_is_one_item_each() -> None:
    stream = message_stream()
    for chunk in blocks("write to ann@exam", "ple.com now", size=99):
        stream.feed(ChatGenerationChunk(message=chunk))

    (rest,) = stream.flush()

    assert [b["text"] for b in rest.message.content] == ["[EMAIL_ADDRESS]", " now"]  # type: ignore[index]


def test_what_waits_at_a_seam_leaves_before_another_block() -> None:
    stream = message_stream()
    tool = AIMessageChunk([{"type": "input_json_delta", "partial_json": "", "index": 2}])
    for chunk in blocks("write to ann", "@exam", size=99):
        stream.feed(ChatGenerationChunk(message=chunk))

    (left,) = stream.feed(ChatGenerationChunk(message=tool))

    assert [block.get("text") for block in left.message.content] == ["ann", None]  # type: ignore[union-attr]


def test_a_text_before_the_blocks_leaves_before_them() -> None:
    joined = through(AIMessageChunk("write to ann@exam"), *blocks("well then"))

    assert joined.content == [
        "write to ann@exam",
        {"type": "text", "text": "well then", "index": 0},
    ]


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


def test_the_rest_leaves_before_the_last_chunk() -> None:
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    stream = message_stream()
    stream.feed(ChatGenerationChunk(message=AIMessageChunk("to ann@exam")))

    rest, last = stream.feed(
        ChatGenerationChunk(
            message=AIMessageChunk("ple.com", chunk_position="last", usage_metadata=usage)
        )
    )

    assert (rest.message.content, last.message.content) == ("to [EMAIL_ADDRESS]", "")
    assert isinstance(rest.message, AIMessageChunk)
    assert isinstance(last.message, AIMessageChunk)
    assert (rest.message.chunk_position, last.message.chunk_position) == (None, "last")
    assert (rest.message.usage_metadata, last.message.usage_metadata) == (None, usage)
    assert stream.flush() == []


def test_a_last_chunk_with_nothing_held_back_is_the_model_s_own() -> None:
    chunk = ChatGenerationChunk(message=AIMessageChunk("", chunk_position="last"))
    stream = message_stream()
    stream.feed(ChatGenerationChunk(message=AIMessageChunk("well then ")))

    (last,) = stream.feed(chunk)

    assert last.message.content == ""
    assert last.message.chunk_position == "last"  # type: ignore[attr-defined]


@given(size=st.integers(1, 12))
def test_where_nothing_is_replaced_the_chunks_are_the_model_s_own(size: int) -> None:
    chunks = [
        ChatGenerationChunk(message=AIMessageChunk(p))
        for p in pieces("call 2 of 10, ann@home", size)
    ]
    stream = message_stream()

    left = [c for chunk in chunks for c in stream.feed(chunk)] + stream.flush()

    assert [id(chunk) for chunk in left] == [id(chunk) for chunk in chunks]


def test_after_a_replacement_the_chunks_are_the_model_s_own_again() -> None:
    said = ["to ", EMAIL, " no", "w", " and", " then", " bye"]
    chunks = [ChatGenerationChunk(message=AIMessageChunk(piece)) for piece in said]
    stream = message_stream()

    left = [c for chunk in chunks for c in stream.feed(chunk)] + stream.flush()

    assert "".join(chunk.text for chunk in left) == "to [EMAIL_ADDRESS] now and then bye"
    assert [id(chunk) for chunk in left[-4:]] == [id(chunk) for chunk in chunks[-4:]]


def test_nothing_is_kept_of_what_is_swallowed() -> None:
    address = "https://example.com/" + "abc1/" * 400
    stream = MessageStream((Redact("URL").replacer(),))

    left = [
        c.text
        for piece in [*pieces(address, 9), " b", "ye"]
        for c in stream.feed(ChatGenerationChunk(message=AIMessageChunk(piece)))
    ]

    assert left == ["[URL]"]
    assert stream._texts._said == " bye"


@pytest.mark.parametrize("policies", [("CREDIT_CARD", "EMAIL_ADDRESS"), ("EMAIL_ADDRESS", "URL")])
@given(size=st.integers(1, 30))
def test_a_text_leaves_clean_through_several_filters(policies: list[str], size: int) -> None:
    text = f"{SAID}, card {CARD}, see https://example.com/a ok"
    filters = tuple(Redact(entity).replacer() for entity in policies)
    stream = MessageStream(filters)

    left = [
        c.text
        for piece in pieces(text, size)
        for c in stream.feed(ChatGenerationChunk(message=AIMessageChunk(piece)))
    ]
    left += [c.text for c in stream.flush()]

    assert "".join(left) == passed(filters, text)


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

    copy, expected = copied(message, {"content": "c"}), message.model_copy(update={"content": "c"})

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


def chaining(*said: str) -> Any:
    """A graph with a node that reads a chain piece by piece."""

    async def apieces(given: AsyncIterator[Any]) -> AsyncIterator[str]:
        for piece in said:
            yield piece

    async def chains(state: MessagesState) -> Any:
        chain = RunnableGenerator(apieces).with_config(run_name="chain")
        return {"messages": ["".join([piece async for piece in chain.astream("x")])]}

    builder = StateGraph(MessagesState).add_node(chains).add_edge(START, "chains")
    return harden(builder, [Redact()]).compile()


async def logged(graph: Any, *, diff: bool) -> list[Any]:
    return [part async for part in graph.astream_log({"messages": []}, diff=diff)]


PATH = "/logs/chain/streamed_output/-"


@pytest.mark.filterwarnings("ignore:astream_log:DeprecationWarning")
@given(size=st.integers(1, 30))
def test_patches_of_a_log_tell_of_a_chain_s_pieces_clean(size: int) -> None:
    parts = asyncio.run(logged(chaining(*pieces(SAID, size)), diff=True))

    ops = [op for part in parts for op in part.ops]
    paths = [op["path"] for op in ops]
    said = "".join(op["value"] for op in ops if op["path"] == PATH)
    assert said.startswith("write to ")
    assert said.endswith("[EMAIL_ADDRESS] now")
    assert EMAIL[3:] not in said
    assert paths.index("/logs/chain/final_output") == len(paths) - paths[::-1].index(PATH)
    assert EMAIL not in repr(reduce(add, parts).state)


@pytest.mark.filterwarnings("ignore:astream_log:DeprecationWarning")
def test_a_log_that_grows_is_clean_at_each_step() -> None:
    parts = asyncio.run(logged(chaining(*pieces(SAID)), diff=False))

    told = ["".join(part.state["logs"]["chain"]["streamed_output"]) for part in parts[3:]]
    assert told[-1].endswith("[EMAIL_ADDRESS] now")
    assert all(told[-1].startswith(said) for said in told)
    assert [len(part.ops) for part in parts] == sorted(len(part.ops) for part in parts)
    assert EMAIL not in repr(parts[-1].ops)


@pytest.mark.filterwarnings("ignore:astream_log:DeprecationWarning")
def test_a_chain_s_pieces_in_which_nothing_is_found_are_told_at_once() -> None:
    parts = asyncio.run(logged(chaining("all ", "is ", "well"), diff=True))

    told = [[op["value"] for op in part.ops] for part in parts if part.ops[0]["path"] == PATH]
    assert told == [["all "], ["is "], ["well"]]
