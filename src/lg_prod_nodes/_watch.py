"""What LangChain's and LangGraph's own callbacks say of a run, told as facts: model calls and interrupts."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent

from lg_prod_nodes.call import Call
from lg_prod_nodes.run import Usage, node_path


class RunWatch(GraphCallbackHandler):
    """Counts every model call made below a call, streamed ones and those of tools and subgraphs too.

    Counting happens when a model call ends, so a failed attempt of a node counts what it really spent.
    """

    run_inline = True

    def __init__(self, call: Call) -> None:
        self._call = call
        self._open: dict[UUID, tuple[str, str | None, float]] = {}
        self._lock = threading.Lock()

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
        """Note which model is called, and where."""
        self._begin(run_id, kwargs)

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note which model is called, and where."""
        self._begin(run_id, kwargs)

    def _begin(self, run_id: UUID, kwargs: Mapping[str, Any]) -> None:
        metadata = kwargs.get("metadata") or {}
        model = metadata.get("ls_model_name") or kwargs.get("name") or "unknown"
        with self._lock:
            self._open[run_id] = (model, node_path(metadata), self._call.now())

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell what the model call spent."""
        message = _message(response)
        reported = message.response_metadata.get("model_name") if message else None
        self._tell(run_id, _usage(message), model=reported)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell what a failed or cut model call spent, as far as it came."""
        message = _message(kwargs.get("response"))
        if message is not None and message.usage_metadata:
            self._tell(run_id, _usage(message))
        else:
            with self._lock:
                self._open.pop(run_id, None)

    def _tell(self, run_id: UUID, usage: Usage, *, model: str | None = None) -> None:
        with self._lock:
            name, node, start = self._open.pop(
                run_id, ("unknown", self._call.node, self._call.now())
            )
        told = self._call.replace(
            kind="model", name=model or name, node=node or self._call.node, input=None
        )
        seconds = self._call.now() - start
        told.emit("model_called", once=run_id, id=str(run_id), usage=usage, seconds=seconds)


def watched(config: RunnableConfig | None, call: Call) -> RunnableConfig:
    """The config with a watch on what is called below it, all else as it was."""
    watching = RunnableConfig() if config is None else config.copy()
    callbacks = watching.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.add_handler(RunWatch(call))
        watching["callbacks"] = manager
    else:
        watching["callbacks"] = [*(callbacks or []), RunWatch(call)]
    return watching


@contextmanager
def watching(call: Call) -> Generator[RunnableConfig, None, None]:
    """Watch the model calls made inside of the block, through the ambient config."""
    config = watched(call.config, call)
    token = var_child_runnable_config.set(config)
    try:
        yield config
    finally:
        var_child_runnable_config.reset(token)


def _usage(message: AIMessage | None) -> Usage:
    return Usage.of(cast("Mapping[str, Any] | None", message.usage_metadata) if message else None)


def _message(response: LLMResult | None) -> AIMessage | None:
    generation = (
        next((g for gs in response.generations for g in gs), None) if response is not None else None
    )
    message = generation.message if isinstance(generation, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None
