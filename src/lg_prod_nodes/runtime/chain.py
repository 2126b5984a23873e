"""A node that is a chain (`prompt | model | parser`): its steps are part of the node's own run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence


def flattened(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A chain without a run of its own in callbacks, events and traces; other runnables as they are.

    LangGraph merges the steps of a chain with the node's writers, which it cannot do with a guarded one.
    """
    if isinstance(runnable, RunnableSequence):
        return _Chain(runnable.steps)
    return runnable


class _Chain(Runnable[Any, Any]):
    """Runs steps one after the other, each as a child of the node."""

    def __init__(self, steps: Sequence[Runnable[Any, Any]]) -> None:
        self._steps = steps

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the steps."""
        for number, step in enumerate(self._steps, start=1):
            input = step.invoke(input, _of_step(config, number), **kwargs)
            kwargs = {}
        return input

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the steps."""
        for number, step in enumerate(self._steps, start=1):
            input = await step.ainvoke(input, _of_step(config, number), **kwargs)
            kwargs = {}
        return input

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Run the steps and stream what the last one gives."""
        first, *others = self._steps
        chunks = first.stream(input, config, **kwargs)
        for number, step in enumerate(others, start=2):
            chunks = step.transform(chunks, _of_step(config, number))
        yield from chunks

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Run the steps and stream what the last one gives."""
        first, *others = self._steps
        chunks = first.astream(input, config, **kwargs)
        for number, step in enumerate(others, start=2):
            chunks = step.atransform(chunks, _of_step(config, number))
        async for chunk in chunks:
            yield chunk


def _of_step(config: RunnableConfig | None, number: int) -> RunnableConfig | None:
    """The config of a step: LangGraph tags the runs of a node's steps with their number."""
    callbacks = config.get("callbacks") if config is not None else None
    if config is None or number == 1 or not isinstance(callbacks, BaseCallbackManager):
        return config
    numbered = callbacks.copy()
    numbered.remove_tags([_tag(1)])
    numbered.add_tags([_tag(number)], inherit=False)
    return {**config, "callbacks": numbered}


def _tag(number: int) -> str:
    return f"seq:step:{number}"
