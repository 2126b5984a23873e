"""Many conversations with a real LangGraph Server over connections that are cut.

    python -m tests.programs.conversations 100

Prints what was lost or came twice; the last line is a summary.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from uuid import uuid4

from langgraph.types import RetryPolicy
from langgraph_sdk import get_client
from tests.client.conftest import GRAPH, CuttingProxy
from tests.serving import langgraph_server

from lg_prod_nodes import CircuitBreaker, RateLimit, connect, converse, is_transient

WORDS = 12
AT_ONCE = 8


async def converses(url: str, direct: str, outcome: Counter[str]) -> None:
    thread = str(uuid4())
    policies = [RateLimit("10000/second"), CircuitBreaker(minimum=100_000)]
    patient = RetryPolicy(max_attempts=8, initial_interval=0.05, retry_on=is_transient)
    text = " ".join(["0.05", "0", "0"] * (WORDS // 3))
    async with connect(url, policies, retry=patient) as client:
        parts = [p async for p in converse(client, thread, text, stream_mode=["custom", "values"])]
    numbers = [part.data["number"] for part in parts if part.event == "custom"]
    async with get_client(url=direct) as client:
        runs = await client.runs.list(thread)
    outcome["conversations"] += 1
    outcome["events"] += len(numbers)
    outcome["lost"] += len(set(range(WORDS)) - set(numbers))
    outcome["twice"] += len(numbers) - len(set(numbers))
    outcome["out of order"] += numbers != sorted(numbers)
    outcome["second runs"] += len(runs) - 1


async def all_of_them(direct: str, count: int) -> Counter[str]:
    chance, outcome = random.Random(11), Counter[str]()
    slots = asyncio.Semaphore(AT_ONCE)

    def cut(request: bytes) -> int | None:
        if chance.random() < 0.6:
            return chance.randint(1, 3000)
        return None

    async def one(url: str) -> None:
        async with slots:
            try:
                await converses(url, direct, outcome)
            except Exception as error:
                outcome[f"failed: {type(error).__name__}"] += 1

    proxy = CuttingProxy(direct, cut)
    async with proxy.listening() as url:
        await asyncio.gather(*(one(url) for _ in range(count)))
    outcome["cuts"] = proxy.cuts
    return outcome


def main(count: int) -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "graph.py").write_text(GRAPH)
        settings = {"dependencies": ["."], "graphs": {"agent": "./graph.py:graph"}}
        (folder / "langgraph.json").write_text(json.dumps(settings))
        with langgraph_server(folder, options="--n-jobs-per-worker 8") as server:
            print(dict(asyncio.run(all_of_them(server.url, count))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
