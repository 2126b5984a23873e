"""An outage that several processes meet: `python breaker_outage.py DSN [PROCESSES] [SECONDS]`.

Each process has eight callers of one provider, through a circuit breaker whose circuits are in Postgres. The provider
is down in the middle third, and answers 429 beyond its quota in the last. Prints what reached it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import sys
import time
from typing import Any

from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import CallRejected, CircuitBreaker, harden, is_transient

PROBES, OPEN_FOR, QUOTA = 2, 1.0, 20


class State(TypedDict, total=False):
    done: bool


class Provider:
    """Shared by all processes: down for a while, then limited."""

    def __init__(self, begin: float, seconds: float) -> None:
        self.begin, self.third = begin, seconds / 3
        self.called, self.served, self.refused = (
            mp.Array("i", 3),
            mp.Array("i", 3),
            mp.Value("i", 0),
        )
        self._window, self._left = mp.Value("i", -1), mp.Value("i", 0)
        self.windows = mp.Value("i", 0)

    def phase(self) -> int:
        return min(int((time.time() - self.begin) / self.third), 2)

    def ask(self) -> None:
        phase = self.phase()
        with self.called.get_lock():
            self.called[phase] += 1
        if phase == 1:
            raise ConnectionError("down")
        if phase == 2:
            self._limit()
        with self.served.get_lock():
            self.served[phase] += 1

    def _limit(self) -> None:
        now = time.time()
        with self._window.get_lock():
            if int(now) != self._window.value:
                self._window.value, self._left.value = int(now), QUOTA
                self.windows.value += 1
            self._left.value -= 1
            if self._left.value >= 0:
                return
        with self.refused.get_lock():
            self.refused.value += 1
        error = Exception("slow down")
        vars(error).update(status_code=429, retry_after=int(now) + 1 - now)
        raise error


def worker(dsn: str, provider: Provider, seconds: float) -> None:
    async def call(state: State) -> State:
        provider.ask()
        await asyncio.sleep(0.02)
        return {"done": True}

    breaker = CircuitBreaker(minimum=5, open_for=OPEN_FOR, probes=PROBES, store=dsn)
    retry = RetryPolicy(initial_interval=0.05, jitter=False, retry_on=is_transient)
    builder = StateGraph(State).add_node("provider", call, retry_policy=retry)
    builder.add_edge(START, "provider")
    graph = harden(builder, nodes={"provider": [breaker]}).compile()

    async def caller() -> None:
        while time.time() < provider.begin + seconds:
            try:
                await graph.ainvoke({"done": False})
            except CallRejected:
                await asyncio.sleep(0.05)
            except Exception:
                await asyncio.sleep(0.01)

    async def callers() -> None:
        await asyncio.gather(*(caller() for _ in range(8)))

    asyncio.run(callers())


def main(dsn: str, processes: int = 4, seconds: float = 24.0) -> dict[str, Any]:
    provider = Provider(time.time() + 2.0, seconds)
    fork = mp.get_context("fork")
    started = [fork.Process(target=worker, args=(dsn, provider, seconds)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    rounds = provider.third / OPEN_FOR
    return {
        "calls while down": provider.called[1],
        "probes allowed": int(PROBES * (rounds + 1)),
        "calls in flight that open it": 5 + 8 * processes,
        "goodput of the quota": round(provider.served[2] / (QUOTA * provider.windows.value), 3),
        "429 of its calls": round(provider.refused.value / max(provider.called[2], 1), 3),
    }


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(given[0], *map(int, given[1:2]), *map(float, given[2:]))))
