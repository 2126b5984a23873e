"""Node functions that are written once, for synchronous and asynchronous graphs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langgraph.config import get_store
from langgraph.store.base import PutOp

Body = Callable[..., Awaitable[Any]]


def drive(coroutine: Any) -> Any:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits")


@dataclass(frozen=True)
class Face:
    """How a graph is called, and how its nodes call what they call."""

    is_async: bool

    @property
    def name(self) -> str:
        return "async" if self.is_async else "sync"

    def node(self, body: Body) -> Any:
        """A node function, synchronous or not, of a body that is written as if it were not."""
        if self.is_async:
            return body

        @wraps(body)
        def node(*args: Any, **kwargs: Any) -> Any:
            return drive(body(*args, **kwargs))

        return node

    async def call(self, target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method, or its asynchronous twin."""
        if self.is_async:
            return await getattr(target, f"a{method}")(*args, **kwargs)
        return getattr(target, method)(*args, **kwargs)

    async def all(self, target: Any, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """All parts of a stream."""
        if self.is_async:
            return [part async for part in getattr(target, f"a{method}")(*args, **kwargs)]
        return list(getattr(target, method)(*args, **kwargs))

    async def dispatch(self, name: str, data: Any) -> None:
        if self.is_async:
            await adispatch_custom_event(name, data)
        else:
            dispatch_custom_event(name, data)

    async def put(self, key: str, value: dict[str, Any], **options: Any) -> None:
        await self.call(get_store(), "put", ("canary",), key, value, **options)

    async def batch(self, values: Sequence[dict[str, Any]]) -> None:
        ops = [PutOp(("canary",), f"batch {at}", value) for at, value in enumerate(values)]
        await self.call(get_store(), "batch", ops)
