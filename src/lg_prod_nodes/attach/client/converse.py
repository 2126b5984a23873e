"""One message to a LangGraph Server and its answer, over dropped connections."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from inspect import isawaitable
from typing import Any, Literal, NoReturn, overload

import httpx
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from langgraph_sdk.errors import APIStatusError, InternalServerError, RateLimitError
from langgraph_sdk.schema import Run, StreamMode, StreamPart

from lg_prod_nodes.attach.client.cursor import CURSOR, START, Cursor
from lg_prod_nodes.attach.client.transport import DEADLINE
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock, TimeLimit, check_seconds
from lg_prod_nodes.core.engine import Flow, drive_astream, drive_stream
from lg_prod_nodes.core.error_class import retry_after_of
from lg_prod_nodes.core.errors import (
    CallRejected,
    DeadlineExceeded,
    RateLimitExceeded,
    ServerUnavailable,
    ThreadBusy,
)

Multitask = Literal["reject", "enqueue", "interrupt", "rollback"]

_MARK = "lg_prod_nodes_message"
_LOOKS = 6
_SOON = 0.1
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@overload
def converse(
    client: LangGraphClient,
    thread_id: str,
    message: str | Mapping[str, Any] | None,
    *,
    assistant: str = ...,
    strategy: Multitask = ...,
    timeout: float | None = ...,
    stream_mode: StreamMode | Sequence[StreamMode] = ...,
    clock: Clock = ...,
    **options: Any,
) -> AsyncIterator[StreamPart]: ...
@overload
def converse(
    client: SyncLangGraphClient,
    thread_id: str,
    message: str | Mapping[str, Any] | None,
    *,
    assistant: str = ...,
    strategy: Multitask = ...,
    timeout: float | None = ...,
    stream_mode: StreamMode | Sequence[StreamMode] = ...,
    clock: Clock = ...,
    **options: Any,
) -> Iterator[StreamPart]: ...
def converse(
    client: LangGraphClient | SyncLangGraphClient,
    thread_id: str,
    message: str | Mapping[str, Any] | None,
    *,
    assistant: str = "agent",
    strategy: Multitask = "enqueue",
    timeout: float | None = None,
    stream_mode: StreamMode | Sequence[StreamMode] = ("values", "messages-tuple"),
    clock: Clock = SYSTEM_CLOCK,
    **options: Any,
) -> AsyncIterator[StreamPart] | Iterator[StreamPart]:
    """Send a message and stream its answer: every event once and in order, from one run.

    A dropped connection is made again by the SDK, which rejoins the same run after the last event. If the answer to the
    request that starts the run is lost, the run is looked up and joined, never started a second time.

    Args:
        client: A client from `connect` or `connect_sync`.
        thread_id: The thread, which is created if there is none.
        message: What the user says, or the input of the graph.
        assistant: The assistant or graph.
        strategy: What to do if the thread is busy, see `DoubleTexting`.
        timeout: Seconds until the run is cancelled, `None` for no limit.
        stream_mode: What to stream.
        clock: The source of time.
        **options: Other arguments of the SDK's `runs.create`, such as `config`.

    Yields:
        The parts of the stream. A run that fails yields the event `error`. A reader that stops early leaves the run
        alone.

    Raises:
        ThreadBusy: The thread is busy and the strategy is `"reject"` (409).
        RateLimitExceeded: The server asks to slow down (429).
        CallRejected: The server does not accept the request (422).
        ServerUnavailable: The server does not answer, or fails (5xx).
        DeadlineExceeded: The timeout has passed. The run was cancelled.

    Example:
        ```python
        async for part in converse(client, thread_id, "Where is my order?", timeout=60.0):
            print(part.event, part.data)
        ```
    """
    check_seconds(timeout=timeout)
    if isinstance(message, str):
        message = {"messages": [{"role": "user", "content": message}]}
    limit = None if timeout is None else TimeLimit(timeout, clock.now() + timeout, clock)
    options |= {"input": message, "multitask_strategy": strategy, "stream_mode": stream_mode}
    conversation = _Conversation(client, thread_id, assistant, options, limit, clock)
    if conversation.blocking:
        return drive_stream(conversation.run)
    return drive_astream(conversation.run)


class _Conversation:
    def __init__(
        self,
        client: Any,
        thread_id: str,
        assistant: str,
        options: dict[str, Any],
        limit: TimeLimit | None,
        clock: Clock,
    ) -> None:
        self.blocking = isinstance(client, SyncLangGraphClient)
        self._client, self._thread, self._assistant = client, str(thread_id), assistant
        self._options, self._limit, self._clock = options, limit, clock
        self._run_id: str | None = None
        self._cursor = Cursor(clock)

    async def run(self) -> None:
        """Start the run and hand on what it streams."""
        DEADLINE.set(self._limit)  # in a context of this conversation's own
        try:
            self._run_id = await self._start()
            await self._join(self._run_id)
        except DeadlineExceeded:
            DEADLINE.set(None)
            if self._run_id is not None:
                await _done(self._client.runs.cancel(self._thread, self._run_id))
            raise
        except APIStatusError as error:
            self._explain(error)
        except httpx.TransportError as error:
            raise ServerUnavailable(self._run_id) from error

    async def _start(self) -> str:
        mark = str(uuid.uuid4())
        options = {
            "if_not_exists": "create",
            "stream_resumable": True,
            **self._options,
            "metadata": {**(self._options.get("metadata") or {}), _MARK: mark},
        }
        create = self._client.runs.create
        try:
            run: Run = await _done(create(self._thread, self._assistant, **options))
        except _NEVER_SENT:
            raise
        except httpx.TransportError:  # the server may have started it
            return await self._started(mark)
        return run["run_id"]

    async def _started(self, mark: str) -> str:
        """Look for the run of a message whose answer was lost."""
        for look in range(_LOOKS):
            try:
                runs: list[Run] = await _done(self._client.runs.list(self._thread, limit=100))
            except APIStatusError as error:
                if error.status_code != 404:  # the thread may not be there yet
                    raise
                runs = []
            for run in runs:
                if (run.get("metadata") or {}).get(_MARK) == mark:
                    return run["run_id"]
            await self._sleep(_SOON * 2**look)
        raise ServerUnavailable(None)

    async def _join(self, run_id: str) -> None:
        """Hand on what the run streams. The SDK rejoins it, but not before it knows where."""
        CURSOR.set(self._cursor)
        for look in range(_LOOKS):
            parts = self._client.runs.join_stream(self._thread, run_id, last_event_id=START)
            try:
                await Flow(self._new(parts) if self.blocking else self._anew(parts))
                return
            except (httpx.TransportError, RateLimitError, InternalServerError) as error:
                if look == _LOOKS - 1 or isinstance(error, _NEVER_SENT) or _has_given_up(error):
                    raise
            await self._sleep(_SOON * 2**look)

    async def _sleep(self, seconds: float) -> None:
        if self._limit is not None and self._limit.remaining() <= seconds:
            raise DeadlineExceeded(self._limit.seconds)
        if self.blocking:
            self._clock.sleep(seconds)
        else:
            await self._clock.asleep(seconds)

    def _new(self, parts: Iterable[StreamPart]) -> Iterator[StreamPart]:
        return filter(self._cursor.is_new, parts)

    async def _anew(self, parts: AsyncIterable[StreamPart]) -> AsyncIterator[StreamPart]:
        async for part in parts:
            if self._cursor.is_new(part):
                yield part

    def _explain(self, error: APIStatusError) -> NoReturn:
        status, retry_after = error.status_code, retry_after_of(error, time=self._clock.time())
        if status == 409:
            raise ThreadBusy(1, policy="server", retry_after=retry_after) from error
        if status == 429:
            raise RateLimitExceeded(
                "of the server", retry_after=retry_after or 1.0, policy="server"
            ) from error
        if status == 422:
            raise CallRejected(
                "the server does not accept the request (422); check the assistant, the input and the options",
                policy="server",
            ) from error
        if status >= 500:
            raise ServerUnavailable(self._run_id) from error
        raise error


def _has_given_up(error: Exception) -> bool:
    """Whether the SDK knew where to rejoin a run, and could not."""
    return type(error) is httpx.TransportError


async def _done(result: Any) -> Any:
    return await result if isawaitable(result) else result
