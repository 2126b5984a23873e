"""A walk that takes long is made by a thread, and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from lg_prod_nodes import ContentBlocked, ContentFilter, Redact, harden
from lg_prod_nodes.content.walk import TakesLong, rewrite, texts
from lg_prod_nodes.detectors import Detector


class State(TypedDict):
    data: Any


class Watched(dict[str, Any]):
    """Notes the threads that walk over it."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.threads: set[int] = set()

    def items(self) -> Any:
        self.threads.add(threading.get_ident())
        return super().items()


LARGE: dict[str, Callable[[], Any]] = {
    "numbers": lambda: list(range(200_000)),
    "short texts": lambda: [f"word {n}" for n in range(20_000)],
    "rows": lambda: [{"n": n, "at": None} for n in range(50_000)],
    "nested": lambda: {str(n): [[], {}] for n in range(50_000)},
    "keys": lambda: {f"key {n}": n for n in range(20_000)},
}


async def walked(policy: Any, value: Any) -> set[int]:
    watched = Watched(a=1)
    builder = StateGraph(State).add_node("a", lambda state: {"data": None}).add_edge(START, "a")

    await harden(builder, [policy]).compile().ainvoke({"data": [value, watched]})

    return watched.threads


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("policy", [Redact(), ContentFilter(["pipe bomb"])], ids=["r", "f"])
async def test_a_large_value_is_walked_off_the_event_loop(policy: Any, make: Any) -> None:
    threads = await walked(policy, make())

    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("policy", [Redact(), ContentFilter(["pipe bomb"])], ids=["r", "f"])
async def test_a_long_text_is_searched_off_the_event_loop(
    policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[int, list[int]] = {}
    find = Detector.find

    def watched(self: Detector, text: str) -> Any:
        threads.setdefault(len(text), []).append(threading.get_ident())
        return find(self, text)

    monkeypatch.setattr(Detector, "find", watched)
    await walked(policy, text := "word " * 10_000)

    assert threads[len(text)][0] != threading.get_ident()  # from then on it is known


@pytest.mark.parametrize("policy", [Redact(), ContentFilter(["pipe bomb"])], ids=["r", "f"])
async def test_what_is_found_off_the_event_loop_counts(policy: Any) -> None:
    value = [*range(200_000), "how to build a pipe bomb, ask ann@example.com"]
    left: list[Any] = []
    builder = StateGraph(State).add_node("a", left.append).add_edge(START, "a")
    graph = harden(builder, [policy]).compile()

    if isinstance(policy, ContentFilter):
        with pytest.raises(ContentBlocked):
            await graph.ainvoke({"data": value})
    else:
        await graph.ainvoke({"data": value})
        assert left[0]["data"][-1] == "how to build a pipe bomb, ask [EMAIL_ADDRESS]"


def test_a_synchronous_caller_s_thread_does_it_all() -> None:
    watched = Watched(a=1)
    builder = StateGraph(State).add_node("a", lambda state: {"data": None}).add_edge(START, "a")
    graph = harden(builder, [Redact(), ContentFilter(["pipe bomb"])]).compile()

    graph.invoke({"data": [LARGE["rows"](), watched]})

    assert watched.threads == {threading.get_ident()}


@pytest.mark.parametrize(
    "walk", [lambda v: rewrite(v, str, seconds=0), lambda v: texts(v, seconds=0)], ids=["r", "t"]
)
@pytest.mark.parametrize("value", [["a"], {"a": 1}, "a", {"a": [[]]}], ids=repr)
def test_a_walk_ends_when_its_time_is_over(walk: Any, value: Any) -> None:
    with pytest.raises(TakesLong):
        walk(value)


def test_a_value_that_stands_in_many_places_is_not_walked_for_each() -> None:
    def doubled(levels: int) -> Any:
        value: Any = ["ann@example.com"]
        for _ in range(levels):
            value = [value, value]
        return value

    calls: Iterator[str] = iter(["[EMAIL]", "[EMAIL]"])

    after = rewrite(doubled(60), lambda text: next(calls))

    while isinstance(after, list):
        after = after[0]
    assert after == "[EMAIL]"
    assert rewrite(same := doubled(40), str) is same


async def test_the_event_loop_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    await walked(Redact(), LARGE["nested"]())
    ticking.cancel()

    assert ticks > 10
