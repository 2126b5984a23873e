"""What policies use and has a life cycle: stores, detectors, clients."""

from __future__ import annotations

import asyncio
from typing import ClassVar, NamedTuple, Self

from lg_prod_nodes.core.secret import Secret


class Ping(NamedTuple):
    """What a resource answers to a ping.

    Attributes:
        detail: A few words for a report, by names and numbers.
        is_degraded: Whether it works with less than it should.
    """

    detail: str = ""
    is_degraded: bool = False


NOBODY = "lg_prod_nodes.ping"
"""The key that pings ask about: nobody has it."""


class Resource:
    """Something that is opened before its first use, answers a ping, and is closed at the end.

    The methods block; `aping` and `aclose` do the same off the event loop.

    Attributes:
        label: What checks call it.
        critical: Whether calls fail while it is down.
    """

    label: ClassVar[str] = "resource"
    critical: ClassVar[bool] = True

    def open(self, database: Secret | None = None) -> None:
        """Get ready: load what takes time. Called while building, and by `Production` with its database.

        Args:
            database: A Postgres to store in until the resource is closed, unless it was given another backend.
        """

    def ping(self) -> Ping:
        """Ask what the resource depends on whether it answers.

        Raises:
            StoreUnavailable: It does not.
        """
        return Ping()

    def close(self) -> None:
        """Release connections and send what is buffered. The next use opens everything again."""

    async def aping(self) -> Ping:
        """Like `ping`, off the event loop."""
        return await asyncio.to_thread(self.ping)

    async def aclose(self) -> None:
        """Like `close`, off the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
