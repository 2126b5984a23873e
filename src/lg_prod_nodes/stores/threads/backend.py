"""What a store of threads needs of its backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from lg_prod_nodes.stores.store import Backend


class Row(NamedTuple):
    """A line as it is stored.

    Attributes:
        line: The line as a text, `None` if there is none.
        fence: The number of its latest holder.
        alive: The workers in it that are alive, with the seconds until they are taken for dead.
    """

    line: str | None
    fence: int
    alive: Mapping[str, float]


class ThreadBackend(Backend, Protocol):
    """Stores lines as short texts. Every operation is atomic, and may be repeated."""

    def read(self, name: str, worker: str) -> Row:
        """Read a line.

        Args:
            name: The thread.
            worker: The worker that reads.
        """
        ...

    def swap(
        self, name: str, old: str | None, new: str, *, passes: bool, watched: bool
    ) -> int | None:
        """Store another line if the stored one still is `old`.

        Args:
            name: The thread.
            old: The line as it was read, `None` if there was none.
            new: The new line, empty if nobody needs it any more.
            passes: Whether the thread gets another holder, or none, so that its fence grows.
            watched: Whether somebody has to hear of the change.

        Returns:
            The fence, `None` if somebody else was faster.
        """
        ...

    def beat(self, worker: str, seconds: float) -> Mapping[str, Row]:
        """Say that a worker lives for some seconds more; return the lines that it is in, by thread."""
        ...

    def find(self, run: str) -> list[str]:
        """Return the threads that may have a run."""
        ...

    def changes(self, seconds: float) -> Iterator[str]:
        """Wait for some seconds, or less; yield the threads whose line changed meanwhile."""
        ...

    def hang_up(self) -> None:
        """Wait for changes no longer; called by the thread that waited."""
        ...
