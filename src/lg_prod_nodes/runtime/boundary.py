"""The boundary of a hardened graph: all its runs and state updates pass through here.

Every public entry point of a compiled graph ends in `stream`, `astream`, `bulk_update_state` or `abulk_update_state`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from contextvars import ContextVar
from copy import copy
from functools import cache, update_wrapper
from types import FunctionType
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.constants import START
from langgraph.errors import GraphDrained
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from lg_prod_nodes.content.config import with_settings, without_content
from lg_prod_nodes.content.history import as_update
from lg_prod_nodes.core.call import Call, PausedThread, Unrecoverable, outcome_of
from lg_prod_nodes.core.caller import is_authenticated
from lg_prod_nodes.core.engine import Flow, act, drive, drive_astream, drive_stream, shortened
from lg_prod_nodes.core.errors import ShuttingDown
from lg_prod_nodes.core.run import Run, run_of
from lg_prod_nodes.core.saved import SavedThread
from lg_prod_nodes.core.tracebacks import raise_again
from lg_prod_nodes.runtime.callbacks import watched
from lg_prod_nodes.runtime.events import filtered_events, tell_of
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT
from lg_prod_nodes.runtime.langgraph import ensure_config, is_served, runtime_in, without_defaults
from lg_prod_nodes.runtime.placement import Hardening
from lg_prod_nodes.runtime.work import digest_of_key, is_repeated, with_key, work_of

_REPLY_NODE = "__reply__"
_REPLY: ContextVar[Any] = ContextVar("reply")


def set_boundary(graph: Any, hardening: Hardening, *, plain: Any) -> None:
    """Send a compiled graph's runs through its policies.

    Args:
        graph: The compiled graph, changed in place.
        hardening: Its policies.
        plain: The graph before hardening, used for drawings.
    """
    vars(graph).update(_hardening=hardening, _plain=plain)
    graph.__class__ = _bounded(cast(Any, type(graph)))


def hardening_of(graph: object) -> Hardening | None:
    """The policies of a hardened graph or builder; `None` for any other object."""
    return vars(graph).get("_hardening")


@cache
def _bounded(cls: Any) -> type[Any]:
    # The new class derives from the graph's class alone. A mixin would change the object's layout, and Python would
    # refuse `graph.__class__ = ...`. So the methods are copied from a class that is not a base.
    methods = {
        name: _with_signature_of(getattr(cls, name), method)
        for name, method in vars(_Boundary).items()
        if isinstance(method, FunctionType)
    }
    return type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__, "_native": cls})


def _with_signature_of(native: Any, method: FunctionType) -> Any:
    """A copy of a method that `inspect` and `help` show like the one that it overrides."""
    code, names = method.__code__, method.__globals__
    copied = FunctionType(code, names, method.__name__, method.__defaults__, method.__closure__)
    return update_wrapper(copied, native)


class _Boundary:
    """The methods that override those of a hardened graph's own class."""

    _native: Any
    _hardening: Hardening
    _plain: Any

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        if not (self._hardening.guards_runs or digest_of_key(config)):
            return cast(Iterator[Any], self._native.stream(self, input, config, **kwargs))
        return drive_stream(lambda: Passage(self, input, config, kwargs, blocking=True).run())

    def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        if not (self._hardening.guards_runs or digest_of_key(config)):
            return cast(AsyncIterator[Any], self._native.astream(self, input, config, **kwargs))
        return drive_astream(lambda: Passage(self, input, config, kwargs, blocking=False).run())

    def astream_events(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        if not self._hardening.guards_runs or kwargs.get("version") == "v3":  # filtered as a stream
            return self._native.astream_events(self, input, config, **kwargs)
        return filtered_events(self._native.astream_events, self, input, config, kwargs)

    def astream_log(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        if not self._hardening.guards_runs:
            return self._native.astream_log(self, input, config, **kwargs)
        return filtered_events(self._native.astream_log, self, input, config, kwargs)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Any) -> Any:
        async def handler(call: Call) -> Any:
            return self._native.bulk_update_state(self, call.config, call.input)

        return drive(Passage(self, supersteps, config, {}, blocking=True).update(handler))

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Any) -> Any:
        async def handler(call: Call) -> Any:
            return await self._native.abulk_update_state(self, call.config, call.input)

        passage = Passage(self, supersteps, config, {}, blocking=False)
        return await shortened(passage.update(handler))

    def copy(self, update: dict[str, Any] | None = None) -> Any:
        clone = self._native.copy(self, update)
        for name in ("_hardening", "_plain"):
            vars(clone)[name] = vars(self)[name]
        return clone

    def get_graph(self, *args: Any, **kwargs: Any) -> Any:
        drawn = copy(self)
        vars(drawn)["nodes"] = self._plain.nodes
        return self._native.get_graph(drawn, *args, **kwargs)

    async def aget_graph(self, *args: Any, **kwargs: Any) -> Any:
        drawn = copy(self)
        vars(drawn)["nodes"] = self._plain.nodes
        return await self._native.aget_graph(drawn, *args, **kwargs)


class Passage:
    """One run or state update passing through the boundary."""

    def __init__(
        self,
        graph: Any,
        input: Any,
        config: RunnableConfig | None,
        kwargs: dict[str, Any],
        *,
        blocking: bool,
    ) -> None:
        self._graph = graph
        self._server, self._native = graph, graph._native
        self._stack = graph._hardening.run
        full = ensure_config(graph.config, config)
        runtime = runtime_in(full)
        outer = run_of(runtime)
        given = kwargs.get("control")
        self._is_root = outer is None or (isinstance(given, Run) and given is not outer)
        self._run = self._run_inside(outer, given) or self._begin(full, **kwargs)
        self._had_no_thread = self._run.saved is None
        self._key = digest_of_key(full) if self._is_root else None
        self._call = Call.made(
            kind="run",
            name=graph.get_name(),
            input=input,
            run=self._run,
            config=full,
            runtime=runtime,
            blocking=blocking,
            observers=self._stack.observers,
        )
        self._given = config
        self._config = watched(config, self._call) if self._is_root else config
        self._kwargs = kwargs if self._run is outer else {**kwargs, "control": self._run}

    def _run_inside(self, outer: Run | None, control: Any) -> Run | None:
        if outer is None or self._is_root:
            return None
        return outer if control in (None, outer) else outer.under(control)

    def _begin(
        self, config: RunnableConfig, *, context: Any = None, control: Any = None, **_: Any
    ) -> Run:
        run = control if isinstance(control, Run) else Run(control)
        run.clock = self._stack.clock
        run.start(self._graph.get_name(), config, context=context)
        run.is_claimed = is_served() and not is_authenticated(config, runtime=runtime_in(config))
        run.content.saver = id(self._graph.checkpointer) if self._graph.checkpointer else None
        run.observers = self._stack.observers
        run.saved = None if is_served() else SavedThread.of(self._graph, config)
        return run

    async def run(self) -> None:
        """Send a run through the policies and record its outcome."""
        error: BaseException | None = None
        try:
            await self._counted() if self._is_root else await self._go()
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._is_root:
                self._run.report.outcome = self._run.outcome(outcome_of(error))

    async def _counted(self) -> None:
        """Run, unless the process is shutting down."""
        with IN_FLIGHT.held(self._run, self._graph._hardening) as may_begin:
            if not may_begin:
                await self._turned_away()
            try:
                await self._go()
            except GraphDrained:
                if is_served() and IN_FLIGHT.is_draining:
                    # The server's queue reads this as a lost worker and gives the run to another one.
                    raise asyncio.CancelledError from None
                raise

    async def _turned_away(self) -> None:
        if not self._call.is_outermost:  # a step of an active run: it stops with that run
            self._run.request_drain()
        elif is_served() and not self._call.blocking:  # wait until the server cancels its queue
            await asyncio.get_running_loop().create_future()
        else:
            await self._call.refuse(ShuttingDown())

    async def _go(self) -> None:
        call = self._call
        if isinstance(self._graph, CompiledStateGraph):
            call = call.replace(answer_with=self._answer)  # a copy: no cycle
        if self._is_root:
            work = await work_of(self._graph, call.input, call.config, blocking=call.blocking)
            self._run.charges.work = work
            call = call.replace(resumed=work.origin == "resumed")
        await act(self._stack.wraps("run"), call, self._serve)

    async def update(self, handler: Any) -> Any:
        """Send a state update through the policies."""
        config = None  # the thread's new config, which is no content for the policies

        async def kept(call: Call) -> None:
            nonlocal config
            cleaned = without_content(self._given or RunnableConfig(), call)
            config = with_settings(await handler(call.replace(config=cleaned)), cleaned)

        call = self._call.replace(kind="update")
        await act(self._stack.wraps("update"), call, kept)
        return config

    async def _serve(self, call: Call) -> None:
        config = self._config
        if call.texts.filters:
            config = without_content(config or RunnableConfig(), call)
            if self._is_root:
                self._run.content.filters = call.texts.filters
            tell_of(self._run)
        if self._is_root and self._run.stamp:
            config = _stamped(config, self._run.stamp)
        if (key := self._key) is not None:
            config = with_key(config, key)
            if await self._is_repeated(call, key):
                call = call.replace(input=None)
        arguments = (self._server, call.input, config)
        try:
            if call.blocking:
                with closing(self._native.stream(*arguments, **self._kwargs)) as chunks:
                    await Flow(chunks)
            else:
                async with aclosing(self._native.astream(*arguments, **self._kwargs)) as chunks:
                    await Flow(chunks)
        except Unrecoverable as carried:
            raise_again(carried.error)

    async def _is_repeated(self, call: Call, key: str) -> bool:
        """Whether to drop the input: asked here, where a policy may have waited for the thread."""
        if call.input is None or isinstance(call.input, Command) or self._server is not self._graph:
            return False
        return await is_repeated(self._graph, call.config, key, blocking=call.blocking)

    async def _answer(self, call: Call, reply: Any) -> None:
        """Answer with the reply instead of the graph, as a run of the same thread: state gets both input and reply."""
        has_messages = "messages" in self._graph.channels
        may_write = self._run.saved is not None or self._had_no_thread
        if (isinstance(reply, str) and not has_messages) or (
            may_write and await self._is_paused(call)
        ):
            raise PausedThread
        self._run.answered = self._run.answered or self._is_root
        self._server, self._native = _reply_graph(self._graph), cast(Any, CompiledStateGraph)
        if not may_write:
            self._server.checkpointer = None
        for name in ("interrupt_before", "interrupt_after"):
            self._kwargs.pop(name, None)
        token = _REPLY.set(await as_update(call, reply))
        if call.input is None or isinstance(call.input, Command):
            update = call.input.update if call.input is not None else None
            call = call.replace(input=Command(update=update, goto=_REPLY_NODE))
        try:
            await act(self._stack.wraps("run", role="content"), call, self._serve)
        finally:
            _REPLY.reset(token)

    async def _is_paused(self, call: Call) -> bool:
        configurable = call.config.get("configurable", {})
        if not (self._is_root and self._graph.checkpointer and "thread_id" in configurable):
            return False
        if call.blocking:
            state = self._graph.get_state(call.config)
        else:
            state = await self._graph.aget_state(call.config)
        breaks = self._graph.interrupt_before_nodes or self._graph.interrupt_after_nodes
        return bool(state.interrupts) or bool(breaks and state.next)


def _stamped(config: RunnableConfig | None, run_id: str) -> RunnableConfig:
    """A config whose checkpoints can be found, and removed, by a `run_id` in their metadata.

    LangGraph takes a run for a continuation if its thread's latest checkpoint has the same; this one occurs once only.
    """
    config = config or RunnableConfig()
    return {**config, "metadata": {**(config.get("metadata") or {}), "run_id": run_id}}


def _reply_graph(graph: Any) -> Any:
    """A graph with the same channels and a single node, which replies; no user node ever runs."""
    if "_replying" not in vars(graph):
        builder = without_defaults(vars(graph)["_plain"].builder)
        builder.edges = {(start, end) for start, end in builder.edges if start != START}
        builder.branches.pop(START, None)
        builder.add_node(_REPLY_NODE, cast(Any, _reply))
        builder.add_edge(START, _REPLY_NODE)
        compiled = builder.compile(name=graph.name)
        compiled.nodes = {name: compiled.nodes[name] for name in (START, _REPLY_NODE)}
        vars(graph)["_replying"] = compiled.validate()
    replying = copy(vars(graph)["_replying"])
    replying.checkpointer, replying.store = graph.checkpointer, graph.store
    replying.config = graph.config
    return replying


def _reply(_: Any) -> Any:
    return _REPLY.get()
