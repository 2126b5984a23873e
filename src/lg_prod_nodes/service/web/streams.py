"""Runs as streams of server-sent events, which clients may leave, repeat and resume."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.core.caller import text_or_none
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.runtime.boundary import hardening_of
from lg_prod_nodes.service.web.event_log import expired
from lg_prod_nodes.service.web.live_run import LiveRun, Seen

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_CLIENT_CLOSED = 499


class _Place(NamedTuple):
    thread: str | None
    key: str | None


class RunStreams:
    """Serves runs of a graph as server-sent events; one for the whole application.

    A request with the header `Idempotency-Key` is the same run however often it is sent. While the run goes on, the
    request joins it. After a drain, a crash or a departed client, it continues the run from its checkpoint, in any
    process. At the end, it gets the result. This needs a checkpointer and a thread; requests that several processes
    get at once also need `DoubleTexting`.

    Args:
        linger: Seconds that a run goes on after its last client left, for one that lost its connection and comes back
            with `Last-Event-ID`. The run then stops. 0 stops it at once.
        buffer: The number of latest events kept of each run. A run waits for a client that reads more slowly.
        keep: Seconds that the events of an ended run are kept.
        grace: Seconds that clients stay connected during a shutdown, for their runs to reach a checkpoint.
        clock: The source of time.

    Raises:
        ConfigurationError: A setting is out of range.

    Example:
        ```python
        streams = RunStreams()

        @api.post("/threads/{thread}/stream")
        async def stream(thread: str, message: Message, request: Request):
            config = {"configurable": {"thread_id": thread}}
            question = {"messages": [("user", message.text)]}
            return await streams.respond(request, request.state.graph, question, config)
        ```
    """

    def __init__(
        self,
        *,
        linger: float = 5.0,
        buffer: int = 1000,
        keep: float = 60.0,
        grace: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        for name, seconds in {"linger": linger, "keep": keep, "grace": grace}.items():
            if not seconds >= 0:
                raise ConfigurationError(f"{name} is {seconds}; give seconds, 0 or more")
        if not buffer >= 1:
            raise ConfigurationError(f"buffer is {buffer}; give a number of events, 1 or more")
        self._linger, self._buffer, self._grace, self._clock = linger, buffer, grace, clock
        self._runs = _LiveRuns(keep, clock)

    async def respond(
        self,
        request: Request,
        graph: Any,
        input: Any,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> Response:
        """Run a graph and stream it to the client.

        Waits for the first chunk, so that a refused run is an ordinary error with a status of its own. The events are
        named as on LangGraph Server: the stream mode, with the namespace of a subgraph (`messages|research:1`), then
        `end`. A run that fails later ends with `error`, and one that was drained with `drained`: the client repeats its
        request, with the same key, to continue it. Their data is a problem details object.

        Args:
            request: The request; its headers `Idempotency-Key` and `Last-Event-ID` are read.
            graph: The compiled graph.
            input: The input.
            config: The config. With an idempotency key it needs a `thread_id`, to which the key belongs: name threads
                after their users, so that nobody can join another's run.
            **options: Other arguments of `graph.astream`, such as `stream_mode`, by default `values` and `messages`.

        Returns:
            The response.

        Raises:
            EventsExpired: The events after `Last-Event-ID` are no longer kept.
            ConfigurationError: The extra `web` is missing, or there is a key and no thread.
            Exception: What the run raised before its first chunk.
        """
        try:
            from starlette.responses import Response

            from lg_prod_nodes.service.web.response import RunResponse, is_gone
        except (
            ImportError
        ) as error:  # pragma: no cover - the extra is installed where this is tested
            raise ConfigurationError(
                "RunStreams needs an extra: pip install 'lg-prod-nodes[web]'"
            ) from error
        options = {"stream_mode": ["values", "messages"], **options}
        key, seen = (request.headers.get(name) for name in ("idempotency-key", "last-event-id"))
        live, after = await self._live(graph, input, config, options, key, Seen.of(seen))
        reader = live.enter(after)
        try:
            if not await is_gone(request, live.log.started()):
                live.check()
                return RunResponse(live, reader, grace=self._grace)
        except BaseException:
            live.leave(reader)
            raise
        live.leave(reader)
        return Response(status_code=_CLIENT_CLOSED)

    async def _live(
        self, graph: Any, input: Any, config: Any, options: Any, key: str | None, seen: Seen | None
    ) -> tuple[LiveRun, int]:
        """Return the run that a request belongs to, or start one; and the number of the last event that it has."""
        self._runs.forget()
        place = _place(graph, config, key)
        while (found := self._runs.find(place, seen)) is not None:
            live, after = found
            if not live.is_stopping:
                return live, after
            await asyncio.wait([live.task])
            self._runs.remove(live)
        if seen is not None and not key:
            raise expired(seen.number)  # never a second run
        live = LiveRun(self._buffer, self._linger, self._clock)
        live.start(graph, input, _keyed(config, key), options)
        self._runs.add(place, live)
        return live, 0


class _LiveRuns:
    """The live runs of this process, and those that ended a short time ago."""

    def __init__(self, keep: float, clock: Clock) -> None:
        self._keep, self._clock = keep, clock
        self._by_id: dict[str, tuple[_Place, LiveRun]] = {}
        self._by_place: dict[_Place, LiveRun] = {}
        self._ended: deque[tuple[float, LiveRun]] = deque()

    def add(self, place: _Place, live: LiveRun) -> None:
        self._by_id[live.id] = place, live
        if place.key:
            self._by_place[place] = live
        live.task.add_done_callback(
            lambda _: self._ended.append((self._clock.now() + self._keep, live))
        )

    def remove(self, live: LiveRun) -> None:
        place, _ = self._by_id.pop(live.id, (None, None))
        if place is not None and self._by_place.get(place) is live:
            del self._by_place[place]

    def forget(self) -> None:
        """Remove the runs that ended long ago."""
        while self._ended and self._ended[0][0] <= self._clock.now():
            self.remove(self._ended.popleft()[1])

    def find(self, place: _Place, seen: Seen | None) -> tuple[LiveRun, int] | None:
        """Return the run that sent an event, or else that of an idempotency key, and the event's number, or else 0."""
        owner, live = self._by_id.get(seen.run, (None, None)) if seen else (None, None)
        if seen and owner and live and owner.thread == place.thread:
            return live, seen.number
        live = self._by_place.get(place)
        return (live, 0) if live is not None and live.can_be_joined else None


def _place(graph: Any, config: RunnableConfig | None, key: str | None) -> _Place:
    thread = (config or {}).get("configurable", {}).get("thread_id")
    if key and (thread is None or not graph.checkpointer):
        lacks = "no thread_id" if thread is None else "no checkpointer"
        raise ConfigurationError(
            f"a request has an Idempotency-Key but its run has {lacks}; give it one, or remove the header"
        )
    if key and hardening_of(graph) is None:
        raise ConfigurationError(
            "a request has an Idempotency-Key but its graph is not hardened; give harden(graph, [...])"
        )
    return _Place(text_or_none(thread), key)


def _keyed(config: RunnableConfig | None, key: str | None) -> RunnableConfig | None:
    if not key:
        return config
    config = config or RunnableConfig()
    return {**config, "configurable": {**config.get("configurable", {}), "idempotency_key": key}}
