# pyright: reportPrivateUsage=false
"""LangGraph's private API. No other file uses it.

`tests/test_langgraph_private.py` states why each name is needed, and fails when LangGraph changes it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import inspect
import sys
import weakref
from collections import deque
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
    CONFIG_KEY_STREAM,
    CONFIG_KEY_TASK_ID,
    ERROR,
    INTERRUPT,
    NS_SEP,
    NULL_TASK_ID,
    PUSH,
    RESUME,
)
from langgraph._internal._runnable import RunnableCallable, RunnableSeq
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot
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
    "RunnableSeq",
    "StateNodeSpec",
    "answers_given",
    "copy_builder",
    "does_nothing",
    "ensure_config",
    "has_native_async",
    "has_no_function",
    "is_delta_snapshot",
    "is_sent",
    "is_served",
    "note_progress",
    "open_interrupts",
    "raises_past_handler",
    "runtime_in",
    "saver_of",
    "should_retry_on",
    "unless_command",
    "was_run",
    "with_guarded_branches",
    "with_noted_threads",
    "with_parts",
    "with_stream",
    "without_defaults",
    "write_again",
]

TOOL_OUTPUT = _tool_call_writer
"""The running tool's output writer, set if anyone reads that output."""

AnyBuilder = StateGraph[Any, Any, Any, Any]


def is_delta_snapshot(value: Any) -> bool:
    """Whether a value is that of a delta channel as a whole, which a checkpoint stores apart even if it is plain."""
    return isinstance(value, _DeltaSnapshot)


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


def with_stream(config: RunnableConfig, change: Callable[[Any], Any]) -> RunnableConfig:
    """A copy of the config with another parent's stream; the same config if it has none."""
    configurable = config.get(CONF, {})
    if (stream := configurable.get(CONFIG_KEY_STREAM)) is None:
        return config
    return {**config, "configurable": {**configurable, CONFIG_KEY_STREAM: change(stream)}}


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


def is_sent(config: RunnableConfig) -> bool:
    """Whether a node runs by a `Send`, whose payload LangGraph coerces to no schema."""
    path = (config.get("metadata") or {}).get("langgraph_path") or (None,)
    return path[0] == PUSH


def raises_past_handler(config: RunnableConfig) -> Callable[[Exception, BaseException], None]:
    """A function that fails the node's task with an error that its error handler must not get.

    LangGraph gives a node's handler every error except those that bubble up, which it neither records nor lets cancel
    the other nodes. So a copy of the task, which has no handler, fails with the error beside the task that bubbles up.
    It has no writes: the node runs again when the thread is resumed.
    """
    call = _innermost_call(config.get(CONF, {}).get(CONFIG_KEY_CALL))
    known = (
        weakref.ref(call) if call is not None else lambda: None
    )  # the call holds LangGraph's loop

    def fail(error: Exception, bubble: BaseException) -> None:
        if (call := known()) is None:
            return
        task, futures = call.args[0](), call.keywords["futures"]()
        failed = _new_future(call.keywords.get("loop"))
        futures.should_stop.keywords["handled_exception_ids"].add(id(bubble))
        futures[failed] = dataclasses.replace(task, name="", writes=deque())
        failed.set_exception(error)

    return fail


def _innermost_call(call: Any) -> partial[Any] | None:
    """LangGraph's way for a node to call tasks, without what a node's `timeout=` puts around it."""
    while inspect.isfunction(call):
        inner = dict(zip(call.__code__.co_freevars, call.__closure__ or (), strict=True))
        call = inner["call"].cell_contents if "call" in inner else None
    return call if isinstance(call, partial) else None


def _new_future(loop: asyncio.AbstractEventLoop | None) -> Any:
    return concurrent.futures.Future[None]() if loop is None else loop.create_future()


def saver_of(graph: Any, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """The checkpointer of a root run: one in the config, as a server passes it, or the graph's own."""
    saver = config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINTER, graph.checkpointer)
    return saver if isinstance(saver, BaseCheckpointSaver) else None


def open_interrupts(saved: CheckpointTuple) -> set[str]:
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


def has_no_function(node: PregelNode) -> bool:
    """Whether a node has no runnable of its own, like the start node."""
    return node.bound is DEFAULT_BOUND


def does_nothing(writer: Any) -> bool:
    """Whether a stream writer is LangGraph's for a run whose custom stream nobody reads."""
    code = getattr(writer, "__code__", None)
    return code is not None and code.co_code == _EMPTY.co_code


def _nothing(_: Any) -> None: ...


_EMPTY = _nothing.__code__


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
