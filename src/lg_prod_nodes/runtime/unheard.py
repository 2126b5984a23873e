"""A node's sequence that tells no one of its chain when no callback handler listens to chains.

LangGraph makes callback managers, child configs and, if asynchronous, a task around every node and edge, heard or not.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.utils.uuid import uuid7
from langgraph.types import TracePolicy

from lg_prod_nodes.core.engine import InContext
from lg_prod_nodes.runtime.langgraph import PregelNode, RunnableSeq


def unheard(node: PregelNode) -> PregelNode:
    """The node, changed in place so that it tells no one of its chain when no callback handler listens to chains."""
    sequence = node.node
    if type(sequence) is RunnableSeq and not _is_recorded(sequence):
        vars(node)["node"] = _Unheard(*sequence.steps, name=sequence.name)
    return node


def _is_recorded(sequence: RunnableSeq) -> bool:
    return sequence.trace_inputs is not None or sequence.trace_policy != TracePolicy()


class _Unheard(RunnableSeq):
    """A node and its writers, without the callback managers and the task that only a listener to chains needs."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node and its writers."""
        inner = _inner_config(config)
        if inner is None:
            return super().invoke(input, config, **kwargs)
        node, *writers = self.steps
        value = _context_of(inner).run(node.invoke, input, inner, **kwargs)
        for writer in writers:
            value = writer.invoke(value, inner)
        return value

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node and its writers."""
        inner = _inner_config(config)
        if inner is None:
            return await super().ainvoke(input, config, **kwargs)
        node, *writers = self.steps
        context = _context_of(inner)
        value = await InContext(context, context.run(node.ainvoke, input, inner, **kwargs))
        for writer in writers:
            value = await writer.ainvoke(value, inner)
        return value


def _context_of(config: RunnableConfig) -> Context:
    context = copy_context()
    context.run(var_child_runnable_config.set, config)
    return context


def _inner_config(config: RunnableConfig | None) -> RunnableConfig | None:
    """The config for what a sequence runs; `None` if a callback handler listens to chains.

    It holds the callback manager that LangGraph would make: a child of a run whose start nobody hears.
    """
    manager = config.get("callbacks") if config is not None else None
    if config is None or not isinstance(manager, BaseCallbackManager):
        return None
    for handler in manager.handlers:
        if not handler.ignore_chain:
            return None
    handlers, tags = manager.inheritable_handlers, manager.inheritable_tags
    child = type(manager)(
        [*handlers],
        [*handlers],
        uuid7(),
        tags=[*tags],
        inheritable_tags=[*tags],
        inheritable_metadata=manager.inheritable_metadata,
    )
    child.add_tags(config.get("tags") or [])
    child.tags.append("seq:step:1")
    child.add_metadata(config.get("metadata") or {})
    child.metadata = {**child.inheritable_metadata}
    inner = config.copy()
    inner["callbacks"] = child
    inner.pop("run_name", None)
    inner.pop("run_id", None)
    return inner
