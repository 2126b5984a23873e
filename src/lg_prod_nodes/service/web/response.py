"""The response that streams a run, by `sse-starlette`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from lg_prod_nodes.service.web.event_log import Reader
from lg_prod_nodes.service.web.live_run import LiveRun

_RETRY = 1000


class RunResponse(EventSourceResponse):
    """Streams a live run to one of its readers, and counts it out at the end.

    Args:
        live: The run.
        reader: The reader, who was counted in.
        grace: Seconds that the stream goes on once the server shuts down.
    """

    def __init__(self, live: LiveRun, reader: Reader, *, grace: float) -> None:
        super().__init__(
            _encoded(live, reader), headers=live.headers(), shutdown_grace_period=grace
        )
        self._live, self._reader = live, reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.leave(self._reader)


async def _encoded(live: LiveRun, reader: Reader) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(live.sent(reader)) as events:
        async for id, event in events:
            retry = _RETRY if event.name == "drained" else None
            yield ServerSentEvent(event.data, event=event.name, id=id, retry=retry)


async def is_gone(request: Request, started: Awaitable[None]) -> bool:
    """Wait for a run to start; return whether the client left before."""
    first, left = asyncio.ensure_future(started), asyncio.create_task(_has_left(request))
    try:
        await asyncio.wait({first, left}, return_when=asyncio.FIRST_COMPLETED)
        return not first.done()
    finally:
        first.cancel()
        left.cancel()


async def _has_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
