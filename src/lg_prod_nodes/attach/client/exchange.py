"""One HTTP request on its way through the policies, with the retries that are safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, cast

import httpx
from langgraph.types import RetryPolicy

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import Chunk, Flow, Wrap, act
from lg_prod_nodes.core.error_class import is_transient, retry_after_of
from lg_prod_nodes.core.errors import DeadlineExceeded

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_KEY = "idempotency-key"
_STREAM = "text/event-stream"
_REJOINED = ("/join", "/stream", "/wait")
"""The ends of paths whose requests the SDK repeats by itself."""


class Exchange:
    """A request and its response; awaits the response's head as the first chunk and then its body.

    Args:
        call: The call of the first attempt.
        request: The request.
        send: Sends a request through the inner transport.
        wraps: The policies.
        retry: Which errors to retry, and how; `None` for none.
    """

    def __init__(
        self,
        call: Call,
        request: httpx.Request,
        send: Callable[[httpx.Request], Any],
        wraps: tuple[Wrap, ...],
        retry: RetryPolicy | None,
    ) -> None:
        self._call, self._request, self._send, self._wraps = call, request, send, wraps
        self._retry = retry if retry is not None and _is_repeatable(request) else None
        self._timeouts = dict(request.extensions.get("timeout", {}))
        self._has_left = False

    async def run(self) -> None:
        """Make attempts until one gets an answer that is final."""
        call = self._call
        try:
            while (pause := await self._try(call)) is not None:
                call.emit("request_retried", attempt=call.attempt, seconds=pause)
                await call.sleep(pause)
                call = call.replace(attempt=call.attempt + 1)
        except httpx.HTTPStatusError as error:
            answer = error.response
        else:
            return
        await Chunk(answer)
        await Chunk(answer.content)

    async def _try(self, call: Call) -> float | None:
        """Make an attempt; return the seconds until the next one, `None` after the last."""
        try:
            await act(self._wraps, call, self._attempt)
        except (httpx.HTTPStatusError, httpx.TransportError) as error:
            if (pause := self._pause(error, call.attempt)) is None:
                raise
            return pause
        return None

    def _pause(self, error: httpx.HTTPError, attempt: int) -> float | None:
        """Return the seconds until the next attempt, `None` if there is none."""
        retry = self._retry
        if retry is None or self._has_left or attempt >= retry.max_attempts:
            return None
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return None  # the inner transport has repeated it
        if not _covers(retry, error):
            return None
        backoff = retry.initial_interval * retry.backoff_factor ** (attempt - 1)
        backoff = min(backoff, retry.max_interval)
        pause = backoff * random.uniform(0.5, 1.0) if retry.jitter else backoff
        asked = retry_after_of(error, time=self._call.clock.time()) or 0.0
        left = self._call.remaining()
        if asked > retry.max_interval or (left is not None and max(pause, asked) >= left):
            return None
        return max(pause, asked)

    async def _attempt(self, call: Call) -> None:
        """Send the request; an error status is an exception to the policies."""
        self._request.headers.update(call.run.headers)
        self._bound(call)
        try:
            response = self._send(self._request)
            if not call.blocking:
                response = await _within(call, response)
            response.request = self._request
            await self._receive(call, response)
        except httpx.TimeoutException as error:
            if (left := call.remaining()) is not None and left <= 0:
                raise _exceeded(call) from error
            raise

    async def _receive(self, call: Call, response: httpx.Response) -> None:
        try:
            is_error = response.status_code >= 400
            is_stream = _STREAM in response.headers.get("content-type", "")
            if is_error or (
                self._retry is not None and not is_stream
            ):  # a body that is cut is repeated, too
                _ = response.read() if call.blocking else await _within(call, response.aread())
            if is_error:
                text = f"the server answered {response.status_code}"
                raise httpx.HTTPStatusError(text, request=self._request, response=response)
            self._has_left = True
            await Chunk(response)
            if response.is_stream_consumed:
                await Chunk(response.content)
                return
            body = response.stream
            await Flow(_pieces(call, body) if call.blocking else _apieces(call, body))
        finally:
            if call.blocking:
                response.close()
            else:
                await response.aclose()

    def _bound(self, call: Call) -> None:
        """Let no operation wait past the deadline."""
        if (left := call.remaining()) is not None:
            bounded = {
                name: min(self._timeouts.get(name) or left, max(left, 0.001))
                for name in ("connect", "read", "write", "pool")
            }
            self._request.extensions = {**self._request.extensions, "timeout": bounded}


def _is_repeatable(request: httpx.Request) -> bool:
    is_stream = _STREAM in request.headers.get("accept", "")
    if is_stream or request.url.path.endswith(_REJOINED):
        return False
    return request.method in _REPEATABLE or _KEY in request.headers


def _covers(retry: RetryPolicy, error: Exception) -> bool:
    on = retry.retry_on
    if isinstance(on, type) or not callable(on):
        return isinstance(error, cast(Any, on if isinstance(on, type) else tuple(on)))
    return bool(on(error))


def _exceeded(call: Call) -> DeadlineExceeded:
    deadline = call.run.deadline
    return DeadlineExceeded(deadline.seconds if deadline is not None else 0.0)


async def _within(call: Call, awaitable: Any) -> Any:
    """Await something until the deadline."""
    left = call.remaining()
    if left is None:
        return await awaitable
    limit = asyncio.timeout(max(left, 0.0))
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            raise _exceeded(call) from None
        raise


def _pieces(call: Call, body: Any) -> Iterator[bytes]:
    for piece in cast("Iterable[bytes]", body):
        if (left := call.remaining()) is not None and left <= 0:
            raise _exceeded(call)
        yield piece


async def _apieces(call: Call, body: Any) -> AsyncIterator[bytes]:
    pieces = aiter(cast("AsyncIterable[bytes]", body))
    while (piece := await _within(call, anext(pieces, None))) is not None:
        yield piece


DEFAULT_RETRY = RetryPolicy(retry_on=is_transient)
