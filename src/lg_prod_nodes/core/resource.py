"""Resources of policies: stores, detectors and clients with a life cycle."""

from __future__ import annotations

import asyncio
from typing import ClassVar, NamedTuple, Self

from lg_prod_nodes.core.secret import Secret


class Ping(NamedTuple):
    """The answer to a ping.

    Attributes:
        detail: A few words for a health report; names and numbers only.
        is_degraded: Whether the resource works, but only partly.
    """

    detail: str = ""
    is_degraded: bool = False


NOBODY = "lg_prod_nodes.ping"
"""A key for pings, which no caller has."""


class Resource:
    """Something that is opened before its first use, answers pings, and is closed at the end.

    The methods block; `aping` and `aclose` run them off the event loop.

    Attributes:
        label: The name in health checks.
        critical: Whether calls fail while it is down.
    """

    label: ClassVar[str] = "resource"
    critical: ClassVar[bool] = True

    def open(self, database: Secret | None = None) -> None:
        """Load what takes time. Called while building, and by `Production` with its database.

        Args:
            database: A Postgres database to use until the resource is closed, unless it has a backend of its own.
        """

    def ping(self) -> Ping:
        """Check that the resource's backend answers.

        Raises:
            StoreUnavailable: It does not answer.
        """
        return Ping()

    def close(self) -> None:
        """Flush buffers and release connections. The next use reopens them."""

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
