"""A run's lease of its thread, from when it asks until it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from pydantic import SecretStr

from lg_prod_nodes.core.clock import Bell
from lg_prod_nodes.core.stop import Stop
from lg_prod_nodes.stores.threads.backend import Row
from lg_prod_nodes.stores.threads.line import Claim, End


class Lease:
    """A run's place at its thread: it waits for the thread, holds it, or has lost it.

    Attributes:
        name: The thread's name in the store.
        claim: The claim in the thread's line.
        thread_id: The thread whose checkpoints the run writes.
        fence: A number that grows whenever the thread passes on; 0 while the run waits.
        since: When the run got the thread, on the monotonic clock.
        database: The database of the lease, `None` unless it is in Postgres.
        alive_until: When the worker is taken for dead, as far as it knows, on the monotonic clock.
        seen: The thread's line as it was last seen.
        ended: The runs before it that did not reach their end. The holder cleans up after them.
        cleaned: Whether it has.
        bell: Rings when the line has changed. Take a new one before asking.
        stop: Ends the run.
    """

    def __init__(self, name: str, claim: Claim, thread_id: str | None) -> None:
        self.name, self.claim, self.thread_id = name, claim, thread_id
        self.fence, self.since = 0, 0.0
        self.database: SecretStr | None = None
        self.alive_until = float("inf")
        self.seen: Row | None = None
        self.ended: tuple[tuple[str, End], ...] = ()
        self.cleaned = False
        self.bell = Bell()
        self.stop = Stop()

    def __repr__(self) -> str:
        return f"Lease(fence={self.fence})"


HELD: ContextVar[Mapping[str, Lease]] = ContextVar("held", default=MappingProxyType({}))
"""The leases of the runs around the calling code, by the name of the thread."""
