"""What redaction costs a stream of tokens: the same answers, streamed by a bare and by a redacted graph in turn.

The model is a fake that streams as fast as it can, so the ratio is the worst case: a real model's tokens come a hundred
times slower. Prints the tokens of the model that pass a second (the median of the pairs), what the filter alone takes
(the fastest round), and how many characters it holds back.

    python benchmarks/bench_streaming.py [ROUNDS]
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from statistics import mean, median
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.content.finality import SettledStream
from lg_prod_nodes.content.message_stream import MessageStream

WORDS = [
    "report",
    "quarter",
    "went",
    "everyone",
    "asked",
    "nobody",
    "answered",
    "price",
    "invoice",
    "tomorrow",
]
PERSONAL = ["ann@example.com", "4111 1111 1111 1111", "+1 212 555 0142", "10.1.2.3"]


def answer(seed: int, *, personal: bool) -> list[str]:
    """About 600 tokens as models give them: a word with the space before it, long words in two."""
    rng = random.Random(seed)
    words = [f"{rng.choice(WORDS)}{rng.choice(['', '', '', ',', '.'])}" for _ in range(450)]
    if personal:
        words[::40] = [rng.choice(PERSONAL) for _ in words[::40]]
    return [piece for word in words for piece in re.findall(r".{1,6}", f" {word}")]


class Streaming(BaseChatModel):
    """A model that streams what it is asked to."""

    tokens: list[str]

    @property
    def _llm_type(self) -> str:
        return "streaming"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in self.tokens:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for token in self.tokens:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))


def tokens_a_second(graph: Any, model: Streaming) -> float:
    start = time.perf_counter()
    for _ in graph.stream({"messages": [("user", "hi")]}, stream_mode="messages"):
        pass
    return len(model.tokens) / (time.perf_counter() - start)


async def tokens_a_second_async(graph: Any, model: Streaming) -> float:
    start = time.perf_counter()
    async for _ in graph.astream({"messages": [("user", "hi")]}, stream_mode="messages"):
        pass
    return len(model.tokens) / (time.perf_counter() - start)


def filter_alone(tokens: list[str]) -> float:
    """Seconds that the filter takes for a token."""
    chunks = [ChatGenerationChunk(message=AIMessageChunk(content=token)) for token in tokens]
    stream = MessageStream((Redact().replacer(),))
    start = time.perf_counter()
    for chunk in chunks:
        stream.feed(chunk)
    stream.flush()
    return (time.perf_counter() - start) / len(tokens)


def held_back(tokens: list[str]) -> list[int]:
    replacer = Redact().replacer()
    stream = replacer.stream()
    assert isinstance(stream, SettledStream)
    held: list[int] = []
    for token in tokens:
        stream.feed(token)
        held.append(stream.held)
    return held


def measure(name: str, rounds: int, *, personal: bool, is_async: bool) -> None:
    model = Streaming(tokens=[])

    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask_blocking(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("agent", ask if is_async else ask_blocking)
    builder.add_edge(START, "agent")
    graphs = builder.compile(), harden(builder, [Redact()]).compile()
    pairs: list[tuple[float, ...]] = []
    for round in range(rounds + 1):
        model.tokens = answer(round, personal=personal)
        pairs.append(
            tuple(
                asyncio.run(tokens_a_second_async(graph, model))
                if is_async
                else tokens_a_second(graph, model)
                for graph in graphs
            )
        )
    bare, redacted = (median(speeds) for speeds in zip(*pairs[1:], strict=True))
    ratio = median(after / before for before, after in pairs[1:])
    print(f"{name:42} {bare:9,.0f} {redacted:9,.0f} {ratio:6.2f}x")


def main(rounds: int = 25) -> None:
    print(f"{'tokens a second':42} {'bare':>9} {'redacted':>9} {'ratio':>7}")
    for kind, is_async in (("astream", True), ("stream", False)):
        for content, personal in (("prose", False), ("with personal data", True)):
            measure(f"{kind}, {content}", rounds, personal=personal, is_async=is_async)
    for content, personal in (("prose", False), ("with personal data", True)):
        seconds = min(filter_alone(answer(round, personal=personal)) for round in range(rounds))
        print(f"filter alone, {content}: {seconds * 1e6:.1f} microseconds a token")
        sizes = (held_back(answer(round, personal=personal)) for round in range(5))
        held = sorted(size for some in sizes for size in some)
        percentile = held[int(len(held) * 0.99)]
        print(
            f"held back, {content}: {mean(held):.1f} characters, {percentile} in 99 %, {held[-1]} at most"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
