# pyright: reportPrivateUsage=false
"""LangGraph's private parts: the one file that names them.

`tests/test_langgraph_private.py` says what each is relied upon for, and fails when LangGraph changes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache, partial
from types import ModuleType
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
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
    INTERRUPT,
    NS_SEP,
    RESUME,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph._node import StateNodeSpec
from langgraph.graph.state import StateGraph, _NodeDefaults
from langgraph.pregel import _retry
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode
from langgraph.pregel._retry import _should_retry_on
from langgraph.pregel._tools import _tool_call_writer
from langgraph.pregel._utils import _runnable_has_native_async
from langgraph.pregel._write import ChannelWrite
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy

from lg_prod_nodes.runtime.in_flight import Bell

__all__ = [
    "TOOL_OUTPUT",
    "PregelNode",
    "RunnableCallable",
    "StateNodeSpec",
    "copy_builder",
    "does_nothing",
    "ensure_config",
    "has_native_async",
    "is_served",
    "make_pauses_wakeable",
    "pause_before_retry",
    "runtime_in",
    "unless_command",
    "wake_from_pause",
    "with_guarded_branches",
    "with_guarded_edges",
    "with_runtime",
    "with_tasks",
    "without_defaults",
    "write_again",
]

TOOL_OUTPUT = _tool_call_writer
"""Where the running tool writes its output piece by piece, if anyone reads it."""

_BELL = "lg_prod_bell"
_SLEEP, _ASLEEP = time.sleep, asyncio.sleep  # who replaces them, as tests do, is asked

AnyBuilder = StateGraph[Any, Any, Any, Any]


def runtime_in(config: RunnableConfig) -> Runtime[Any] | None:
    """The runtime that LangGraph carries in a config; a server may have put something else there."""
    runtime = config.get(CONF, {}).get(CONFIG_KEY_RUNTIME)
    return runtime if isinstance(runtime, Runtime) else None


def with_runtime(config: RunnableConfig, runtime: Runtime[Any]) -> RunnableConfig:
    """The config with another runtime."""
    return {**config, CONF: {**config.get(CONF, {}), CONFIG_KEY_RUNTIME: runtime}}


def with_tasks(config: RunnableConfig, guard: Callable[[Any, Any], Any]) -> RunnableConfig:
    """The config with the tasks of the functional API guarded that a node calls.

    Args:
        config: A node's config.
        guard: Gets a task's function and its arguments, gives what LangGraph may see of both.
    """
    native = config.get(CONF, {}).get(CONFIG_KEY_CALL)
    if native is None:
        return config

    def call(function: Any, arguments: Any, **options: Any) -> Any:
        if options.get("cache_policy"):  # whose key is made of the arguments
            return native(guard(function, arguments)[0], arguments, **options)
        return native(*guard(function, arguments), **options)

    return {**config, CONF: {**config.get(CONF, {}), CONFIG_KEY_CALL: call}}


async def write_again(config: RunnableConfig, *, blocking: bool) -> bool:
    """Make the writes that an error handler made when the run was here before; tells whether there were any.

    Where a run resumes, LangGraph calls the error handlers of its superstep again.
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


def does_nothing(node: PregelNode) -> bool:
    """Whether a node has no runnable of its own, as the start node."""
    return node.bound is DEFAULT_BOUND


def with_guarded_branches(
    node: PregelNode, guard: Callable[[RunnableCallable], RunnableCallable]
) -> PregelNode:
    """The node with its conditional edges guarded; the very same where it has none."""
    writers = [guard(cast(Any, w)) if _is_branch(w) else w for w in node.writers]
    if all(new is old for new, old in zip(writers, node.writers, strict=True)):
        return node
    return node.copy({"writers": writers})


def with_guarded_edges(
    node: PregelNode, passed_on: Callable[[Exception, RunnableConfig], Exception]
) -> PregelNode:
    """The node with other errors from what follows its runnable: the making of its update, its conditional edges.

    Args:
        node: A node.
        passed_on: Gives an error as it is to be raised.
    """
    return node.copy({"writers": [_guarded_writer(w, passed_on) for w in node.flat_writers]})


def _guarded_writer(writer: Any, passed_on: Any) -> Any:
    if not (_is_write(writer) or _is_branch(writer)):
        return writer

    def write(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        with _errors(passed_on, config):
            return writer.func(value, config, **kwargs)

    async def awrite(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        with _errors(passed_on, config):
            return await writer.afunc(value, config, **kwargs)

    return _in_place_of(writer, write, awrite)


@contextmanager
def _errors(passed_on: Any, config: RunnableConfig) -> Generator[None]:
    try:
        yield
    except GraphBubbleUp:
        raise
    except Exception as error:
        if runtime_in(config) is None or (other := passed_on(error, config)) is error:
            raise  # without a runtime, an update of the state by hand
        raise other from error


def _is_write(writer: Any) -> bool:
    return isinstance(writer, ChannelWrite)


def _is_branch(writer: Any) -> bool:
    return isinstance(writer, RunnableCallable) and "writer" in writer.kwargs


def unless_command(writer: Any) -> RunnableCallable:
    """An edge that is not followed from what a node gives as a `Command`."""

    def follow(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return value if isinstance(value, Command) else writer.func(value, config, **kwargs)

    async def afollow(value: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return value if isinstance(value, Command) else await writer.afunc(value, config, **kwargs)

    return _in_place_of(writer, follow, afollow)


def _in_place_of(writer: Any, func: Any, afunc: Any) -> RunnableCallable:
    """A writer with other functions, which is none of those that LangGraph joins where they stand in a row."""
    other = RunnableCallable(_passed, trace=False) if _is_write(writer) else copy(writer)
    vars(other).update(func=func, afunc=afunc if writer.afunc else None)
    return cast(RunnableCallable, other)


def _passed(value: Any, config: RunnableConfig) -> Any:
    return value


def pause_before_retry(
    policies: Sequence[RetryPolicy], error: Exception, attempt: int
) -> float | None:
    """Seconds that LangGraph waits at least until it tries a node again, `None` where it does not."""
    policy = next((policy for policy in policies if _should_retry_on(policy, error)), None)
    if policy is None or attempt >= policy.max_attempts:
        return None
    pause = policy.initial_interval * policy.backoff_factor ** (attempt - 1)
    return min(policy.max_interval, pause)


def is_served() -> bool:
    """Whether runs come from the queue of LangGraph Server."""
    return "langgraph_api.worker" in sys.modules


def wake_from_pause(error: Exception, bell: Bell) -> None:
    """Let the pause that LangGraph makes after an error, before its next try, end when a bell rings."""
    vars(error)[_BELL] = bell


@cache
def make_pauses_wakeable() -> None:
    """Let the pauses that LangGraph makes before a next try end early, for runs that are asked to stop."""
    # The retry loop calls `time.sleep` or `asyncio.sleep` while it handles the node's error.
    retry = cast(Any, _retry)
    retry.time, retry.asyncio = _with_sleep(time, _pause), _with_sleep(asyncio, _apause)


def _with_sleep(module: ModuleType, sleep: Callable[[float], Any]) -> ModuleType:
    stand_in = ModuleType(module.__name__)
    vars(stand_in).update(sleep=sleep, __getattr__=partial(getattr, module))
    return stand_in


def _pause(seconds: float) -> None:
    bell, run = _heard()
    if bell is None or time.sleep is not _SLEEP:
        time.sleep(seconds)
    elif bell.wait(seconds) and run is not None:
        raise run.drained()


async def _apause(seconds: float) -> None:
    bell, run = _heard()
    if bell is None or asyncio.sleep is not _ASLEEP:
        await asyncio.sleep(seconds)
    elif await bell.await_(seconds) and run is not None:
        raise run.drained()


def _heard() -> tuple[Bell | None, Any]:
    """The bell that ends a pause, and the run that stops with it, where nothing else stops it."""
    error = sys.exception()
    bell = None if error is None else vars(error).pop(_BELL, None)
    run = _run_around() if bell is None else None
    return bell if run is None else run.bell, run


def _run_around() -> Any:
    """The run in which a task of the functional API pauses, or a graph that a node calls: nothing else stops it."""
    runtime = runtime_in(var_child_runnable_config.get() or RunnableConfig())
    control = runtime.control if runtime is not None else None
    return control if hasattr(control, "bell") else None


def has_native_async(runnable: Runnable[Any, Any]) -> bool:
    """Whether a runnable is asynchronous by itself; LangGraph refuses timeouts for those that are not."""
    return _runnable_has_native_async(runnable)


def copy_builder(builder: AnyBuilder, cls: type[Any]) -> AnyBuilder:
    """A builder of its own: `compile` changes the one that it is called on, and a second call may raise."""
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
    """A compiled graph's builder made ready for another compile: its defaults have been applied to the nodes."""
    clone = copy_builder(builder, type(builder))
    clone._node_defaults = _NodeDefaults()
    clone.compiled = False
    return clone
