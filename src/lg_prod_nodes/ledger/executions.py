"""Which execution of which task makes a model call, and how an execution ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from langgraph.constants import CONFIG_KEY_CHECKPOINTER
from langgraph.runtime import ExecutionInfo

from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.run import task_ids

_PROCESS = os.urandom(4).hex()  # tells executions of two processes apart


@dataclass(slots=True)
class Execution:
    """An execution of a task, whose result LangGraph keeps or drops as one.

    Attributes:
        info: LangGraph's description of it.
        around: The execution of the node that the task's graph is.
        is_used: Whether calls in it, or in others of its task, may depend on how it ends.
    """

    info: ExecutionInfo
    around: Execution | None = None
    is_used: bool = False

    @property
    def task(self) -> str:
        """The task."""
        return f"{self.info.thread_id}:{self.info.task_id}"

    @property
    def name(self) -> str:
        """Which execution of the task it is."""
        return f"{_PROCESS}:{self.info.node_first_attempt_time}:{self.info.node_attempt}"

    @classmethod
    def begin(cls, call: Call) -> Execution | None:
        """The execution that an attempt of a node is, or belongs to: without a checkpointer, the outermost node's.

        `None` outside of a graph.
        """
        info = call.runtime.execution_info if call.runtime is not None else None
        if info is None:
            return None
        executions = call.run.charges.executions
        around = [execution for task, execution in _known(call) if task != info.task_id]
        execution = cls(info, around[0] if around else None, call.attempt > 1)
        before = executions.get(info.task_id)
        if around and call.config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER) is None:
            execution = around[-1]
        elif before is not None and before.name == execution.name:  # two policies at one node
            execution = before
        for outer in around:
            outer.is_used = True
        executions[info.task_id] = execution
        return execution

    @classmethod
    def of(cls, call: Call) -> Execution | None:
        """The execution that a model call belongs to, `None` where no attempt of a node is heard."""
        return next((execution for _, execution in _known(call)), None)

    def within(self) -> tuple[tuple[str, str], ...]:
        """The tasks around and their executions, the innermost first."""
        around = self.around
        return () if around is None else ((around.task, around.name), *around.within())

    def is_kept(self, call: Call, error: BaseException | None) -> bool:
        """Whether an attempt that ended so is the one whose result LangGraph keeps, and calls depend on that."""
        return self.is_used and self.task == call.task and call.outcome(error) == "ok"


def _known(call: Call) -> Iterator[tuple[str, Execution]]:
    """The executions that a call is made in, the innermost first, by LangGraph's ids of their tasks."""
    executions: dict[str, Execution] = call.run.charges.executions
    if executions:
        for task in task_ids(call.config.get("metadata") or {}):
            if task in executions:
                yield task, executions[task]
