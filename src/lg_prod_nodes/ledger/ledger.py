"""The ledger: what model calls spent, and what the kept results cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import SecretStr

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.resource import Ping
from lg_prod_nodes.core.secret import Secret, scheme_of
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger.entries import Dimension, Entry, UsageRow
from lg_prod_nodes.ledger.memory import CombinedEntries, MemoryEntries
from lg_prod_nodes.ledger.price_table import Price, PriceTable, pricing
from lg_prod_nodes.ledger.query import Query, When, Where, query
from lg_prod_nodes.stores.store import Store

if TYPE_CHECKING:
    from lg_prod_nodes.ledger.postgres import PostgresEntries

    Backend = MemoryEntries | PostgresEntries | CombinedEntries


class Ledger(Store["Backend"]):
    """Entries of model calls, one a call.

    Without a database they are in memory, the latest ones, for one process. With one they are written to a journal on
    this machine, and a thread brings them to Postgres: a run never waits for the database, and while that is down
    nothing is lost. A journal left by a process that died is sent by the next one that writes to the same ledger.

    Args:
        postgres: The database, set up at first use; `memory://` for this process alone. By default the database of the
            latest `Production` that used the ledger, else memory; sums include the entries in memory.
        price: Prices a call: a function of the model's name and the usage, such as `list_price`, or a mapping
            of models to `ModelPrice`. Defaults to `list_price` if the extra `prices` is installed, as for `CostBudget`;
            else no call is priced.
        retention: How long entries are stored; older ones are not counted, and are deleted from the database.
        journal: The folder for the journals, by default one in the user's state folder. It has to outlive the process.
        max_entries: The most entries to store in memory.
        timeout: Seconds to wait at most for a connection, for a statement, and for the last batch when closing; twice
            as long for a silent server.

    Raises:
        ConfigurationError: A setting cannot work.

    Example:
        ```python
        ledger = Ledger("postgresql://...", price=list_price, retention=timedelta(days=400))
        graph = harden(builder, [TokenUsage(ledger=ledger)]).compile()
        for row in ledger.usage(by=("user", "model"), since=timedelta(days=7)):
            print(row.key, row.spent.cost, row.effective.cost)
        ```
    """

    label = "ledger"
    critical = False
    schemes = ("memory", "postgresql")
    stays = True

    def __init__(
        self,
        postgres: Secret | None = None,
        *,
        price: Price | PriceTable | None = None,
        retention: timedelta | None = None,
        journal: str | os.PathLike[str] | None = None,
        max_entries: int = 100_000,
        timeout: float = 10.0,
    ) -> None:
        _check(postgres, retention, journal, max_entries)
        self._price = pricing(price)
        self._retention, self._journal = retention, journal
        self._memory = MemoryEntries(max_entries)
        super().__init__(postgres, timeout=timeout)

    def _in_memory(self) -> Backend:
        return self._memory

    def _in_postgres(self, url: SecretStr) -> Backend:
        from lg_prod_nodes.ledger.postgres import PostgresEntries

        entries = PostgresEntries(url, self._journal, self._retention, self._timeout)
        return entries if self._memory.is_empty else CombinedEntries(self._memory, entries)

    @property
    def unsent(self) -> int:
        """How many bytes of this process's journal the database has not got yet; grows while it is down."""
        return self._backend.unsent

    @property
    def lag(self) -> float:
        """Seconds for which the oldest entry of this process's journal has waited; grows while the database is down."""
        return self._backend.lag

    def begin(self, entry: Entry) -> None:
        """Note that a call begins, with an estimate of what it will spend."""
        self._backend.put(replace(entry, state="in_doubt"))

    def add(self, entry: Entry) -> Decimal | None:
        """Note a call, once.

        Returns:
            Its price in US dollars, `None` where it is not known.
        """
        try:
            entry = self._priced(entry)
        finally:
            self._backend.put(entry)
        return None if entry.usage.unpriced_calls else entry.usage.cost

    def keep(self, task: str, execution: str, at: datetime) -> None:
        """Note which execution of a task is the one whose result counts; a later one replaces it."""
        self._backend.keep(task, execution, at)

    def usage(
        self,
        by: Dimension | Collection[Dimension] = (),
        *,
        since: When = None,
        until: When = None,
        where: Where | None = None,
    ) -> list[UsageRow]:
        """Usage summed by one or more dimensions, the greatest first; one row of all without any.

        Args:
            by: Of user, tenant, assistant, thread, run, graph, node and model.
            since: Calls that began then or later: a time, or how long ago.
            until: Calls that began before.
            where: Calls of these values alone, as in `{"user": "ada", "model": ["gpt-4o", "gpt-4o-mini"]}`.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        rows = self._backend.sums(self._query(by, since, until, where))
        return sorted(
            rows, key=lambda row: (-row.spent.total_tokens, [key or "" for key in row.key])
        )

    def total(self, *, by: Dimension) -> dict[str | None, Usage]:
        """What was spent, by one dimension, the greatest first."""
        return {row.key[0]: row.spent for row in self.usage(by)}

    def entries(
        self,
        *,
        since: When = None,
        until: When = None,
        where: Where | None = None,
        in_doubt: bool = False,
    ) -> tuple[Entry, ...]:
        """The entries one by one, oldest first; on request those alone that are in doubt.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        asked = self._query((), since, until, where)
        return tuple(self._backend.entries(asked, in_doubt=in_doubt))

    def reconcile(
        self,
        lookup: Callable[[str], Usage | None],
        *,
        older_than: timedelta = timedelta(minutes=15),
    ) -> int:
        """Settle the calls that are in doubt, by what the provider reports.

        Args:
            lookup: Gives what the provider billed for a call, by its id, `None` if it has never seen it.
            older_than: Leaves out younger calls, which may still be in progress.

        Returns:
            How many were settled.
        """
        doubtful = self.entries(until=older_than, in_doubt=True)
        self._backend.settle(self._settled(doubtful, lookup))
        return len(doubtful)

    def wake(self) -> None:
        """Have the ledger's own thread send what waits soon."""
        self._backend.wake()

    def flush(self) -> None:
        """Send what waits now, and what processes that died have left.

        Raises:
            StoreUnavailable: The database cannot be reached; it all stays in the journal.
        """
        self._backend.flush()

    def ping(self) -> Ping:
        """Say how much waits to be sent. Runs never wait for the ledger's database, so it is not asked."""
        waiting = f"{self.unsent} bytes wait, for {self.lag:.0f} s"
        return Ping(waiting, is_degraded=self.lag > _MOST_LAG)

    def close(self) -> None:
        """Send what waits, within `timeout`, and close the connections, unless an open `Production` uses them too."""
        self._backend.wake()
        super().close()

    def _query(
        self,
        by: Dimension | Collection[Dimension],
        since: When,
        until: When,
        where: Where | None,
    ) -> Query:
        return query(by, since, until, where, self._retention)

    def _settled(
        self, entries: Iterable[Entry], lookup: Callable[[str], Usage | None]
    ) -> Iterator[Entry]:
        for entry in entries:
            billed = lookup(entry.id)
            settled = replace(entry, usage=billed or Usage(), state="reconciled")
            yield settled if billed is None else self._priced(settled)

    def _priced(self, entry: Entry) -> Entry:
        cost = self._price(entry.model, entry.usage) if entry.usage.calls else Decimal(0)
        if cost is None:
            return replace(entry, usage=replace(entry.usage, unpriced_calls=entry.usage.calls))
        return replace(entry, usage=replace(entry.usage, cost=cost, unpriced_calls=0))


_MOST_LAG = 60.0  # seconds


def _check(
    postgres: Secret | None,
    retention: timedelta | None,
    journal: str | os.PathLike[str] | None,
    max_entries: int,
) -> None:
    if journal is not None and postgres is not None and scheme_of(postgres) == "memory":
        raise ConfigurationError(
            "journal was given with memory://, but only entries for a database are in a journal; give one of them"
        )
    if retention is not None and not (
        isinstance(retention, timedelta) and retention > timedelta(0)
    ):
        raise ConfigurationError(
            f"retention is {retention!r}; give a timedelta above 0, such as timedelta(days=400)"
        )
    if max_entries < 1:
        raise ConfigurationError(f"max_entries is {max_entries}; give at least 1")
