"""A run that goes on in this process, apart from the requests that read it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.core import log
from lg_prod_nodes.core.clock import Clock
from lg_prod_nodes.core.errors import AlreadyRun
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.service.web.event_log import EventLog, Reader
from lg_prod_nodes.service.web.events import END, Sent, event_of, failure_event, saved_event
from lg_prod_nodes.service.web.headers import rate_limit_headers


class Seen(NamedTuple):
    """A `Last-Event-ID`.

    Attributes:
        run: The id of the live run that sent it.
        number: The number of the event.
    """

    run: str
    number: int

    @classmethod
    def of(cls, text: str | None) -> Seen | None:
        """Parse the header; `None` if it is absent or not one of ours."""
        run, _, number = (text or "").rpartition("-")
        return cls(run, int(number)) if run and number.isascii() and number.isdigit() else None

    def __str__(self) -> str:
        return f"{self.run}-{self.number}"


class LiveRun:
    """A run in a task of its own, which is stopped some time after its last reader left.

    Args:
        size: The number of events kept.
        linger: Seconds that the run goes on without a reader.
        clock: The source of time.

    Attributes:
        id: An id that nobody can guess; the first part of the ids of its events.
        log: Its events.
        task: The task that runs it.
        is_stopping: Whether it is being stopped, or was, because nobody reads it.
    """

    task: asyncio.Task[None]

    def __init__(self, size: int, linger: float, clock: Clock) -> None:
        self.id, self.log = uuid.uuid4().hex, EventLog[Sent](size)
        self.is_stopping = self._has_failed = False
        self._linger, self._clock, self._run = linger, clock, Run()
        self._error: Exception | None = None
        self._lingering: asyncio.Task[None] | None = None

    def start(
        self, graph: Any, input: Any, config: RunnableConfig | None, options: dict[str, Any]
    ) -> None:
        """Start the run."""
        self._run = options.setdefault("control", self._run)
        self.task = asyncio.create_task(self._go(graph, input, config, options))

    @property
    def can_be_joined(self) -> bool:
        """Whether a repeated request gets the events of this run, and not those of a new one that continues it."""
        return not self._has_failed and self.log.has_all

    def enter(self, after: int) -> Reader:
        """Count a reader in, who has the events up to a number.

        Raises:
            EventsExpired: Some that it lacks are no longer kept.
        """
        reader = self.log.enter(after)
        if self._lingering is not None:
            self._lingering.cancel()
        return reader

    def leave(self, reader: Reader) -> None:
        """Count a reader out; the last one stops the run, unless one comes soon."""
        self.log.leave(reader)
        if self.log.has_readers or self.task.done():
            return
        if self._linger:
            self._lingering = asyncio.create_task(self._stop_later())
        else:
            self._stop()

    def check(self) -> None:
        """Raise the error of a run that failed before its first event."""
        if self._error is not None:
            raise self._error

    def headers(self) -> dict[str, str]:
        """Return the rate limit headers, as far as they are known."""
        return rate_limit_headers(self._run.report) if isinstance(self._run, Run) else {}

    async def sent(self, reader: Reader) -> AsyncGenerator[tuple[str, Sent], None]:
        """Yield the events that a reader lacks, with their ids."""
        async with aclosing(self.log.read(reader)) as events:
            async for number, event in events:
                yield str(Seen(self.id, number)), event

    async def _stop_later(self) -> None:
        await self._clock.asleep(self._linger)
        self._stop()

    def _stop(self) -> None:
        if not self.task.done():
            self.is_stopping = True
            self.task.cancel()

    async def _go(
        self, graph: Any, input: Any, config: RunnableConfig | None, options: dict[str, Any]
    ) -> None:
        try:
            chunks = graph.astream(input, config, version="v2", **options)
            async with aclosing(chunks) as parts:
                async for part in parts:
                    await self.log.append(event_of(part))
            await self.log.append(END)
        except AlreadyRun as error:
            await self._send_saved(graph, config, error.checkpoint_id)
        except Exception as error:
            self._has_failed = True
            if self.log.last:
                log.warning("stream ended early", error=type(error).__name__)
                await self.log.append(failure_event(error))
            else:
                self._error = error
        finally:
            self.log.close()

    async def _send_saved(self, graph: Any, config: Any, checkpoint_id: str) -> None:
        place = {"thread_id": config["configurable"]["thread_id"], "checkpoint_id": checkpoint_id}
        state = await graph.aget_state({"configurable": place})
        await self.log.append(saved_event(state))
        await self.log.append(END)
