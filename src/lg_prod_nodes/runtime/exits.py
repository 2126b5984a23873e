"""What leaves a node by other ways than its result: what it writes to the custom stream and puts into the store."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import cache
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore, Op, PutOp

from lg_prod_nodes.content.config import with_settings
from lg_prod_nodes.content.functions import Arguments, filtered_function
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.runtime.calls import Place, lead
from lg_prod_nodes.runtime.langgraph import runtime_in, with_runtime, with_tasks

_NO_WRITER = Runtime.__dataclass_fields__["stream_writer"].default


@contextmanager
def filtered_exits(call: Call, config: RunnableConfig | None) -> Generator[RunnableConfig | None]:
    """The config of a node whose ways out are filtered, ambient inside of the block."""
    runtime = runtime_in(config) if config is not None else None
    if config is None or runtime is None or not call.texts.filters:
        yield config
        return
    if runtime.store is not None:
        _lead_store(type(runtime.store))
    writer: Any = runtime.stream_writer
    if writer is not _NO_WRITER:
        writer = PayloadStream(writer, call.texts.filters)
        runtime = runtime.override(stream_writer=writer)
    patched = with_settings(with_runtime(config, runtime), config)
    patched = with_tasks(patched, lambda function, given: _guarded_task(function, given, call))
    token = var_child_runnable_config.set(patched)
    try:
        try:
            yield patched
        finally:
            if isinstance(writer, PayloadStream):
                writer.flush()  # LangGraph's own writer asks for the ambient config
    finally:
        var_child_runnable_config.reset(token)


def _guarded_task(function: Any, given: Arguments, call: Call) -> tuple[Any, Arguments]:
    """A task's function, which gets what it was given, and the arguments as LangGraph may show them."""
    guarded = filtered_function(function, call, before=lambda args, kwargs: given)
    return guarded, rewrite(given, call.texts.filtered)


@cache
def _lead_store(cls: type[BaseStore]) -> None:
    """Let the filters around a node reach the stores of a class: a node is to get the very store that it was given."""
    for name in ("put", "aput"):
        lead(cls, name, _put)
    for name in ("batch", "abatch"):
        lead(cls, name, _batch)


def _put(
    place: Place,
    native: Any,
    store: Any,
    namespace: Any,
    key: Any,
    value: Any,
    *args: Any,
    **kw: Any,
) -> Any:
    return native(store, namespace, key, rewrite(value, place.call.texts.filtered), *args, **kw)


def _batch(place: Place, native: Any, store: Any, ops: Iterable[Op]) -> Any:
    return native(store, [_filtered(op, place.call) for op in ops])


def _filtered(op: Op, call: Call) -> Op:
    if not isinstance(op, PutOp) or op.value is None:
        return op
    return op._replace(value=rewrite(op.value, call.texts.filtered))
