"""What LangChain's and LangGraph's own callbacks say of a run, told as facts: model calls and interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, BaseCallbackManager
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent

from lg_prod_nodes.core.answers import Answer, estimated, is_cached, may_be_billed, model_of, spent
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.run import Usage, node_path
from lg_prod_nodes.core.tokens import estimated_tokens, schemas_in


@dataclass(slots=True)
class _Begun:
    """A model call that goes on."""

    told: Call
    input_tokens: int
    start: float
    answer: Answer = field(default_factory=Answer)
    forsake: Callable[[], object] = tuple


class RunWatch(GraphCallbackHandler):
    """Counts every model call made below a call, streamed ones and those of tools and subgraphs too.

    Counting happens when a model call ends, so a failed attempt of a node counts what it really spent, and a stream
    that is cut what came of it. What a provider does not report is estimated.
    """

    run_inline = True

    def __init__(self, call: Call) -> None:
        self._call = call
        self._open: dict[UUID, _Begun] = {}

    @property
    def ignore_chain(self) -> bool:
        """Chains, nodes and graphs are not watched here."""
        return True

    @property
    def ignore_agent(self) -> bool:
        """Nor are legacy agents and tools."""
        return True

    @property
    def ignore_retriever(self) -> bool:
        """Nor are retrievers."""
        return True

    @property
    def ignore_custom_event(self) -> bool:
        """Nor are events of the user's own."""
        return True

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Note that the run pauses for a person."""
        self._call.run.interrupted = True

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Tell which model is called, where, and what its input is estimated at."""
        self._begin(run_id, messages, kwargs)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell which model is called, where, and what its input is estimated at."""
        self._begin(run_id, prompts, kwargs)

    def _begin(self, run_id: UUID, input: Any, kwargs: Mapping[str, Any]) -> None:
        schemas = schemas_in(kwargs.get("invocation_params") or {})
        input_tokens = estimated_tokens(input, schemas)
        metadata = kwargs.get("metadata") or {}
        told = self._call.replace(
            kind="model",
            name=metadata.get("ls_model_name") or kwargs.get("name") or "unknown",
            node=node_path(metadata) or self._call.node,
            input=None,
            config=cast(RunnableConfig, {**self._call.config, "metadata": metadata}),
        )
        begun = self._open[run_id] = _Begun(told, input_tokens, self._call.now())
        begun.forsake = _at_end_of_task(partial(self._forsaken, run_id))
        usage = estimated(input_tokens)
        told.emit("model_begun", once=("begun", run_id), id=str(run_id), usage=usage)

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Note how much of the answer has come."""
        if (begun := self._open.get(run_id)) is not None:
            begun.answer.add(getattr(chunk, "message", token))

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note how much of the answer has come."""
        if (begun := self._open.get(run_id)) is not None:
            begun.answer.add_event(event)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell what the model call spent."""
        begun = self._ended(run_id)
        told = begun.told.replace(name=model_of(response) or begun.told.name)
        if is_cached(response):
            told.emit("model_cached", once=run_id, id=str(run_id))
        else:
            self._tell(told, run_id, begun, spent(response, begun.input_tokens))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell what a failed or cut model call spent, as far as it came.

        Of one that was cut before an answer came, nobody here knows whether the provider serves it.
        """
        begun = self._ended(run_id)
        if (usage := begun.answer.cut(begun.input_tokens)) is not None:
            self._tell(begun.told, run_id, begun, usage)
        elif not may_be_billed(error):
            begun.told.emit("model_failed", once=run_id, id=str(run_id), error=type(error).__name__)

    def _forsaken(self, run_id: UUID, task: object) -> None:
        """LangChain says nothing of a model call whose task is cancelled, unless it was read as a stream."""
        if run_id in self._open:
            self.on_llm_error(asyncio.CancelledError(), run_id=run_id)

    def _ended(self, run_id: UUID) -> _Begun:
        unknown = self._call.replace(kind="model", name="unknown", input=None)
        begun = self._open.pop(run_id, None) or _Begun(unknown, 0, self._call.now())
        begun.forsake()
        return begun

    def _tell(self, told: Call, run_id: UUID, begun: _Begun, usage: Usage) -> None:
        seconds = self._call.now() - begun.start
        self._call.spent.append(usage)
        told.emit("model_called", once=run_id, id=str(run_id), usage=usage, seconds=seconds)


def _at_end_of_task(act: Callable[[Any], object]) -> Callable[[], object]:
    """Let something happen when the running task has ended; gives what takes that back."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop
        task = None
    if task is None:
        return tuple
    task.add_done_callback(act)
    return partial(task.remove_done_callback, act)


def watched(config: RunnableConfig | None, call: Call) -> RunnableConfig:
    """The config with a watch on what is called below it, all else as it was."""
    watching = RunnableConfig() if config is None else config.copy()
    watching["callbacks"] = with_watch(watching.get("callbacks"), call)
    return watching


def with_watch(callbacks: Any, call: Call) -> Any:
    """Callbacks with a watch among them, for a call that wants to know what it spends."""
    _tell_every_handler()
    if not isinstance(callbacks, BaseCallbackManager):
        return [*(callbacks or []), RunWatch(call)]
    manager = callbacks.copy()
    manager.add_handler(RunWatch(call))
    return manager


@cache
def _tell_every_handler() -> None:
    """Let handlers beside a watch hear that a model of texts begins.

    LangChain tells none but those that run inline, as soon as one does, so it is asked for either kind by itself:
    https://github.com/langchain-ai/langchain/issues/39633
    """
    native = AsyncCallbackManager.on_llm_start

    @wraps(native)
    async def on_llm_start(
        self: AsyncCallbackManager,
        serialized: dict[str, Any],
        prompts: list[str],
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> Any:
        if not any(isinstance(handler, RunWatch) for handler in self.handlers):
            return await native(self, serialized, prompts, run_id, **kwargs)
        inline = _telling(self, [h for h in self.handlers if h.run_inline])
        others = _telling(self, [h for h in self.handlers if not h.run_inline])
        begun = await native(inline, serialized, prompts, run_id, **kwargs)
        for run, prompt in zip(begun, prompts, strict=True):
            await native(others, serialized, [prompt], run.run_id, **kwargs)
            run.handlers = self.handlers
        return begun

    cast(Any, AsyncCallbackManager).on_llm_start = on_llm_start


def _telling(
    manager: AsyncCallbackManager, handlers: list[BaseCallbackHandler]
) -> AsyncCallbackManager:
    """The manager with other handlers."""
    telling = copy(manager)
    telling.handlers = handlers
    return telling


@contextmanager
def watching(call: Call) -> Generator[RunnableConfig, None, None]:
    """Watch the model calls made inside of the block, through the ambient config."""
    config = watched(call.config, call)
    token = var_child_runnable_config.set(config)
    try:
        yield config
    finally:
        var_child_runnable_config.reset(token)
