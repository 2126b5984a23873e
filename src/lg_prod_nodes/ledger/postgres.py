"""Entries of a ledger for all processes: a journal on this machine, and rows in Postgres."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from weakref import WeakSet

from platformdirs import user_state_path

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret, hidden
from lg_prod_nodes.databases.dsn import database_of, schema_of
from lg_prod_nodes.ledger.entries import Entry, UsageRow, entry_of, kept_record, record_of
from lg_prod_nodes.ledger.query import Query
from lg_prod_nodes.ledger.rows import Rows
from lg_prod_nodes.ledger.sender import Sender

_AT_ONCE = 500  # entries that are settled in one round trip


class PostgresEntries:
    """Entries in Postgres, by way of a journal.

    Args:
        dsn: The database.
        journal: The folder for journals, the user's own by default.
        retention: How long rows are stored.
        timeout: Seconds to wait at most for a connection, for a statement, and for the last batch.

    Raises:
        ConfigurationError: The DSN cannot be read, or the folder cannot be written to.
        StoreUnavailable: From the methods that read or send: the database cannot be reached in time.
    """

    def __init__(
        self,
        dsn: Secret,
        journal: str | os.PathLike[str] | None,
        retention: timedelta | None,
        timeout: float,
    ) -> None:
        self._dsn, self._timeout, self._retention = hidden(dsn), timeout, retention
        self._folder = _folder(dsn, journal)
        self._begin()
        _BACKENDS.add(self)

    def _begin(self) -> None:
        self._rows = Rows(self._dsn, self._timeout)
        self._sender = Sender(self._folder, self._rows.write, self._tidy, self._timeout)

    def begin_anew(self) -> None:
        """Leave journal, thread and connections to the process that this one was forked from."""
        _LEFT_TO_PARENT.append((self._rows, self._sender))
        self._begin()

    @property
    def unsent(self) -> int:
        """How many bytes of this process's journal wait."""
        return self._sender.unsent

    @property
    def lag(self) -> float:
        """Seconds for which the oldest entry of this process's journal has waited."""
        return self._sender.lag

    def put(self, entry: Entry) -> None:
        """Write an entry to the journal."""
        self._sender.put(record_of(entry))

    def keep(self, task: str, execution: str, at: datetime) -> None:
        """Write to the journal that an execution of a task is the one that counts."""
        self._sender.put(kept_record(task, execution, at))

    def settle(self, entries: Iterable[Entry]) -> None:
        """Write what became known of entries in doubt."""
        for some in _batches(entries):
            self._rows.write(map(record_of, some))

    def entries(self, query: Query, *, in_doubt: bool = False) -> list[Entry]:
        """The entries asked for, the oldest first."""
        self._sender.flush()
        return [entry_of(record) for record in self._rows.read(query, in_doubt=in_doubt)]

    def sums(self, query: Query) -> list[UsageRow]:
        """The usage asked for."""
        self._sender.flush()
        return self._rows.sums(query)

    def wake(self) -> None:
        """Let the thread send what waits."""
        self._sender.wake()

    def flush(self) -> None:
        """Send what waits, and what dead processes have left."""
        self._sender.flush()
        self._sender.take_over()
        self._tidy()

    def close(self) -> None:
        """Send what waits, within a bounded time, and close the connections."""
        self._sender.close()
        self._rows.close()

    def _tidy(self) -> None:
        if self._retention is not None:
            self._rows.delete(datetime.now(UTC) - self._retention)


_BACKENDS: WeakSet[PostgresEntries] = WeakSet()
_LEFT_TO_PARENT: list[object] = []  # never collected: that would close the parent's connections


def _forked() -> None:
    for backend in list(_BACKENDS):
        backend.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    while some := list(islice(remaining, _AT_ONCE)):
        yield some


def journals_in(chosen: str | os.PathLike[str] | None) -> Path:
    """The folder for journals of all databases: the one chosen, or the user's own."""
    return user_state_path("lg-prod-nodes") / "ledger" if chosen is None else Path(chosen)


def _folder(dsn: Secret, journal: str | os.PathLike[str] | None) -> Path:
    """The folder of the journals for one schema of a database: what is in it may be sent there and nowhere else."""
    base = journals_in(journal)
    identity = " ".join(filter(None, (database_of(dsn), schema_of(dsn))))
    folder = base / hashlib.sha256(identity.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the journal's folder {base} cannot be made ({error.strerror}); give one that outlives the process, "
            "on a local disk: Ledger(journal=...)"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the journal's folder {base} cannot be written to; give another: Ledger(journal=...)"
        )
    return folder
