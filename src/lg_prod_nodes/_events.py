"""Events of callbacks, `astream_events` and `astream_log`: they tell what nodes do, and not only what they return."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.content import rewrite
from lg_prod_nodes.payloads import PayloadStream
from lg_prod_nodes.run import Run

_TOLD: ContextVar[list[Run] | None] = ContextVar("told", default=None)
"""Where the run that events are told of makes itself known."""

_END = object()


def tell_of(run: Run) -> None:
    """Make a run known to whoever reads its events."""
    if (told := _TOLD.get()) is not None:
        told.append(run)


async def filtered_events(
    events: Any, graph: Any, input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """The events of a run, as its policies let them leave."""
    runs: list[Run] = []
    pieces: _Pieces | None = None
    async with aclosing(events(graph, input, config, **kwargs)) as told:
        token = _TOLD.set(runs)  # for the task that the first step starts
        try:
            event = await anext(told, _END)
        finally:
            _TOLD.reset(token)
        while event is not _END:
            pieces = pieces or (_Pieces(runs[0]) if runs else None)
            for passed in [event] if pieces is None else pieces.feed(event):
                yield passed
            event = await anext(told, _END)
    for passed in pieces.flush() if pieces else ():
        yield passed


class _Pieces:
    """Events, of which those that tell of a text piece by piece wait as payloads of the custom stream do.

    What models say is filtered where they say it.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: dict[tuple[Any, ...], tuple[PayloadStream, deque[Any]]] = {}
        self._left: list[Any] = []

    def feed(self, event: Any) -> list[Any]:
        """The events that may leave, given the next one."""
        if hasattr(event, "ops"):
            vars(event).update(rewrite(vars(event), self._run.filtered))
            return [event]
        if self._is_piece(event):
            key = (event["run_id"], event["event"], event["name"])
            stream, waiting = self._open.setdefault(key, self._opened())
            waiting.append(event)
            stream(event["data"])
            return self._taken()
        if event["event"].endswith(("_end", "_error")):
            self._end(event["run_id"])
        return [*self._taken(), rewrite(event, self._run.filtered)]

    def flush(self) -> list[Any]:
        """The events that wait: nothing follows."""
        for run_id, *_ in list(self._open):
            self._end(run_id)
        return self._taken()

    def _is_piece(self, event: Any) -> bool:
        name, data = event["event"], event["data"]
        return name == "on_custom_event" or (
            name.endswith("_stream")
            and isinstance(data, dict)
            and isinstance(data.get("chunk"), str)
        )

    def _opened(self) -> tuple[PayloadStream, deque[Any]]:
        waiting: deque[Any] = deque()

        def write(data: Any) -> None:
            event = waiting.popleft()
            self._left.append(
                {**rewrite({**event, "data": None}, self._run.filtered), "data": data}
            )

        return PayloadStream(write, self._run.filters), waiting

    def _end(self, run_id: Any) -> None:
        for key in [key for key in self._open if key[0] == run_id]:
            self._open.pop(key)[0].flush()

    def _taken(self) -> list[Any]:
        left, self._left = self._left, []
        return left
