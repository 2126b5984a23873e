"""The scope of a guarded node: the policies for what it calls, and for output that bypasses its result.

A node's function calls models, tools, graphs and stores directly, so nothing around the node can change their input or
hold back their streams. A scope is a light record of the running call, in a context variable. Everything that the node
calls looks it up (`patches.py`, `models.py`); nothing is prepared in advance.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from lg_prod_nodes.content.clean import clean_messages
from lg_prod_nodes.content.config import with_settings
from lg_prod_nodes.content.functions import Arguments, filtered_function
from lg_prod_nodes.content.payload_stream import PayloadStream
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.engine import Wrap
from lg_prod_nodes.core.filters import NO_TEXTS, Texts
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.runtime.langgraph import does_nothing, note_progress, runtime_in, with_parts
from lg_prod_nodes.runtime.retry import task_retries
from lg_prod_nodes.runtime.stores import FilteredStore


@dataclass(frozen=True)
class InnerPolicies:
    """The policies of a node, or of an agent's middleware, for what is called inside it.

    Attributes:
        model: The `wrap` methods around models, outermost first.
        tool: The `wrap` methods around tools.
        retriever: The `wrap` methods around retrievers, which policies treat as tools.
        changing: How many of the wraps around a model may change its output.
        content: The policies in the role `content`, for graphs called here.
    """

    model: tuple[Wrap, ...] = ()
    tool: tuple[Wrap, ...] = ()
    retriever: tuple[Wrap, ...] = ()
    changing: int = 0
    content: tuple[Any, ...] = ()

    def around(self, inner: InnerPolicies) -> InnerPolicies:
        """These policies with others inside them."""
        return InnerPolicies(
            self.model + inner.model,
            self.tool + inner.tool,
            self.retriever + inner.retriever,
            self.changing + inner.changing,
            self.content + inner.content,
        )

    @cached_property
    def is_empty(self) -> bool:
        """Whether no inner call meets a policy."""
        return not (self.model or self.tool or self.retriever or self.content)


class Scope:
    """A running guarded call, and the policies for what it calls; opened for a block, which gets the config to use.

    Args:
        call: The call.
        policies: The policies for what it calls.
        config: The config meant for the call's own function.
        outer: The filters of the policies around the agent, for a model that middleware calls.
        calls_tasks: Whether the call is a workflow of the functional API, which calls tasks.
    """

    __slots__ = (
        *("call", "outer", "policies", "texts"),
        *("_ambient", "_calls_tasks", "_config", "_place", "_token", "_writer"),
    )

    def __init__(
        self,
        call: Call,
        policies: InnerPolicies,
        config: RunnableConfig | None = None,
        outer: Texts = NO_TEXTS,
        *,
        calls_tasks: bool = False,
    ) -> None:
        self.call = call
        self.policies = policies
        self.outer = outer
        self.texts = Texts(outer.filters) if outer.filters else NO_TEXTS
        if policies.content and not outer.filters:
            # Taken before the node runs, because it may change a message in place.
            self.texts = Texts(clean=clean_messages(call.input))
        self._config, self._calls_tasks = config, calls_tasks
        self._writer: PayloadStream | None = None
        self._ambient: Token[RunnableConfig | None] | None = None

    def inner(self, kind: Kind, name: str, **changes: Any) -> Call:
        """A call made inside this one."""
        return self.call.replace(kind=kind, name=name, texts=self.texts, **changes)

    def buffers(self, call: Call) -> bool:
        """Whether a policy may change a model's output but cannot do so piece by piece."""
        return len(call.texts.filters) - len(self.outer.filters) < self.policies.changing

    def __enter__(self) -> RunnableConfig | None:
        call, config = self.call, self._config
        if config is not None and (call.texts.filters or self._calls_tasks):
            config = self._changed(config, call)
            self._ambient = var_child_runnable_config.set(config)
        self._token = SCOPE.set(self)
        # Threads that lack the context look the scope up here, if there is a policy to find.
        self._place = "" if self.policies.is_empty else _namespace(call.config.get("metadata"))
        if self._place:
            OPEN.setdefault(self._place, []).append(self)
        return config

    def __exit__(self, *_: object) -> None:
        if self._place:
            open_there = OPEN[self._place]
            open_there.remove(self)
            if not open_there:
                del OPEN[self._place]
        SCOPE.reset(self._token)
        try:
            if self._writer is not None:
                self._writer.flush()  # LangGraph's own writer reads the ambient config
        finally:
            if self._ambient is not None:
                var_child_runnable_config.reset(self._ambient)

    def _changed(self, config: RunnableConfig, call: Call) -> RunnableConfig:
        """The config with filters on what leaves through it: custom stream, store and tasks."""
        runtime, filters = runtime_in(config), call.texts.filters
        retries = partial(task_retries, call=call)
        if runtime is None or not filters:
            return with_parts(config, retries=retries)
        changes: dict[str, Any] = {}
        if not does_nothing(runtime.stream_writer):
            held = partial(note_progress, runtime)
            self._writer = PayloadStream(runtime.stream_writer, filters, held)
            changes["stream_writer"] = self._writer
        if runtime.store is not None:
            changes["store"] = FilteredStore(runtime.store, call.texts.filtered)
        changed = with_parts(
            config,
            runtime=runtime.override(**changes) if changes else None,
            guard=partial(_guarded_task, call=call),
            retries=retries,
        )
        return with_settings(changed, config)


SCOPE: ContextVar[Scope | None] = ContextVar("scope", default=None)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
OPEN: dict[str, list[Scope]] = {}
"""The open scopes, by their nodes' LangGraph namespace, for threads that lack the context."""


def current_scope(args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NOTHING) -> Scope | None:
    """The scope of a call: the ambient one, or that of the node whose config the call was given.

    Args:
        args: The positional arguments of the call; a config is the second.
        kwargs: Its keyword arguments.
    """
    scope = SCOPE.get()
    if scope is not None or not OPEN:
        return scope
    config = kwargs.get("config") or (args[1] if len(args) > 1 else None)
    if not isinstance(config, Mapping):
        config = var_child_runnable_config.get() or _NOTHING
    place = _namespace(kwargs.get("metadata")) or _namespace(config.get("metadata"))
    while place:
        if open_there := OPEN.get(place):
            return open_there[-1]
        place = place.rpartition("|")[0]
    return None


def _namespace(metadata: Any) -> str:
    first = metadata[0] if isinstance(metadata, list) and metadata else metadata
    return first.get("langgraph_checkpoint_ns") or "" if isinstance(first, Mapping) else ""


def _guarded_task(function: Any, given: Arguments, call: Call) -> tuple[Any, Arguments]:
    """A task's function, which gets the original arguments, and the arguments as LangGraph may show them."""
    guarded = filtered_function(function, call, before=lambda args, kwargs: given)
    return guarded, rewrite(given, call.texts.filtered)
