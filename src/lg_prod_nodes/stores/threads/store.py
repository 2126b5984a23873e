"""Who may run on a thread: leases in memory, Postgres, Redis or Valkey."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import TypeVar
from uuid import uuid4

from pydantic import SecretStr

from lg_prod_nodes.core.clock import Bell
from lg_prod_nodes.core.errors import ConfigurationError, LeaseLost, StoreUnavailable
from lg_prod_nodes.core.resource import NOBODY, Ping
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.stores.store import Store
from lg_prod_nodes.stores.threads.backend import Row, ThreadBackend
from lg_prod_nodes.stores.threads.heartbeat import LEASE_SECONDS, Heartbeat
from lg_prod_nodes.stores.threads.lease import HELD, Lease
from lg_prod_nodes.stores.threads.line import (
    Claim,
    End,
    Line,
    Standing,
    Strategy,
    ask,
    end,
    release,
)
from lg_prod_nodes.stores.threads.memory import MemoryThreads

__all__ = ["HELD", "LEASE_SECONDS", "End", "Lease", "Standing", "Strategy", "ThreadStore"]

T = TypeVar("T")

_LONGEST_NAME = 300
_MOST_SWAPS = 1000
_NO_ROW = Row(None, 0, {})
_APART = 0.005  # seconds between two swaps of callers that change a line at once


class ThreadStore(Store[ThreadBackend]):
    """Stores which run has a thread, and which wait for it.

    A run *asks* for a lease of its thread, and *leaves* when it ends. A worker gives a sign of life each second, for
    all of its runs together; 4 seconds after the last one, its threads pass on. Whoever waits is notified: by
    `LISTEN`/`NOTIFY` in Postgres, by publish and subscribe in Redis. Behind a transaction pooler, which passes no
    notifications on, each worker looks four times a second.

    Args:
        url: `memory://` for this process alone; `postgresql://...`, `redis://...` or `valkey://...` for all workers.
            By default the database of the `Production` that uses it, else memory.
        timeout: Seconds to wait at most for a connection, and for an answer; twice as long for a silent server.

    Raises:
        ConfigurationError: The backend is unknown, its URL cannot be read, or its client library is missing.
        StoreUnavailable: From every operation, when the backend cannot be reached in time.

    Example:
        ```python
        store = ThreadStore()
        lease = store.lease("thread-1", run="run-1")
        assert (await store.ask(lease, "reject", blocking=False)).state == "held"
        await store.leave(lease, blocking=False)
        ```
    """

    label = "threads"

    def __init__(self, url: Secret | None = None, *, timeout: float = 5.0) -> None:
        self._running: Heartbeat | None = None
        super().__init__(url, timeout=timeout)

    def lease(self, name: str, *, run: str, thread_id: str | None = None) -> Lease:
        """Return a lease to ask for.

        Args:
            name: The name of the thread.
            run: The id of the run.
            thread_id: The thread whose checkpoints the run writes, by default that of the same name.
        """
        claim = Claim(str(uuid4()), run, self._heartbeat.worker)
        return Lease(_tidied(name), claim, thread_id or name)

    async def ask(
        self, lease: Lease, strategy: Strategy, *, blocking: bool, max_queue: int = 10
    ) -> Standing:
        """Take a thread, join its line, or be refused. A run that waits asks again when its bell rings.

        Args:
            lease: The lease.
            strategy: What the run does if the thread is busy.
            blocking: Whether the caller is synchronous.
            max_queue: How many runs may wait.
        """
        lease.bell = Bell()
        if blocking or self.is_in_memory:
            return self._ask(lease, strategy, max_queue)
        return await self._in_thread(
            lambda: self._ask(lease, strategy, max_queue), undo=lambda _: self._give_back(lease)
        )

    async def leave(self, lease: Lease, *, blocking: bool, finished: bool = True) -> End | None:
        """Let go of a thread, or leave its line.

        Args:
            lease: The lease.
            blocking: Whether the caller is synchronous.
            finished: Whether the run reached its end, an error or an interrupt.

        Returns:
            How the run was asked to end, `None` if it was not. If the thread has passed on, the lease's `stop`
            is pulled.
        """
        return await self._run(blocking, self._leave_line, lease, finished)

    async def end(
        self,
        how: End = "cancel",
        *,
        name: str | None = None,
        run: str | None = None,
        blocking: bool,
    ) -> int:
        """Ask runs to end, in whichever process they are.

        Args:
            how: How to end them.
            name: The thread whose runs shall end.
            run: The run that shall end.
            blocking: Whether the caller is synchronous.

        Returns:
            How many runs were asked.
        """
        return await self._run(blocking, self._end, how, name, run)

    def cancel(self, *, run_id: str | None = None, thread_id: str | None = None) -> int:
        """Cancel runs, in whichever process they are: their callers get `RunInterrupted`.

        Args:
            run_id: The run to cancel, running or waiting: `config["run_id"]`, or `Run.id`.
            thread_id: The thread whose runs to cancel, those that wait for it too.

        Returns:
            How many runs were found. Each stops within a moment, if it does not end before.

        Raises:
            ConfigurationError: Neither is given, or both are.
            StoreUnavailable: The store cannot be reached.
        """
        _check_one(run_id, thread_id)
        return self._end("cancel", thread_id, run_id)

    async def acancel(self, *, run_id: str | None = None, thread_id: str | None = None) -> int:
        """Like `cancel`, off the event loop."""
        _check_one(run_id, thread_id)
        return await self.end("cancel", name=thread_id, run=run_id, blocking=False)

    def ping(self) -> Ping:
        """Ask the backend for a line."""
        self._backend.read(NOBODY, "")
        return Ping()

    @property
    def _heartbeat(self) -> Heartbeat:
        heartbeat = self._running
        if heartbeat is None or heartbeat.backend is not self._backend:
            heartbeat = self._running = Heartbeat(self._backend, beats=not self.is_in_memory)
            if isinstance(self._backend, MemoryThreads):
                self._backend.on_change = heartbeat.changed
        return heartbeat

    def _ask(self, lease: Lease, strategy: Strategy, most: int) -> Standing:
        heartbeat = self._heartbeat
        heartbeat.add(lease)
        try:
            standing, row = self._change(
                lease.name,
                lambda line, row: ask(line, lease.claim, strategy, row.alive, most=most),
                seen=_NO_ROW if lease.seen is None else None,  # most threads are free
            )
        except BaseException:
            heartbeat.drop(lease)
            raise
        lease.seen = row
        if standing.state == "held":
            lease.ended, lease.database = Line.of(row.line).ended, self._database_url
            lease.since, lease.fence = monotonic(), row.fence
        elif standing.state != "waiting":
            heartbeat.drop(lease)
        return standing

    def _leave_line(self, lease: Lease, finished: bool) -> End | None:
        heartbeat = self._heartbeat
        heartbeat.drop(lease)
        found: list[End | None] = [None]

        def step(line: Line, row: Row) -> tuple[Line, None]:
            mine = line.find(lease.claim.id)
            found[0] = mine.end if mine else None
            if mine is None and lease.fence:  # what it wrote may be rolled back
                lease.stop.pull(LeaseLost())
            return release(line, lease.claim.id, cleaned=lease.cleaned, finished=finished), None

        try:
            self._change(lease.name, step, seen=lease.seen if lease.fence else None)
        except StoreUnavailable:
            heartbeat.owe(partial(self._leave_line, lease, finished))
            raise
        return found[0]

    def _give_back(self, lease: Lease) -> None:
        """Leave on behalf of a caller who was cancelled."""
        with suppress(StoreUnavailable):
            self._leave_line(lease, True)

    def _end(self, how: End, name: str | None, run: str | None) -> int:
        names = [_tidied(name)] if name is not None else self._backend.find(run or "")
        return sum(self._change(each, partial(_ended, how, run))[0] for each in names)

    def _change(
        self, name: str, step: Callable[[Line, Row], tuple[Line, T]], *, seen: Row | None = None
    ) -> tuple[T, Row]:
        """Change a line in one atomic step; give its outcome, and the line as it is then.

        Args:
            name: The thread.
            step: Gives the changed line and an outcome; called again if somebody else was faster.
            seen: The line as it probably is, which saves reading it.
        """
        for _ in range(_MOST_SWAPS):
            row = seen or self._backend.read(name, self._heartbeat.worker)
            before, seen = Line.of(row.line), None
            after, outcome = step(before, row)
            if after == before:
                return outcome, row
            fence = self._backend.swap(
                name,
                row.line,
                str(after),
                passes=_passes(before, after),
                watched=before.is_watched or after.is_watched,
            )
            if fence is not None:
                return outcome, Row(str(after) or None, fence, row.alive)
            if not self.is_in_memory:
                time.sleep(random.uniform(0, _APART))
        raise StoreUnavailable("too many callers change the line of this thread at once")

    @property
    def _database_url(self) -> SecretStr | None:
        return self._url if self._scheme == "postgresql" else None

    def _release(self) -> None:
        heartbeat, self._running = self._running, None
        if heartbeat is not None:
            heartbeat.close()
        super()._release()

    def _in_memory(self) -> ThreadBackend:
        return MemoryThreads()

    def _in_postgres(self, url: SecretStr) -> ThreadBackend:
        from lg_prod_nodes.stores.threads.postgres import PostgresThreads

        return PostgresThreads(url, self._timeout)

    def _in_redis(self, url: SecretStr) -> ThreadBackend:
        from lg_prod_nodes.stores.threads.redis import RedisThreads

        return RedisThreads(url, self._timeout)


def _check_one(run_id: str | None, thread_id: str | None) -> None:
    if (run_id is None) == (thread_id is None):
        given = "neither" if run_id is None else "both"
        raise ConfigurationError(f"cancel was given {given} of run_id and thread_id; give one")


def _passes(before: Line, after: Line) -> bool:
    """Whether the holder can write no longer: another run has the thread, or nobody."""
    return (before.holder and before.holder.id) != (after.holder and after.holder.id)


def _ended(how: End, run: str | None, line: Line, row: Row) -> tuple[Line, int]:
    asked = sum(run in (None, claim.run) for claim in line.claims)
    return end(line, how, run=run), asked


def _tidied(name: str) -> str:
    """The name in a form that every backend can store: users choose their own."""
    if name.isprintable() and len(name) <= _LONGEST_NAME:
        return name
    return blake2b(name.encode(errors="surrogatepass"), digest_size=16).hexdigest()
