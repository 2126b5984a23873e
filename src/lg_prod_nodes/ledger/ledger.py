"""The ledger: what model calls spent, and what the kept results cost."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from pydantic import SecretStr

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.resource import Ping, Resource
from lg_prod_nodes.core.secret import Secret, hidden, revealed
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.databases.sharing import Sharing
from lg_prod_nodes.ledger.entries import Dimension, Entry, UsageRow
from lg_prod_nodes.ledger.memory import MemoryEntries
from lg_prod_nodes.ledger.price_table import Price, PriceTable, pricing
from lg_prod_nodes.ledger.query import Query, When, Where, query


class Ledger(Resource):
    """Entries of model calls, one a call.

    Without a database they are in memory, the latest ones, for one process. With one they are written to a journal on
    this machine, and a thread brings them to Postgres: a run never waits for the database, and while that is down
    nothing is lost. A journal left by a process that died is sent by the next one that writes to the same ledger.

    Args:
        postgres: The database, made ready at first use; `memory://` for none, wherever the ledger is used. Without
            one, the database of the latest `Production` that it was used in, else memory.
        price: Prices a call: a function of the model's name and the usage, such as `prices.list_price`, or a mapping
            of models to `ModelPrice`.
        retention: How long entries are kept; older ones are not counted, and are deleted from the database.
        journal: The folder for the journals, by default one in the user's state folder. It has to outlive the process.
        max_entries: How many entries are kept in memory.
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
        _check(postgres, retention, journal, max_entries, timeout)
        database = hidden(_IN_MEMORY if postgres is None else postgres)
        self._price = pricing(price)
        self._retention, self._journal, self._timeout = retention, journal, timeout
        self._is_placed = postgres is not None
        self._sharing = Sharing("Ledger")
        self._memory, self._database = MemoryEntries(max_entries), hidden(_IN_MEMORY)
        self._backend: _LedgerBackend = self._memory
        if database != self._database:
            self._put(database)

    def _put(self, database: SecretStr) -> None:
        from lg_prod_nodes.ledger.postgres import PostgresEntries

        backend = PostgresEntries(database, self._journal, self._retention, self._timeout)
        weakref.finalize(self, backend.close)  # at the interpreter's exit too
        self._database, self._backend = database, backend
        if not self._memory.is_empty:
            from lg_prod_nodes.ledger.both import CombinedEntries

            self._backend = CombinedEntries(self._memory, backend)

    def open(self, database: Secret | None = None) -> None:
        """Store further entries in a Postgres, unless another backend was given; sums include earlier ones.

        Raises:
            ConfigurationError: The folder for the journal cannot be written to, or an open `Production` uses it in
                another database.
        """
        if database is None or self._is_placed or not self._sharing.join(database):
            return
        if hidden(database) != self._database:
            self._backend.close()
            self._put(hidden(database))

    @property
    def is_in_memory(self) -> bool:
        """Whether entries are stored in this process alone, so that writing one takes no time."""
        return self._backend is self._memory

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
        """Settle the calls that are in doubt, by what the provider says of them.

        Args:
            lookup: Gives what the provider billed for a call, by its id, `None` if it has never seen it.
            older_than: Leaves out younger calls, which may still be going on.

        Returns:
            How many were settled.
        """
        doubtful = self.entries(until=older_than, in_doubt=True)
        self._backend.settle(self._settled(doubtful, lookup))
        return len(doubtful)

    def wake(self) -> None:
        """Let what waits be sent soon, by the ledger's own thread."""
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
        if self._sharing.leave():
            self._backend.close()
        else:
            self._backend.wake()

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
            told = replace(entry, usage=billed or Usage(), state="reconciled")
            yield told if billed is None else self._priced(told)

    def _priced(self, entry: Entry) -> Entry:
        cost = self._price(entry.model, entry.usage) if entry.usage.calls else Decimal(0)
        if cost is None:
            return replace(entry, usage=replace(entry.usage, unpriced_calls=entry.usage.calls))
        return replace(entry, usage=replace(entry.usage, cost=cost, unpriced_calls=0))


_IN_MEMORY = "memory://"
_MOST_LAG = 60.0  # seconds


class _LedgerBackend(Protocol):
    """Where entries are."""

    @property
    def unsent(self) -> int: ...
    @property
    def lag(self) -> float: ...
    def put(self, entry: Entry) -> None: ...
    def keep(self, task: str, execution: str, at: datetime) -> None: ...
    def settle(self, entries: Iterable[Entry]) -> None: ...
    def entries(self, query: Query, *, in_doubt: bool = False) -> list[Entry]: ...
    def sums(self, query: Query) -> list[UsageRow]: ...
    def wake(self) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def _check(
    postgres: Secret | None,
    retention: timedelta | None,
    journal: str | os.PathLike[str] | None,
    max_entries: int,
    timeout: float,
) -> None:
    if postgres is not None and not isinstance(postgres, str | SecretStr):
        raise ConfigurationError(
            f"postgres is a {type(postgres).__name__}; give a DSN, postgresql://user:password@host:5432/database, "
            "or memory://"
        )
    if journal is not None and postgres is not None and revealed(postgres) == _IN_MEMORY:
        raise ConfigurationError(
            "journal was given with memory://, and only what goes to a database is in a journal; give one of them"
        )
    if retention is not None and not (
        isinstance(retention, timedelta) and retention > timedelta(0)
    ):
        raise ConfigurationError(
            f"retention is {retention!r}; give a timedelta above 0, such as timedelta(days=400)"
        )
    if max_entries < 1:
        raise ConfigurationError(f"max_entries is {max_entries}; give at least 1")
    if timeout <= 0:
        raise ConfigurationError(f"timeout is {timeout}; give seconds, more than 0")
