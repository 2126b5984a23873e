"""A thread as its checkpointer has saved it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import StateSnapshot

from lg_prod_nodes.core.errors import ConfigurationError


class SavedThread:
    """The thread of a run.

    Args:
        graph: The graph.
        config: The run's config.
        thread_id: The thread in it.
    """

    def __init__(self, graph: Any, config: RunnableConfig, thread_id: str) -> None:
        self._graph, self._config, self._thread_id = graph, config, thread_id
        self._saver: BaseCheckpointSaver[Any] = graph.checkpointer

    @classmethod
    def of(cls, graph: Any, config: RunnableConfig) -> SavedThread | None:
        """Return a run's thread, `None` if the run has none or its graph no checkpointer of its own."""
        if not isinstance(graph.checkpointer, BaseCheckpointSaver):
            return None
        thread_id = config.get("configurable", {}).get("thread_id")
        return cls(graph, config, thread_id) if thread_id else None

    async def state(self, *, blocking: bool) -> StateSnapshot:
        """Return the state that the run continues from."""
        if blocking:
            snapshot: StateSnapshot = self._graph.get_state(self._config)
        else:
            snapshot = await self._graph.aget_state(self._config)
        return snapshot

    def check_forgets(self) -> None:
        """Check that the checkpointer can remove what a run wrote.

        Raises:
            ConfigurationError: It cannot.
        """
        saver = type(self._saver)
        can = saver.delete_for_runs is not BaseCheckpointSaver.delete_for_runs
        can = can or saver.adelete_for_runs is not BaseCheckpointSaver.adelete_for_runs
        if not (can or isinstance(self._saver, InMemorySaver)):
            raise ConfigurationError(
                f"the checkpointer {saver.__name__} cannot remove what a run wrote (it has no delete_for_runs), which "
                "the strategy 'rollback' needs; use Production or the strategy 'interrupt'"
            )

    async def forget(self, run_ids: Sequence[str], *, blocking: bool) -> None:
        """Remove the checkpoints and writes of runs, by the `run_id` in their metadata."""
        if isinstance(self._saver, InMemorySaver):
            _forget_in_memory(self._saver, self._thread_id, run_ids)
        elif blocking:
            self._saver.delete_for_runs(run_ids)
        else:
            await self._saver.adelete_for_runs(run_ids)


def _forget_in_memory(saver: InMemorySaver, thread_id: str, run_ids: Sequence[str]) -> None:
    for namespace, checkpoints in saver.storage.get(thread_id, {}).items():
        for id, (_, metadata, _) in tuple(checkpoints.items()):
            if saver.serde.loads_typed(metadata).get("run_id") in run_ids:
                del checkpoints[id]
                saver.writes.pop((thread_id, namespace, id), None)
