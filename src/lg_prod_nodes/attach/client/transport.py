"""Transports of httpx that send each request through policies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import httpx
from langgraph.types import RetryPolicy

from lg_prod_nodes.attach.client.cursor import CURSOR
from lg_prod_nodes.attach.client.exchange import Exchange
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.clock import TimeLimit, nearest
from lg_prod_nodes.core.engine import drive_astream, drive_stream
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.runtime.placement import Stack

_LAST = "last-event-id"
DEADLINE: ContextVar[TimeLimit | None] = ContextVar("lg_prod_requests_end", default=None)
"""When the requests of a conversation have to end."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The policies of a client.

    Attributes:
        stack: The policies.
        retry: Which errors to retry.
    """

    stack: Stack
    retry: RetryPolicy | None

    def exchange(
        self, request: httpx.Request, send: Callable[[httpx.Request], Any], *, blocking: bool
    ) -> Exchange:
        """Return the exchange of a request."""
        cursor = CURSOR.get()
        if cursor is not None and _LAST in request.headers:
            request.headers[_LAST] = cursor.rejoin()
        server = request.url.netloc.decode("ascii")
        run = Run.of_request(server, self.stack.clock)
        run.deadline = nearest(run.deadline, DEADLINE.get())
        call = Call.made(
            kind="request",
            name=server,
            input=request.method,
            run=run,
            config={},
            blocking=blocking,
            observers=self.stack.observers,
        )
        return Exchange(call, request, send, self.stack.wraps("request"), self.retry)


class GuardedTransport(httpx.BaseTransport):
    """Sends requests through policies, for a synchronous client."""

    def __init__(self, guard: Guard, inner: httpx.BaseTransport) -> None:
        self._guard, self._inner = guard, inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        exchange = self._guard.exchange(request, self._inner.handle_request, blocking=True)
        items = drive_stream(exchange.run)
        return _answer(next(items), _Body(items))

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class AsyncGuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests through policies, for an asynchronous client."""

    def __init__(self, guard: Guard, inner: httpx.AsyncBaseTransport) -> None:
        self._guard, self._inner = guard, inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        exchange = self._guard.exchange(request, self._inner.handle_async_request, blocking=False)
        items = drive_astream(exchange.run)
        return _answer(await anext(items), _AsyncBody(items))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _answer(head: httpx.Response, body: Any) -> httpx.Response:
    headers = head.headers
    if head.is_stream_consumed:  # an error's, read and decoded
        names = ("content-encoding", "content-length", "transfer-encoding")
        headers = httpx.Headers([(k, v) for k, v in headers.multi_items() if k not in names])
    return httpx.Response(
        head.status_code, headers=headers, stream=body, extensions=head.extensions
    )


class _Body(httpx.SyncByteStream):
    def __init__(self, items: Iterator[bytes]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[bytes]:
        yield from self._items

    def close(self) -> None:
        cast("Generator[bytes]", self._items).close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, items: AsyncGenerator[bytes, None]) -> None:
        self._items = items

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for item in self._items:
            yield item

    async def aclose(self) -> None:
        await self._items.aclose()
