"""New parts and those that come again, as `langgraph dev` and a server with sequences send them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from langgraph_sdk.schema import StreamPart
from tests.conftest import FakeClock

from lg_prod_nodes.attach.client.cursor import START, Cursor


def part(id: str, data: object) -> StreamPart:
    return StreamPart("custom", data, id)  # type: ignore[arg-type]


def after(parts: list[StreamPart], last: str) -> list[StreamPart]:
    """What a server replays after an id."""

    def number(id: str) -> tuple[int, ...]:
        return tuple(map(int, id.split("-")))

    return [p for p in parts if number(p.id or "0-0") > number(last)]


@given(
    gaps=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    cuts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=4),
    has_sequence=st.booleans(),
)
def test_each_part_once_and_in_order(
    gaps: list[int], cuts: list[tuple[int, int]], has_sequence: bool
) -> None:
    at, parts = 100, list[StreamPart]()
    for number, gap in enumerate(gaps):
        at += gap
        parts.append(part(f"{at}-{number if has_sequence else 0}", number))
    cursor, got = Cursor(FakeClock()), list[object]()
    for sent, overlap in [*cuts, (len(parts), 0)]:
        replayed = after(parts, cursor.rejoin())
        live = replayed[max(len(replayed) - overlap, 0) :]  # also in the queue of what is live
        got += [p.data for p in [*replayed, *live][:sent] if cursor.is_new(p)]
    got += [p.data for p in after(parts, cursor.rejoin()) if cursor.is_new(p)]
    assert got == [*range(len(parts))]


def test_equal_parts_of_one_millisecond_are_two(clock: FakeClock) -> None:
    cursor = Cursor(clock)
    assert cursor.rejoin() == START
    clock.advance(1.0)
    assert [cursor.is_new(part("7-0", "ha")) for _ in range(2)] == [True, True]
    cursor.rejoin()
    assert [cursor.is_new(part("7-0", "ha")) for _ in range(3)] == [False, False, False]
    clock.advance(1.0)
    assert cursor.is_new(part("7-0", "ha"))


def test_parts_without_an_id_are_new(clock: FakeClock) -> None:
    cursor = Cursor(clock)
    assert all(cursor.is_new(StreamPart("metadata", {}, id)) for id in (None, "", "x"))
