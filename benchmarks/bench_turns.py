"""What redaction costs as a thread grows: the same conversation on a bare and on a redacted graph, turn by turn.

Each turn is a human message of about 300 characters with an e-mail address in it and an answer of the same length, in
memory with a checkpointer. Prints the median time of a turn near the beginning and near the end of the thread, what
redaction adds to it, and how many texts were searched.

    python benchmarks/bench_turns.py [TURNS] [THREADS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import count
from statistics import median
from typing import Any
from unittest.mock import patch

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.detectors import Detector

WINDOW = 5
SAID = (
    "The report on the second quarter went out to everyone who had asked for it, and nobody has answered. "
    * 3
)


def builder() -> StateGraph[Any]:
    answers = count()

    def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{next(answers)}: {SAID}")]}

    return StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")


def turns(graph: Any, thread: str, number: int) -> Iterator[float]:
    config = {"configurable": {"thread_id": thread}}
    for turn in range(number):
        text = f"user{turn}@example.com asks: {SAID}"
        start = time.perf_counter()
        graph.invoke({"messages": [("user", text)]}, config)
        yield time.perf_counter() - start


def main(number: int = 200, threads: int = 3) -> None:
    searched = [0]
    analyze = Detector._analyze  # pyright: ignore[reportPrivateUsage]

    def counted(self: Detector, text: str) -> Any:
        searched[0] += 1
        return analyze(self, text)

    graphs = {
        "bare": builder().compile(InMemorySaver()),
        "redacted": harden(builder(), [Redact()]).compile(InMemorySaver()),
    }
    early: dict[str, list[float]] = {name: [] for name in graphs}
    late: dict[str, list[float]] = {name: [] for name in graphs}
    with patch.object(Detector, "_analyze", counted):
        for thread in range(threads):
            flows = {name: turns(graph, f"{thread}", number) for name, graph in graphs.items()}
            for turn in range(1, number + 1):
                for name, flow in flows.items():
                    seconds = next(flow)
                    if 1 < turn <= 1 + WINDOW:
                        early[name].append(seconds)
                    elif turn > number - WINDOW:
                        late[name].append(seconds)
    print(f"{'':10} {'turn 2':>10} {f'turn {number}':>10} {'ratio':>7}")
    for name in graphs:
        first, last = median(early[name]), median(late[name])
        print(f"{name:10} {first * 1e3:7.2f} ms {last * 1e3:7.2f} ms {last / first:6.2f}x")
    first = median(early["redacted"]) - median(early["bare"])
    last = median(late["redacted"]) - median(late["bare"])
    print(f"{'added':10} {first * 1e3:7.2f} ms {last * 1e3:7.2f} ms {last / first:6.2f}x")
    print(f"texts searched: {searched[0] / threads / number:.1f} a turn")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
