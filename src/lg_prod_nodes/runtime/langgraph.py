# pyright: reportPrivateUsage=false
"""LangGraph's private API. No other file uses it.

`tests/test_langgraph_private.py` states why each name is needed, and fails when LangGraph changes it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langgraph._internal._config import ensure_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
    ERROR,
    INTERRUPT,
    NS_SEP,
    NULL_TASK_ID,
    RESUME,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph._node import StateNodeSpec
from langgraph.graph.state import StateGraph, _NodeDefaults
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode
from langgraph.pregel._retry import _should_retry_on, _TimedAttemptScope
from langgraph.pregel._task_status import read_task_statuses
from langgraph.pregel._tools import _tool_call_writer
from langgraph.pregel._utils import _runnable_has_native_async
from langgraph.pregel._write import ChannelWrite
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy

__all__ = [
    "TOOL_OUTPUT",
    "PregelNode",
    "RunnableCallable",
    "StateNodeSpec",
    "answers_given",
    "copy_builder",
    "does_nothing",
    "ensure_config",
    "has_native_async",
    "is_served",
    "note_progress",
    "runtime_in",
    "saver_of",
    "should_retry_on",
    "unanswered",
    "unless_command",
    "was_run",
    "with_guarded_branches",
    "with_noted_threads",
    "with_parts",
    "without_defaults",
    "write_again",
]

TOOL_OUTPUT = _tool_call_writer
"""The running tool's output writer, set if anyone reads that output."""

AnyBuilder = StateGraph[Any, Any, Any, Any]


def runtime_in(config: RunnableConfig) -> Runtime[Any] | None:
    """The LangGraph runtime in a config; `None` if a server has put something else there."""
    runtime = config.get(CONF, {}).get(CONFIG_KEY_RUNTIME)
    return runtime if isinstance(runtime, Runtime) else None


def note_progress(runtime: Runtime[Any] | None) -> None:
    """Reset a timed node's idle clock, as the piece held back by a filter would have done.

    Only the node itself resets a `TimeoutPolicy(refresh_on="heartbeat")`.
    """
    scope = getattr(runtime.heartbeat, "__self__", None) if runtime is not None else None
    if isinstance(scope, _TimedAttemptScope) and scope._refresh_on == "auto":
        scope.touch()


def with_parts(
    config: RunnableConfig,
    *,
    runtime: Runtime[Any] | None = None,
    guard: Callable[[Any, Any], Any] | None = None,
    retries: Callable[[Sequence[RetryPolicy]], Sequence[RetryPolicy]],
) -> RunnableConfig:
    """A copy of the config with another runtime, and with guards for the functional API's tasks.

    Args:
        config: A node's config.
        runtime: The runtime; by default, that of the config.
        guard: Takes a task's function and arguments, and returns what LangGraph may see of both.
        retries: Takes a task's retry policies, and returns those to use.
    """
    configurable = config.get(CONF, {}).copy()
    if runtime is not None:
        configurable[CONFIG_KEY_RUNTIME] = runtime
    native = configurable.get(CONFIG_KEY_CALL)
    if native is not None:
        configurable[CONFIG_KEY_CALL] = _guarded_call(native, guard, retries)
    changed = config.copy()
    changed["configurable"] = configurable
    return changed


def _guarded_call(native: Any, guard: Any, retries: Any) -> Callable[..., Any]:
    def call(function: Any, arguments: Any, **options: Any) -> Any:
        if given := options.get("retry_policy"):
            options["retry_policy"] = retries(given)
        if guard is None:
            return native(function, arguments, **options)
        if options.get("cache_policy"):  # the cache key is made of the arguments
            return native(guard(function, arguments)[0], arguments, **options)
        return native(*guard(function, arguments), **options)

    return call


async def write_again(config: RunnableConfig, *, blocking: bool) -> bool:
    """Repeat the writes that an error handler made before the run resumed; returns whether there were any.

    On resume, LangGraph calls the error handlers of the superstep again.
    """
    configurable = config.get(CONF, {})
    saver, task = configurable.get(CONFIG_KEY_CHECKPOINTER), configurable[CONFIG_KEY_TASK_ID]
    if not isinstance(saver, BaseCheckpointSaver):
        return False
    *outer, _failed, _handler = configurable[CONFIG_KEY_CHECKPOINT_NS].split(NS_SEP)
    namespace = NS_SEP.join(outer)
    place = {
        "thread_id": configurable["thread_id"],
        "checkpoint_ns": namespace,
        "checkpoint_id": configurable[CONFIG_KEY_CHECKPOINT_MAP][namespace],
    }
    given: RunnableConfig = {"configurable": place}
    saved = saver.get_tuple(given) if blocking else await saver.aget_tuple(given)
    pending = (saved.pending_writes if saved is not None else None) or []
    writes = [
        (channel, value)
        for known, channel, value in pending
        if known == task and channel not in (INTERRUPT, RESUME)
    ]
    configurable[CONFIG_KEY_SEND](writes)
    return bool(writes)


def saver_of(graph: Any, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """The checkpointer of a root run: one in the config, as a server passes it, or the graph's own."""
    saver = config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINTER, graph.checkpointer)
    return saver if isinstance(saver, BaseCheckpointSaver) else None


def unanswered(saved: CheckpointTuple) -> set[str]:
    """The ids of the interrupts of a checkpoint that nobody has answered."""
    writes = saved.pending_writes or []
    answered = {task for task, channel, _ in writes if channel == RESUME}
    if NULL_TASK_ID in answered:  # an answer that its node may not have taken yet
        return set()
    return {
        interrupt.id
        for task, status in read_task_statuses(writes).items()
        if task not in answered
        for interrupt in status.pending_interrupts
    }


def answers_given(saved: CheckpointTuple) -> int:
    """How many answers to interrupts the tasks of a checkpoint have taken."""
    return sum(
        len(value)
        for task, channel, value in saved.pending_writes or []
        if channel == RESUME and task != NULL_TASK_ID
    )


def was_run(saved: CheckpointTuple) -> bool:
    """Whether a run was paused or failed at a checkpoint; an update of the state leaves no trace of this kind."""
    traces = (ERROR, INTERRUPT, RESUME)
    return any(channel in traces for _, channel, _ in saved.pending_writes or [])


def does_nothing(node: PregelNode) -> bool:
    """Whether a node has no runnable of its own, like the start node."""
    return node.bound is DEFAULT_BOUND


def with_guarded_branches(
    node: PregelNode, guard: Callable[[RunnableCallable], RunnableCallable]
) -> PregelNode:
    """A copy of the node with guarded conditional edges; the same node if it has none."""
    writers = [guard(cast(Any, w)) if _is_branch(w) else w for w in node.writers]
    if all(new is old for new, old in zip(writers, node.writers, strict=True)):
        return node
    return node.copy({"writers": writers})


def _is_write(writer: Any) -> bool:
    return isinstance(writer, ChannelWrite)


def _is_branch(writer: Any) -> bool:
    return isinstance(writer, RunnableCallable) and "writer" in writer.kwargs


def unless_command(writer: Any) -> RunnableCallable:
    """An edge that is not followed when a node returns a `Command`."""

    def follow(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return value if isinstance(value, Command) else writer.func(value, config, **kwargs)

    async def afollow(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return value if isinstance(value, Command) else await writer.afunc(value, config, **kwargs)

    return _in_place_of(writer, follow, afollow)


def _in_place_of(writer: Any, func: Any, afunc: Any) -> RunnableCallable:
    """A writer with other functions, of a type that LangGraph does not merge with adjacent writers."""
    other = RunnableCallable(_passed, trace=False) if _is_write(writer) else copy(writer)
    vars(other).update(func=func, afunc=afunc if writer.afunc else None)
    return cast(RunnableCallable, other)


def _passed(value: Any, config: RunnableConfig) -> Any:
    return value


def should_retry_on(policy: RetryPolicy, error: Exception) -> bool:
    """Whether a retry policy retries after an error, by LangGraph's rules."""
    return _should_retry_on(policy, error)


def is_served() -> bool:
    """Whether runs come from the queue of LangGraph Server."""
    return "langgraph_api.worker" in sys.modules


def has_native_async(runnable: Runnable[Any, Any]) -> bool:
    """Whether a runnable is natively async; LangGraph refuses timeouts for others."""
    return _runnable_has_native_async(runnable)


def with_noted_threads(
    inner: RunnableCallable, noted: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> RunnableCallable:
    """A runnable that runs a changed function in a thread for asynchronous callers; the same one if it is native."""
    if not (isinstance(inner.afunc, partial) and inner.afunc.func is run_in_executor):
        return inner
    clone = copy(inner)
    clone.afunc = partial(run_in_executor, None, noted(cast(Any, inner.func)))
    return clone


def copy_builder(builder: AnyBuilder, cls: type[Any]) -> AnyBuilder:
    """A private copy of a builder: `compile` changes its builder, and a second call may raise."""
    clone = copy(builder)
    clone.__class__ = cls
    clone.nodes = {name: dataclasses.replace(spec) for name, spec in builder.nodes.items()}
    clone.edges, clone.waiting_edges = set(builder.edges), set(builder.waiting_edges)
    branches = {start: dict(named) for start, named in builder.branches.items()}
    clone.branches = type(builder.branches)(dict, branches)
    clone.schemas = {schema: dict(channels) for schema, channels in builder.schemas.items()}
    clone.channels, clone.managed = dict(builder.channels), dict(builder.managed)
    clone._node_defaults = dataclasses.replace(builder._node_defaults)
    return clone


def without_defaults(builder: AnyBuilder) -> AnyBuilder:
    """A compiled graph's builder, ready to compile again: its defaults are already applied to the nodes."""
    clone = copy_builder(builder, type(builder))
    clone._node_defaults = _NodeDefaults()
    clone.compiled = False
    return clone
