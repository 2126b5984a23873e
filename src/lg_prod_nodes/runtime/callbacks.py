"""LangChain callbacks as events: the usage of each model call, and whether the run pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.utils.uuid import uuid7
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent

from lg_prod_nodes.core.answers import Answer, estimated, is_cached, may_be_billed, model_of, spent
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.run import node_path
from lg_prod_nodes.core.usage import (
    METERED,
    CallRequest,
    MeteredCall,
    ModelOutcome,
    Usage,
    estimated_tokens,
    schemas_in,
)
from lg_prod_nodes.runtime.scope import SCOPE

OF_TEXTS: ContextVar[bool] = ContextVar("model_of_texts", default=False)
"""Whether the model being called takes texts rather than messages."""


@dataclass(slots=True)
class _Begun:
    """A model call in progress."""

    call: Call
    requests: tuple[CallRequest, ...]
    input_tokens: int
    provider: str | None
    start: float
    answer: Answer = field(default_factory=Answer)
    forget: Callable[[], object] = tuple


class RunWatch(GraphCallbackHandler):
    """Counts every model call made inside a call, including streamed calls and those of tools and subgraphs.

    A call is counted when it ends. A failed node attempt therefore counts what it spent, and an interrupted stream
    counts what arrived. Usage that the provider does not report is estimated.
    """

    def __init__(self, call: Call) -> None:
        # Without what would keep the input and LangGraph's loop alive as long as the run.
        self._call = call.replace(input=None, config=RunnableConfig(), runtime=None)
        self._open: dict[UUID, _Begun] = {}

    @property
    def ignore_chain(self) -> bool:
        """Ignores chains, nodes and graphs."""
        return True

    @property
    def ignore_agent(self) -> bool:
        """Ignores legacy agents and tools."""
        return True

    @property
    def ignore_retriever(self) -> bool:
        """Ignores retrievers."""
        return True

    @property
    def ignore_custom_event(self) -> bool:
        """Ignores custom events."""
        return True

    @property
    def run_inline(self) -> bool:  # type: ignore[override] # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether LangChain calls this handler in the caller's own task rather than in a thread.

        One inline handler is enough for LangChain to skip all others when a text model starts:
        https://github.com/langchain-ai/langchain/issues/39633
        """
        return not OF_TEXTS.get()

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Record that the run pauses for human input."""
        self._call.run.interrupted = True

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Record the model, its caller and the estimated input tokens."""
        self._begin(run_id, messages, kwargs)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Record the model, its caller and the estimated input tokens."""
        self._begin(run_id, prompts, kwargs)

    def _begin(self, run_id: UUID, input: Any, kwargs: Mapping[str, Any]) -> None:
        scope = SCOPE.get()
        is_inside = scope is not None and scope.call.run is self._call.run
        around = scope.call if scope is not None and is_inside else self._call
        metadata = kwargs.get("metadata") or {}
        call = around.replace(
            kind="model",
            name=metadata.get("ls_model_name") or kwargs.get("name") or "unknown",
            node=node_path(metadata) or around.node,
            input=None,
        )
        schemas = schemas_in(kwargs.get("invocation_params") or {})
        tokens = estimated_tokens(input, schemas)
        provider = metadata.get("ls_provider")
        begun = _Begun(call, METERED.get(), tokens, provider, call.now())
        begun.forget = _at_end_of_task(partial(self._abandoned, run_id))
        self._open[run_id] = begun

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Record how much of the answer has arrived."""
        if (begun := self._open.get(run_id)) is not None:
            begun.answer.add(getattr(chunk, "message", token))

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Record how much of the answer has arrived."""
        if (begun := self._open.get(run_id)) is not None:
            begun.answer.add_event(event)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Emit the usage of a model call."""
        begun = self._ended(run_id)
        begun.call = begun.call.replace(name=model_of(response) or begun.call.name)
        if is_cached(response):
            emit(str(run_id), begun, "cached", Usage())
        else:
            emit(str(run_id), begun, "answered", spent(response, begun.input_tokens))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Emit the usage of a failed or interrupted model call, as far as its answer arrived.

        If a call is interrupted before any answer, nothing here shows whether the provider bills it.
        """
        begun = self._ended(run_id)
        if (usage := begun.answer.cut(begun.input_tokens)) is not None:
            emit(str(run_id), begun, "answered", usage)
        elif not may_be_billed(error):
            emit(str(run_id), begun, "failed", Usage(), error=type(error).__name__)

    def _abandoned(self, run_id: UUID, task: object) -> None:
        """End a model call whose task was cancelled: LangChain reports that only for calls read as a stream."""
        if run_id in self._open:
            self.on_llm_error(asyncio.CancelledError(), run_id=run_id)

    def _ended(self, run_id: UUID) -> _Begun:
        begun = self._open.pop(run_id, None)
        if begun is None:
            unknown = self._call.replace(kind="model", name="unknown", input=None)
            begun = _Begun(unknown, METERED.get(), 0, None, self._call.now())
        begun.forget()
        return begun


def emit(id: str, begun: _Begun, outcome: ModelOutcome, usage: Usage, **data: Any) -> None:
    """Emit the outcome of a model call and record it on the policy calls that it belongs to."""
    call, seconds = begun.call, begun.call.now() - begun.start
    ended = MeteredCall(id, call.name, outcome, usage, seconds)
    for request in begun.requests:
        request.note(ended)
    if outcome == "answered":
        data |= {"usage": usage, "seconds": seconds, "provider": begun.provider}
        call.emit("model_called", id=id, **data)
    else:
        call.emit(f"model_{outcome}", id=id, **data)


@contextmanager
def metered(call: Call) -> Generator[Callable[[Any], None]]:
    """Meter a call for which LangChain calls no model handler; yields a function that takes the reported usage."""
    start, requests = call.now(), (*METERED.get(), *([call.request] if call.request else []))
    if call.request is not None:
        call.request.is_sent = True

    def ended(outcome: ModelOutcome, usage: Usage, **data: Any) -> None:
        begun = _Begun(call, requests, 0, None, start)
        emit(call.request.id if call.request else str(uuid7()), begun, outcome, usage, **data)

    def answered(reported: Any) -> None:
        tokens = estimated_tokens(call.input)
        ended("answered", Usage.of(reported) if reported else estimated(tokens))

    try:
        yield answered
    except Exception as error:
        if not may_be_billed(error):
            ended("failed", Usage(), error=type(error).__name__)
        raise


def _at_end_of_task(act: Callable[[Any], object]) -> Callable[[], object]:
    """Run a function when the current task ends; returns a function that cancels this."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop
        task = None
    if task is None:
        return tuple
    task.add_done_callback(act)
    return partial(task.remove_done_callback, act)


def watch_of(call: Call) -> RunWatch:
    """The watch of a call's run, shared by all callers."""
    watch = call.run.watch
    if not isinstance(watch, RunWatch):
        watch = call.run.watch = RunWatch(call)
    return watch


def watched(config: RunnableConfig | None, call: Call) -> RunnableConfig:
    """A copy of the config with the run's watch among its callbacks."""
    watching = RunnableConfig() if config is None else config.copy()
    watching["callbacks"] = with_watch(watching.get("callbacks"), call)
    return watching


def with_watch(callbacks: Any, call: Call) -> Any:
    """The callbacks with the run's watch added."""
    watch = watch_of(call)
    if isinstance(callbacks, BaseCallbackManager):
        if watch in callbacks.handlers:
            return callbacks
        manager = callbacks.copy()
        manager.add_handler(watch)
        return manager
    listed: list[Any] = list(callbacks or ())
    return listed if watch in listed else [*listed, watch]


@contextmanager
def watching(call: Call) -> Generator[RunnableConfig]:
    """Watch the model calls made inside the block, through the ambient config."""
    config = watched(cast(Any, call.config), call)
    token = var_child_runnable_config.set(config)
    try:
        yield config
    finally:
        var_child_runnable_config.reset(token)


@contextmanager
def metering(call: Call) -> Generator[None]:
    """Record the usage inside the block on a model call."""
    if call.request is None:
        yield
        return
    call.request.is_sent = True
    token = METERED.set((*METERED.get(), call.request))
    try:
        yield
    finally:
        METERED.reset(token)
