"""What a run works on: new work, or work that an earlier run left, as the checkpointer knows it.

A caller may state anything: a run id, no input, an answer to a question that nobody asked. So a run counts as resumed
only if the latest checkpoint of its thread holds the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Command

from lg_prod_nodes.core.run import Work
from lg_prod_nodes.runtime.langgraph import answers_given, open_interrupts, saver_of, was_run

_ELSEWHERE = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
"""Settings by which a caller chooses another checkpoint than the latest of the thread."""


async def work_of(graph: Any, input: Any, config: RunnableConfig, *, blocking: bool) -> Work:
    """Return what a root run works on; reads the checkpoint only if the caller states that the run resumes."""
    configurable = config.get("configurable", {})
    thread = configurable.get("thread_id")
    is_elsewhere = any(configurable.get(name) for name in _ELSEWHERE)
    run_id = (config.get("metadata") or {}).get("run_id")
    may_resume = input is None or isinstance(input, Command) or run_id is not None
    saver = saver_of(graph, config) if may_resume and thread is not None else None
    if saver is None or is_elsewhere or _brings_more(input):
        return Work()
    latest = RunnableConfig(configurable={"thread_id": str(thread), "checkpoint_ns": ""})
    saved = saver.get_tuple(latest) if blocking else await saver.aget_tuple(latest)
    if saved is None or (input is not None and not _continues(input, run_id, saved)):
        return Work()
    return _left(saved, input, str(thread))


def _brings_more(input: Any) -> bool:
    """Whether a command does more than answer."""
    return isinstance(input, Command) and bool(input.resume is None or input.update or input.goto)


def _continues(input: Any, run_id: Any, saved: CheckpointTuple) -> bool:
    """Whether LangGraph drops a run's input and continues, since the thread's latest checkpoint is of the same run."""
    return isinstance(input, Command) or saved.metadata.get("run_id") == run_id


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
