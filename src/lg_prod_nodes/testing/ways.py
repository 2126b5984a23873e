"""The ways to run a graph, behind one interface."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any, Literal, get_args

from langgraph.types import Interrupt

Way = Literal["invoke", "ainvoke", "stream", "astream"]
WAYS: tuple[Way, ...] = get_args(Way)

_PATIENCE = 5.0  # seconds allowed for what should take none
_MODES = ["updates", "values", "custom"]


class Runner:
    """Runs graphs in one way, and returns what their caller sees."""

    def __init__(self, way: Way) -> None:
        self.way: Way = way
        self.is_async = way.startswith("a")

    def run(self, graph: Any, input: Any, config: Any = None, **options: Any) -> Any:
        """Return the result of a run or the items of its stream, or the error it raises."""
        try:
            return _plain(self._run(graph, input, config, options))
        except Exception as error:
            return _raised(error)

    def _run(self, graph: Any, input: Any, config: Any, options: dict[str, Any]) -> Any:
        match self.way:
            case "invoke":
                return graph.invoke(input, config, **options)
            case "ainvoke":
                return awaited(graph.ainvoke(input, config, **options))
            case "stream":
                with closing(graph.stream(input, config, stream_mode=_MODES, **options)) as items:
                    return list(items)
            case "astream":
                return awaited(_collected(graph, input, config, options))

    def first(self, graph: Any, input: Any) -> Any:
        """Return what a reader sees that stops after the first item of the custom stream."""
        try:
            if self.is_async:
                return awaited(_afirst(graph, input))
            with closing(graph.stream(input, stream_mode="custom")) as items:
                return next(items)
        except Exception as error:
            return _raised(error)


async def _collected(graph: Any, input: Any, config: Any, options: dict[str, Any]) -> list[Any]:
    async with aclosing(graph.astream(input, config, stream_mode=_MODES, **options)) as items:
        return [item async for item in items]


async def _afirst(graph: Any, input: Any) -> Any:
    async with aclosing(graph.astream(input, stream_mode="custom")) as items:
        return await anext(items)


def awaited(work: Awaitable[Any]) -> Any:
    """Await on a separate event loop, even if one is running."""

    async def main() -> Any:
        return await work

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(coroutine)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, main()).result()


def cancelled(begin: Callable[[asyncio.Event], Awaitable[Any]]) -> str:
    """Return how work ends that is cancelled as soon as it signals its start."""

    async def main() -> str:
        started = asyncio.Event()
        task = asyncio.ensure_future(begin(started))
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=_PATIENCE)
        waiting.cancel()
        task.cancel()
        await asyncio.wait({task}, timeout=_PATIENCE)
        if not task.done():
            return "goes on"
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return "ended" if error is None else f"raised {type(error).__name__}"

    return str(awaited(main()))


def _raised(error: BaseException) -> tuple[str, str, str]:
    return ("raised", type(error).__name__, str(error))


def _plain(value: Any) -> Any:
    """Return what a caller sees, without random ids."""
    match value:
        case Interrupt():
            return ("interrupt", value.value)
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
