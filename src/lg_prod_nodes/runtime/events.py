"""Filters for callback events, `astream_events` and `astream_log`, which expose a node's work before its result."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.log_stream import RunLog, RunLogPatch

from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.run import Run

_LISTENING: ContextVar[list[Run] | None] = ContextVar("listening", default=None)
"""The list in which a run registers so that its events can be filtered."""

_END = object()


def tell_of(run: Run) -> None:
    """Register a run with the reader of its events."""
    if (runs := _LISTENING.get()) is not None:
        runs.append(run)


async def filtered_events(
    events: Any, graph: Any, input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """The events of a run, filtered by its policies."""
    runs: list[Run] = []
    filtered: _Events | _Log | None = None
    async with aclosing(events(graph, input, config, **kwargs)) as emitted:
        token = _LISTENING.set(runs)  # for the task that the first step starts
        try:
            event: Any = await anext(emitted, _END)
        finally:
            _LISTENING.reset(token)
        while event is not _END:
            if filtered is None and runs:
                filtered = (_Log if isinstance(event, RunLogPatch) else _Events)(runs[0])
            for passed in [event] if filtered is None else filtered.feed(event):
                yield passed
            event = await anext(emitted, _END)
    for passed in filtered.flush() if filtered else ():
        yield passed


class _Events:
    """Filters events. What models say was filtered when they said it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pieces = _Pieces(run)

    def feed(self, event: Any) -> list[Any]:
        """The events ready to leave after this one."""
        if _is_piece(event):
            key = (event["run_id"], event["event"], event["name"])
            return self._pieces.feed(key, event, "data")
        ended = event["event"].endswith(("_end", "_error"))
        before = self._pieces.end(event["run_id"]) if ended else []
        return [*before, rewrite(event, self._run.filtered)]

    def flush(self) -> list[Any]:
        """The events still held back, at the end."""
        return self._pieces.flush()


class _Log:
    """Filters the patches of a log, or the growing log itself."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pieces = _Pieces(run)
        self._whole: RunLog | None = None
        self._taken = 0

    def feed(self, event: RunLogPatch) -> list[RunLogPatch]:
        """The patches ready to leave after this one."""
        if not isinstance(event, RunLog):
            return list(self._as_patches(self._patches(event.ops)))
        new, self._taken = event.ops[self._taken :], len(event.ops)
        self._whole = self._whole or RunLog(state=cast("Any", None))
        return list(self._as_patches(self._patches(new)))

    def flush(self) -> list[RunLogPatch]:
        """The patches still held back, at the end."""
        return list(self._as_patches([op] for op in self._pieces.flush()))

    def _patches(self, ops: list[Any]) -> list[list[Any]]:
        if len(ops) == 1 and ops[0]["path"].endswith(_OUTPUT) and isinstance(ops[0]["value"], str):
            source = ops[0]["path"].removesuffix(_OUTPUT)
            return [[op] for op in self._pieces.feed((source,), ops[0], "value")]
        ended = (op["path"].removesuffix(_FINAL) for op in ops if op["path"].endswith(_FINAL))
        before = [[op] for source in ended for op in self._pieces.end(source)]
        return [*before, rewrite(ops, self._run.filtered)]

    def _as_patches(self, patches: Iterable[list[Any]]) -> Iterator[RunLogPatch]:
        for ops in patches:
            patch = RunLogPatch(*ops)
            if self._whole is not None:
                patch = self._whole = self._whole + patch
            yield patch


_OUTPUT, _FINAL = "/streamed_output/-", "/final_output"


def _is_piece(event: Any) -> bool:
    name, data = event["event"], event["data"]
    return name == "on_custom_event" or (
        name.endswith("_stream") and isinstance(data, dict) and isinstance(data.get("chunk"), str)
    )


class _Pieces:
    """Filters items that carry a text piece by piece. They are held back like payloads of the custom stream."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: dict[tuple[Any, ...], tuple[PayloadStream, deque[Any]]] = {}
        self._left: list[Any] = []

    def feed(self, key: tuple[Any, ...], item: Any, field: str) -> list[Any]:
        """The items ready to leave after this one; the key starts with the item's source."""
        if key not in self._open:
            self._open[key] = self._opened(field)
        stream, waiting = self._open[key]
        waiting.append(item)
        stream(item[field])
        return self._taken()

    def end(self, source: Any) -> list[Any]:
        """The items ready to leave once a source has ended."""
        for key in [key for key in self._open if key[0] == source]:
            self._open.pop(key)[0].flush()
        return self._taken()

    def flush(self) -> list[Any]:
        """The items still held back, at the end."""
        return [left for source, *_ in list(self._open) for left in self.end(source)]

    def _opened(self, field: str) -> tuple[PayloadStream, deque[Any]]:
        waiting: deque[Any] = deque()

        def write(value: Any) -> None:
            cleaned = rewrite({**waiting.popleft(), field: None}, self._run.filtered)
            self._left.append({**cleaned, field: value})

        return PayloadStream(write, self._run.content.filters), waiting

    def _taken(self) -> list[Any]:
        left, self._left = self._left, []
        return left
