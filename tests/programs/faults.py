"""Runs in production while the network and the servers behind it fail: `python -m tests.programs.faults [--seed 7]`.

A hardened graph runs in `Production`, with everything that it keeps in Postgres, and again with its limits, budgets,
bulkheads and circuits in Valkey; synchronous and asynchronous. Between it and the servers stands a proxy. Each fault
begins at three moments: before a run is let in, while a node runs, and between two supersteps; then the ledger is
flushed in the midst of it. When it is over the same process goes on. Prints what each fault did, and exits with 1 if

- a run that was let in neither ended nor could be resumed with `invoke(None, config)`,
- a node of another superstep than the one in flight ran again,
- the ledger differs from the provider's own books,
- more was admitted or spent than a limit or budget allows,
- a call that waited for a server waited longer than it may, or anything but `StoreUnavailable` came out,
- the process did not recover in time.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count, groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.programs.fault_servers import PostgresServer, Server, ValkeyOfOnesOwn, servers
from tests.programs.fault_stage import BOUNDS, LEASE, LIMIT, NODES, QUOTA, Stage

from lg_prod_nodes import Account, CallRejected, StoreUnavailable
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.limits.store import parse_limits

MOMENTS = ("asked", "node", "step")
SLACK = 1.5  # for two busy cores
RECOVERY = (
    6.0  # a break of the pools, connections that stay silent, the pause of `LimitStore`, and a run
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a server.

    Attributes:
        begin: Breaks it.
        end: Mends it.
        forgets: Whether windows and accounts are lost with it.
    """

    begin: Callable[[Any], None]
    end: Callable[[Any], None] = lambda server: server.proxy.heal()
    forgets: bool = False


NETWORK = {
    "reset": Fault(lambda server: server.proxy.reset()),
    "refused": Fault(lambda server: server.proxy.refuse()),
    "black hole": Fault(lambda server: server.proxy.black_hole()),
    "slow": Fault(lambda server: server.proxy.slow(0.01, 500_000)),
}
FAULTS: dict[str, dict[str, Fault]] = {
    "Postgres": NETWORK
    | {
        "restart, fast": Fault(lambda server: server.stop("fast"), lambda server: server.start()),
        # windows are in unlogged tables, which PostgreSQL empties after a crash
        "restart, immediate": Fault(
            lambda server: server.stop("immediate"), lambda server: server.start(), forgets=True
        ),
    },
    "Valkey": NETWORK
    | {
        "restart": Fault(lambda server: server.stop("fast"), lambda server: server.start()),
        "flushed": Fault(lambda server: server.flush(), lambda server: None, forgets=True),
    },
}


_NUMBERS = count(1)


@dataclass
class Trial:
    """One fault on one stage, at some moments."""

    stage: Stage
    server: Server
    fault: Fault
    runs: int = 3
    user: str = field(default_factory=lambda: f"user-{next(_NUMBERS)}")
    broken: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    threads: list[str] = field(default_factory=list)
    probes: set[str] = field(default_factory=set)
    recovered: float = 0.0

    def play(self, moments: tuple[str, ...] = MOMENTS) -> Trial:
        """Let it happen, mend it, and see whether all promises hold."""
        self.stage.watch.longest.clear()
        for moment in moments:
            self._at(moment)
        self._settle()
        return self

    @property
    def longest(self) -> tuple[str, float]:
        """The wait that came nearest to its bound, and what for."""
        waits = self.stage.watch.longest.items()
        return max(
            ((kind, seconds) for kind, seconds in waits if kind in BOUNDS),
            key=lambda wait: wait[1] / BOUNDS[wait[0]],
        )

    def _at(self, moment: str) -> None:
        begin = partial(self.fault.begin, self.server)
        if moment == "asked":
            begin()
        else:
            self.stage.world.at(moment, begin)
        self._finish(self._started(self.runs))
        self._finish(self._started(1))
        if not self._flush():
            self.outcomes["ledger waits"] += 1
        self.fault.end(self.server)
        self._recover()
        self._resume()

    def _started(self, runs: int) -> dict[str, Future[Any]]:
        names = [f"{self.user}-{len(self.threads) + number}" for number in range(runs)]
        self.threads += names
        return {name: self.stage.submit(self._given(), self._config(name)) for name in names}

    def _finish(self, started: dict[str, Future[Any]]) -> None:
        wait_for(started.values(), timeout=60)
        for thread, run in started.items():
            if not run.done():
                self.broken.append(f"{thread} hangs")
            elif (error := run.exception()) is not None:
                self.failed[thread] += 1
                self._judge(error)
            else:
                self.outcomes["ended"] += 1

    def _judge(self, error: BaseException) -> None:
        self.outcomes[type(error).__name__] += 1
        if not isinstance(error, (StoreUnavailable, CallRejected)):
            self.broken.append(f"{type(error).__name__} came out: {error}")
        if self.stage.secret in "".join(traceback.format_exception(error)):
            self.broken.append("an error tells the password")

    def _flush(self) -> bool:
        try:
            self.stage.ledger.flush()
        except StoreUnavailable:
            return False
        return True

    def _recover(self) -> None:
        """Go on until a run ends well and the ledger is sent."""
        start = time.monotonic()
        while True:
            ((thread, probe),) = self._started(1).items()
            self.probes.add(thread)
            if probe.exception(60) is not None:
                self.failed[thread] += 1
            elif self._flush():
                break
            if time.monotonic() - start > 60:
                self.broken.append("it does not recover")
                return
            time.sleep(0.2)
        self.recovered = max(self.recovered, time.monotonic() - start)

    def _resume(self) -> None:
        for thread in self.failed:
            config = self._config(thread)
            state = self.stage.state(config)
            # `next` lacks the tasks that have ended, whose results wait for the next checkpoint
            if not state.tasks and state.values:
                continue
            given = None if state.tasks else self._given()
            self.stage.submit(given, config).result(60)
            if thread not in self.probes:
                self.outcomes["resumed" if state.tasks else "asked again"] += 1

    def _settle(self) -> None:
        """See whether every promise was kept."""
        for thread in self.threads:
            self._check_thread(thread)
        self._check_ledger()
        self._check_budget()
        self._check_limit()
        for kind, bound in BOUNDS.items():
            if (seconds := self.stage.watch.longest.get(kind, 0.0)) > bound + SLACK:
                self.broken.append(f"a {kind} was waited for {seconds:.1f} s, not {bound:.1f} s")
        if self.recovered > RECOVERY + SLACK:
            self.broken.append(f"it recovered after {self.recovered:.1f} s only")

    def _check_thread(self, thread: str) -> None:
        state = self.stage.state(self._config(thread))
        said = [message.text for message in state.values.get("messages", ())]
        if state.tasks or said[1:] != ["Done."] * len(NODES):
            self.broken.append(f"{thread} is lost: {state.tasks} {said}")
        if "ada@example.com" in str(said):
            self.broken.append(f"{thread} has an address")
        effects = self.stage.world.effects[thread]
        if tuple(name for name, _ in groupby(effects)) != NODES:
            self.broken.append(f"{thread} went back: {effects}")
        if len(effects) > len(NODES) + self.failed[thread]:
            self.broken.append(f"{thread} was doubled: {effects}")

    def _check_ledger(self) -> None:
        ledger, bills = self.stage.ledger, self.stage.world.bills[self.user]
        ledger.flush()
        (row,) = ledger.usage(where={"user": self.user})
        told = (row.spent.calls, row.spent.total_tokens, row.in_doubt.calls)
        if told != (len(bills), sum(bills), 0):
            self.broken.append(f"the ledger has {told}, the provider {len(bills), sum(bills)}")

    def _check_budget(self) -> None:
        span, _ = self.stage.budget._allowance.span(time.time())
        spent = sum(self.stage.world.bills[self.user])
        budget = Account(f"TokenBudget|{span}|={self.user}", LIMIT)
        places = Account(f"Bulkhead|LangGraph|={self.user}", 8)
        deadline = time.monotonic() + 2 * LEASE
        while True:  # what could not be settled is settled with the next beat
            balance, held = map(self._balance, (budget, places))
            is_settled = not (balance.reserved or held.reserved)
            if (is_settled and (balance.spent == spent or self.fault.forgets)) or (
                time.monotonic() > deadline
            ):
                break
            time.sleep(0.1)
        if not is_settled:
            self.broken.append(f"still reserved: {balance} {held}")
        if balance.spent > spent or (balance.spent < spent and not self._loses_accounts):
            self.broken.append(f"the budget has {balance.spent}, the provider {spent}")

    @property
    def _loses_accounts(self) -> bool:
        return self.fault.forgets and self.server.name == "Valkey"

    def _balance(self, account: Account) -> Any:
        return drive(self.stage.accounts.balance(account, blocking=True))

    def _check_limit(self) -> None:
        """Use up what is left of the quota: with the runs that were let in, it must not be more."""
        who, limits = f"RateLimit|LangGraph|{self.user}", parse_limits(f"{QUOTA}/hour")
        more = 0
        while drive(self.stage.limits.acquire(limits, who, blocking=True)).admitted:
            more += 1
        admitted = sum(bool(self.stage.world.effects[thread]) for thread in self.threads) + more
        if admitted > QUOTA * (1 + self.fault.forgets):
            self.broken.append(f"{admitted} runs were let in, the limit is {QUOTA}")

    def _given(self) -> Any:
        return {"messages": [("user", "I am ada@example.com.")]}

    def _config(self, thread: str) -> Any:
        return {"configurable": {"thread_id": thread, "user_id": self.user}}


def stages(
    postgres: PostgresServer, valkey: ValkeyOfOnesOwn, folder: Path, seed: int
) -> Iterator[tuple[Stage, Server]]:
    """The graph with all in Postgres and with its limits in Valkey, called in both ways."""
    for places in (postgres, valkey):
        for is_async in (False, True):
            yield Stage(postgres, places, folder, is_async=is_async, seed=seed), places


def row(name: str, trial: Trial) -> list[str]:
    """A line of the table."""
    kind, seconds = trial.longest
    outcomes = ", ".join(f"{told} {times}" for told, times in sorted(trial.outcomes.items()))
    face = "async" if trial.stage.is_async else "sync"
    waited = [f"{seconds:.2f}", f"{BOUNDS[kind]:.1f} ({kind})", f"{trial.recovered:.2f}"]
    kept = "; ".join(trial.broken) or "all"
    return [name, trial.server.name, face, outcomes, *waited, kept]


HEAD = ["fault", "of", "face", "outcome", "longest wait, s", "bound, s", "back after s", "kept"]


def show(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def quiet() -> None:
    """Let nobody tell of what fails: it is meant to."""
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def main(seed: int, only: list[str]) -> int:
    quiet()
    fine = True
    show(HEAD)
    show(["---"] * len(HEAD))
    with TemporaryDirectory(prefix="faults-") as name, ExitStack() as stack:
        folder = Path(name)
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        for stage, server in stages(*stack.enter_context(servers(folder)), folder, seed):
            with stage.open():
                for fault in FAULTS[server.name]:
                    if not only or fault in only:
                        trial = Trial(stage, server, FAULTS[server.name][fault]).play()
                        show(row(fault, trial))
                        fine &= not trial.broken
    return 0 if fine else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", action="append", default=[], help="the name of a fault")
    sys.exit(main(**vars(parser.parse_args())))
