"""What counting tokens costs a streamed call, and how often a ledger asks its database.

The same answers, streamed by a bare graph, by a hardened one that does not count, by one whose ledger is in memory and
by one whose ledger is in Postgres, in turn in one process. The model is a fake that streams as fast as it can, so the
ratio is the worst case. Then runs one after the other, and many at once: how many statements the ledger sends for each.
The database is an embedded one.

    python benchmarks/bench_ledger.py [ROUNDS]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Ledger, Policy, TokenUsage, harden, list_price
from lg_prod_nodes.databases import postgres as _postgres
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

TOKENS = 600
USAGE: Any = {"input_tokens": 900, "output_tokens": TOKENS, "total_tokens": 900 + TOKENS}
NAMED = {"model_name": "gpt-4o-mini"}
HI: Any = {"messages": [("user", "hi")]}


class Streaming(BaseChatModel):
    """Streams 600 tokens; asked for the whole, takes its seconds."""

    seconds: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "streaming"

    def _generate(self, *args: Any, **options: Any) -> ChatResult:
        time.sleep(self.seconds)
        message = AIMessage("hello", usage_metadata=USAGE, response_metadata=NAMED)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        for _ in range(TOKENS):
            yield ChatGenerationChunk(message=AIMessageChunk("word "))
        last = AIMessageChunk("", usage_metadata=USAGE, response_metadata=NAMED)
        yield ChatGenerationChunk(message=last)


class Nothing(Policy):
    """Wraps runs, and does nothing."""

    kinds = frozenset({"run"})

    async def wrap(self, call: Any, handler: Any) -> Any:
        return await handler(call)


def desk(model: Streaming) -> StateGraph[Any]:
    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")


def counted(ledger: Ledger, seconds: float = 0.0) -> Any:
    return harden(desk(Streaming(seconds=seconds)), [TokenUsage(ledger=ledger)]).compile()


def streamed(graph: Any) -> float:
    start = time.perf_counter()
    for _ in graph.stream(HI, stream_mode="messages"):
        pass
    return time.perf_counter() - start


def compare(ledgers: dict[str, Ledger], rounds: int) -> None:
    hardened = harden(desk(Streaming()), [Nothing()]).compile()
    graphs = {"bare": desk(Streaming()).compile(), "hardened, nothing counted": hardened}
    graphs |= {name: counted(ledger) for name, ledger in ledgers.items()}
    times = [{name: streamed(graph) for name, graph in graphs.items()} for _ in range(rounds + 1)]
    print(f"{'a streamed call of 600 tokens':34} {'ms':>8} {'ratio':>8} {'added a call':>14}")
    for name in graphs:
        took = median(round[name] for round in times[1:])
        ratio = median(round[name] / round["bare"] for round in times[1:])
        added = median(round[name] - round["bare"] for round in times[1:])
        print(f"{name:34} {took * 1e3:8.2f} {ratio:7.3f}x {added * 1e6:11.0f} us")


def statements(ledger: Ledger, runs: int, at_once: int) -> float:
    """How many statements the ledger sends for a run of half a second, once it has begun."""
    graph, sent = counted(ledger, seconds=0.5), Counting()
    graph.invoke(HI)
    ledger.flush()
    with sent, ThreadPoolExecutor(at_once) as threads:
        list(threads.map(lambda _: graph.invoke(HI), range(runs)))
        ledger.flush()
    return sent.number / runs


class Counting:
    """Counts the statements on the connections of stores, of which there is the ledger's alone."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> None:
        native = self._native = _postgres.Postgres.rows

        def rows(*args: Any, **options: Any) -> Any:
            self.number += 1
            return native(*args, **options)

        _postgres.Postgres.rows = rows  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        _postgres.Postgres.rows = self._native  # type: ignore[method-assign]


def main(rounds: int = 100) -> None:
    with TemporaryDirectory(prefix="bench-ledger-") as name:
        os.chmod(name, 0o711)  # for root, the server runs as somebody else
        with (
            EmbeddedPostgres(Path(name) / "postgres") as dsn,
            Ledger(dsn, journal=Path(name) / "journal") as ledger,
        ):
            with Ledger(dsn, journal=Path(name) / "priced", price=list_price) as priced:
                ledgers = {"ledger in memory": Ledger(), "ledger in Postgres": ledger}
                compare({**ledgers, "ledger in Postgres, list prices": priced}, rounds)
            print(f"\n{'statements a run':34}")
            for runs, at_once in ((10, 1), (100, 10), (400, 100)):
                sent = statements(ledger, runs, at_once)
                print(f"{f'{runs} runs, {at_once} at once':34} {sent:8.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
