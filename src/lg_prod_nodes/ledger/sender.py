"""Brings records from the journal to the database, in a thread of its own: a run never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lg_prod_nodes.ledger.entries import Record
from lg_prod_nodes.ledger.journal import Backlog, Journal, left_by, names_in

_INTERVAL = 5.0  # seconds after which what waits is sent, and after which a database that is down is asked again
_ROUND = (
    60.0  # seconds between looks for the journals of dead processes, and for rows that are too old
)

Send = Callable[[Iterable[Record]], None]


class Sender:
    """The journal of this process, and the thread that empties it.

    Args:
        folder: Where the journals of all processes are.
        send: Writes records to the database; doing it twice must do no harm.
        tidy: What else to do there now and then.
        patience: Seconds to wait at most for the last batch.
    """

    def __init__(self, folder: Path, send: Send, tidy: Callable[[], None], patience: float) -> None:
        self._folder = folder
        self._send = send
        self._tidy = tidy
        self._patience = patience
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._work: _Work | None = None

    @property
    def unsent(self) -> int:
        """How many bytes of this process wait."""
        return self._work.journal.unsent if self._work is not None else 0

    @property
    def lag(self) -> float:
        """Seconds for which the oldest record of this process has waited."""
        return self._work.journal.lag if self._work is not None else 0.0

    def put(self, record: Record) -> None:
        """Write a record to the journal.

        Raises:
            StoreUnavailable: It cannot be written.
        """
        (self._work or self._begun()).journal.write(record)

    def wake(self) -> None:
        """Let the thread send what waits."""
        if self._work is not None:
            self._work.signal.set()

    def flush(self) -> None:
        """Send what waits, here and now.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        if self._work is not None:
            self._empty(self._work.journal)

    def take_over(self) -> None:
        """Send what dead processes have left.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        for name in sorted(names_in(self._folder)):
            with left_by(self._folder, name) as backlog:
                if backlog is not None:
                    self._empty(backlog)
                    backlog.delete()

    def close(self) -> None:
        """Send what waits and stop the thread, within a bounded time. The next record starts anew."""
        with self._lock:
            work, self._work = self._work, None
        if work is None:
            return
        work.closing.set()
        work.signal.set()
        work.thread.join(self._patience)
        if not work.thread.is_alive():
            work.journal.close()

    def _begun(self) -> _Work:
        with self._lock:
            if self._work is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._work = _Work(Journal(self._folder), self._run)
            return self._work

    def _run(self, work: _Work) -> None:
        next_round = 0.0
        while True:
            is_last = work.closing.is_set()
            is_done = _done(lambda: self._empty(work.journal))
            if is_last:
                return
            if time.monotonic() >= next_round:
                next_round = time.monotonic() + _ROUND
                self._round()
            (work.signal if is_done else work.closing).wait(_INTERVAL)
            work.signal.clear()

    def _round(self) -> None:
        if _done(self.take_over):
            _done(self._tidy)

    def _empty(self, backlog: Backlog) -> None:
        with self._sending:
            left = backlog.unsent  # what is written meanwhile goes with the next batch
            while left > 0 and (piece := backlog.next()) is not None:
                self._send(piece.records)
                left -= backlog.sent(piece)


class _Work:
    """What a process that writes has."""

    def __init__(self, journal: Journal, run: Callable[[_Work], None]) -> None:
        self.journal = journal
        self.signal, self.closing = threading.Event(), threading.Event()
        self.thread = threading.Thread(
            target=run, args=(self,), name="lg-prod-nodes-ledger", daemon=True
        )
        self.thread.start()


def _done(step: Callable[[], None]) -> bool:
    """Whether a step of the thread was done. What fails is tried again: nothing is lost, `Ledger.unsent` grows."""
    try:
        step()
    except Exception:
        return False
    return True
