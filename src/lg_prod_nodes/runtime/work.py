"""What a run works on: new work, or work that an earlier run left, as the checkpointer knows it.

A caller may state anything: a run id, no input, an answer to a question that nobody asked. So a run counts as resumed
only if the latest checkpoint of its thread holds the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Command

from lg_prod_nodes.core.errors import AlreadyRun
from lg_prod_nodes.core.run import Work
from lg_prod_nodes.runtime.langgraph import answers_given, open_interrupts, saver_of, was_run

_ELSEWHERE = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
"""Settings by which a caller chooses another checkpoint than the latest of the thread."""


_KEY = "idempotency_key"
_KEYS = UUID("5f0f2a43-6b0e-4b9c-9d35-0c7f6f1f8c11")


def digest_of_key(config: RunnableConfig | None) -> str | None:
    """Return a digest of a run's idempotency key within its thread, `None` if it has no key or no thread."""
    configurable = (config or {}).get("configurable", {})
    key, thread = configurable.get(_KEY), configurable.get("thread_id")
    return str(uuid5(_KEYS, f"{thread}|{key}")) if key and thread is not None else None


def with_key(config: RunnableConfig | None, key: str) -> RunnableConfig:
    """Return a config whose checkpoints have the digest of the idempotency key in their metadata, and not the key."""
    config = config or RunnableConfig()
    configurable = {k: v for k, v in config.get("configurable", {}).items() if k != _KEY}
    metadata = {**(config.get("metadata") or {}), _KEY: key}
    return {**config, "configurable": configurable, "metadata": metadata}


async def is_repeated(graph: Any, config: RunnableConfig, key: str, *, blocking: bool) -> bool:
    """Whether the latest checkpoint of a run's thread is of a run with the same idempotency key.

    Raises:
        AlreadyRun: A run with the key ended, and newer ones followed on its thread.
    """
    saver = saver_of(graph, config)
    if saver is None or not (found := await _with_key(saver, config, key, blocking=blocking)):
        return False
    latest = await _latest(saver, config, blocking=blocking)
    if latest is None or latest.metadata.get(_KEY) == key:
        return True
    raise AlreadyRun(found.checkpoint["id"])


async def _with_key(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, key: str, *, blocking: bool
) -> CheckpointTuple | None:
    """Return the last checkpoint of the run with an idempotency key."""
    thread = _of_thread(config)
    if blocking:
        return next(iter(saver.list(thread, filter={_KEY: key}, limit=1)), None)
    async with aclosing(saver.alist(thread, filter={_KEY: key}, limit=1)) as found:  # type: ignore[type-var]
        return await anext(found, None)


async def _latest(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, *, blocking: bool
) -> CheckpointTuple | None:
    thread = _of_thread(config)
    return saver.get_tuple(thread) if blocking else await saver.aget_tuple(thread)


def _of_thread(config: RunnableConfig) -> RunnableConfig:
    thread = str(config.get("configurable", {})["thread_id"])
    return RunnableConfig(configurable={"thread_id": thread, "checkpoint_ns": ""})


async def work_of(graph: Any, input: Any, config: RunnableConfig, *, blocking: bool) -> Work:
    """Return what a root run works on; reads the checkpoint only if the caller states that the run resumes."""
    configurable = config.get("configurable", {})
    thread = configurable.get("thread_id")
    is_elsewhere = any(configurable.get(name) for name in _ELSEWHERE)
    run_id = (config.get("metadata") or {}).get("run_id")
    key = digest_of_key(config)
    may_resume = input is None or isinstance(input, Command) or bool(run_id or key)
    saver = saver_of(graph, config) if may_resume and thread is not None else None
    if saver is None or is_elsewhere or _brings_more(input):
        return Work()
    saved = await _latest(saver, config, blocking=blocking)
    if saved is None or (input is not None and not _continues(input, run_id, key, saved)):
        return Work()
    return _left(saved, input, str(thread))


def _brings_more(input: Any) -> bool:
    """Whether a command does more than answer."""
    return isinstance(input, Command) and bool(input.resume is None or input.update or input.goto)


def _continues(input: Any, run_id: Any, key: str | None, saved: CheckpointTuple) -> bool:
    """Whether a run's input is dropped and it continues, since the thread's latest checkpoint is of the same run."""
    known = saved.metadata
    is_same = (run_id and known.get("run_id") == run_id) or (key and known.get(_KEY) == key)
    return isinstance(input, Command) or bool(is_same)


def _left(saved: CheckpointTuple, input: Any, thread: str) -> Work:
    """Return the work that an earlier run left in a checkpoint."""
    asked = open_interrupts(saved)
    if asked and not _answers(input, asked):
        return Work("repeated")
    place = f"{thread}:{saved.checkpoint['id']}"
    if saved.metadata.get("source") != "loop" and not was_run(saved):
        return Work("edited", place)
    return Work("resumed", f"{place}:{answers_given(saved)}:{','.join(sorted(asked))}")


def _answers(input: Any, asked: set[str]) -> bool:
    """Whether a command answers one of the interrupts that wait, by id or, if it names none, the only one."""
    if not isinstance(input, Command):
        return False
    resume: object = input.resume
    if isinstance(resume, Mapping) and all(map(_is_id, resume)):
        return not asked.isdisjoint(resume)
    return True


def _is_id(name: object) -> bool:
    return isinstance(name, str) and len(name) == 32
