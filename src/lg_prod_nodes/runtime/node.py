"""A node's runnable with policies around it, otherwise identical to the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from copy import copy
from functools import cached_property, partial
from typing import Any, NoReturn, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import NodeCancelledError
from langgraph.pregel import Pregel
from langgraph.types import RetryPolicy, Send

from lg_prod_nodes.content.walk import Rewrite, rewrite
from lg_prod_nodes.core.call import Call, Handler, Unrecoverable
from lg_prod_nodes.core.engine import (
    Chunk,
    Flow,
    act,
    chained,
    drive,
    drive_astream,
    drive_stream,
    shortened,
)
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.run import current_run
from lg_prod_nodes.core.tracebacks import raise_again, shorten
from lg_prod_nodes.runtime.chain import flattened
from lg_prod_nodes.runtime.langgraph import (
    RunnableCallable,
    ensure_config,
    has_native_async,
    is_sent,
    runtime_in,
    with_noted_threads,
)
from lg_prod_nodes.runtime.placement import Stack
from lg_prod_nodes.runtime.retry import Attempts, guarded_retries
from lg_prod_nodes.runtime.scope import SCOPE, Scope


class GuardedNode(RunnableCallable):
    """Sends each attempt of a node through a stack of policies.

    LangGraph drives nodes through `invoke` and `ainvoke`, or through `stream` and `astream` if events are read, so all
    four are guarded. A policy that may change a result gets it whole, before a stream passes it on.

    Args:
        inner: The node's own runnable.
        name: The node's name.
        path: The node's path through its subgraphs.
        stack: The policies.
        recoverers: The policies that recover once the node has finally failed.
        calls_tasks: Whether the node is a workflow of the functional API.
        mapper: Coerces the state to the node's schema, if that has to wait for the policies.
    """

    def __init__(
        self,
        inner: Runnable[Any, Any],
        name: str,
        path: str,
        stack: Stack,
        *,
        recoverers: Sequence[Policy] = (),
        calls_tasks: bool = False,
        mapper: Callable[[Any], Any] | None = None,
    ) -> None:
        if isinstance(inner, RunnableCallable):
            vars(self).update(vars(inner))
            inner = with_noted_threads(inner, noted)
        else:
            # LangGraph finds a node's subgraphs in the closure of `func`, and takes a missing `afunc` to mean that
            # the node is not async.
            def func(input: Any, config: RunnableConfig) -> Any:
                return inner.invoke(input, config)

            async def afunc(input: Any, config: RunnableConfig) -> Any:
                return await inner.ainvoke(input, config)

            native = afunc if has_native_async(inner) else None
            super().__init__(func, native, name=inner.get_name(), trace=False)
        self._inner, self._runs = inner, flattened(inner)
        self._node_name = name
        self._path = path
        self._stack = stack
        self._recoverers = [r for p in recoverers if (r := p.recovery) is not None]
        self._strict = (*recoverers, *(p for p, _ in stack.placed if p.recovery is None))
        self._wraps = stack.wraps("node")
        self._buffers = stack.changes("node")
        # A graph used as a node has its own boundary, and its nodes have their own scopes.
        self._is_graph = isinstance(inner, Pregel)
        self._calls_tasks = calls_tasks
        self._mapper = mapper
        self._attempts: Attempts | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def inner(self) -> Runnable[Any, Any]:
        """The node's own runnable."""
        return self._inner

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run one attempt."""
        call = self._begin(input, config, blocking=True)
        chain = self._chained(partial(self._invoked, **kwargs)) if kwargs else self._chain
        try:
            return drive(chain(call))
        except (Unrecoverable, asyncio.CancelledError) as error:
            self._raise(call, error)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run one attempt."""
        call = self._begin(input, config, blocking=False)
        chain = self._chained(partial(self._ainvoked, **kwargs)) if kwargs else self._achain
        try:
            return await chain(call)
        except (Unrecoverable, asyncio.CancelledError) as error:
            self._raise(call, error)
        except Exception as error:
            shorten(error)
            raise

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Run one attempt and stream its output."""
        passed = _Passed()

        async def handler(call: Call) -> Any:
            with self._scope(call) as inner:
                chunks = self._runs.stream(call.input, inner, **kwargs)
                if not self._buffers:
                    await Flow(map(passed.note, chunks))
                    return passed.last
                return _joined(list(chunks))

        yield from drive_stream(lambda: self._flow(input, config, handler, passed, blocking=True))

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Run one attempt and stream its output."""
        passed = _Passed()

        async def handler(call: Call) -> Any:
            with self._scope(call) as inner:
                chunks = self._runs.astream(call.input, inner, **kwargs)
                if not self._buffers:
                    await Flow(passed.note(chunk) async for chunk in chunks)
                    return passed.last
                return _joined([chunk async for chunk in chunks])

        flow = drive_astream(lambda: self._flow(input, config, handler, passed, blocking=False))
        async with aclosing(flow) as chunks:
            async for chunk in chunks:
                yield chunk

    @cached_property
    def _chain(self) -> Handler:
        return self._chained(self._invoked)

    @cached_property
    def _achain(self) -> Handler:
        return self._chained(self._ainvoked)

    def _chained(self, handler: Handler) -> Handler:
        if self._mapper is not None:
            handler = _after(self._mapper, handler)
        return chained(self._wraps, handler)

    async def _invoked(self, call: Call, **kwargs: Any) -> Any:
        with self._scope(call) as config:
            return self._runs.invoke(call.input, config, **kwargs)

    async def _ainvoked(self, call: Call, **kwargs: Any) -> Any:
        with self._scope(call) as config:
            return await self._runs.ainvoke(call.input, config, **kwargs)

    def _scope(self, call: Call) -> AbstractContextManager[RunnableConfig | None]:
        if self._is_graph:
            return nullcontext(call.config)
        return Scope(call, self._stack.inner, call.config, calls_tasks=self._calls_tasks)

    async def _flow(
        self,
        input: Any,
        config: RunnableConfig | None,
        handler: Handler,
        passed: _Passed,
        *,
        blocking: bool,
    ) -> None:
        call = self._begin(input, config, blocking=blocking)
        try:
            result = await self._chained(handler)(call)
        except (Unrecoverable, asyncio.CancelledError) as error:
            self._raise(call, error)
        if not (passed.any and passed.last is result):
            await Chunk(result)  # held back, changed, or answered instead of the node

    def _begin(self, input: Any, config: RunnableConfig | None, *, blocking: bool) -> Call:
        config = ensure_config() if config is None else config
        call = self._stack.node_call(
            self._node_name, self._path, input, config, runtime_in(config), blocking=blocking
        )
        if call.attempt > 1 and call.run.drain_requested:
            raise call.run.drained()
        if self._attempts is not None:
            self._attempts.begin(call)
        return call

    def _raise(self, call: Call, error: Unrecoverable | asyncio.CancelledError) -> NoReturn:
        """Raise what ends an attempt, while the error is handled."""
        if isinstance(error, Unrecoverable):  # from a subgraph's node
            raise_again(error.error)
        if self._attempts is None or not _is_of_the_node(call):
            raise error
        # As LangGraph does outside of this runnable, but in time for the recovering policies.
        self._attempts.cancelled_itself(call)
        raise NodeCancelledError(self._node_name) from error

    def retries(self, given: Sequence[RetryPolicy]) -> list[RetryPolicy] | None:
        """The node's retry policies, guarded; `None` if nothing affects how its attempts end."""
        if not (given or self._recoverers or any(map(_may_give_up, self._strict))):
            return None
        self._attempts = Attempts()
        return guarded_retries(given, self._attempts, self)

    def gives_up(self, error: Exception) -> Exception | None:
        """The error that ends the node's attempts at once, whatever its retry policy says."""
        if self._recovers_from(error) or not any(p.gives_up(error) for p in self._strict):
            return None
        return Unrecoverable(error)

    def last_error(self, error: Exception) -> Exception:
        """The error that ends the node's attempts. If nothing recovers from it, it bypasses LangGraph's handlers.

        Otherwise LangGraph would resume the handler instead of the node.
        """
        if not self._recoverers or self._recovers_from(error):
            return error
        return Unrecoverable(error)

    def _recovers_from(self, error: Exception) -> bool:
        return any(recovery.covers(error) for recovery in self._recoverers)


def _after(mapper: Callable[[Any], Any], handler: Handler) -> Handler:
    """A handler whose input is coerced first."""

    async def coerced(call: Call) -> Any:
        if is_sent(call.config):
            return await handler(call)
        return await handler(call.replace(input=mapper(call.input)))

    return coerced


def noted(func: Callable[..., Any]) -> Callable[..., Any]:
    """A node's function that notes on its run that it runs in a thread."""

    def run(*args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        of = scope.call.run if scope is not None else current_run()
        if of is None:
            return func(*args, **kwargs)
        with of.threads.running(scope.call.task if scope is not None else None):
            return func(*args, **kwargs)

    return run


class _Passed:
    """Records the chunks of a node's output that have left."""

    __slots__ = ("any", "last")

    def __init__(self) -> None:
        self.any, self.last = False, cast(Any, None)

    def note(self, chunk: Any) -> Any:
        """Record a chunk and return it."""
        self.any, self.last = True, chunk
        return chunk


def _joined(chunks: Sequence[Any]) -> Any:
    """The chunks joined into one, as LangChain's `transform` joins them."""
    result: Any = None
    for chunk in chunks:
        try:
            result = chunk if result is None else result + chunk
        except TypeError:
            result = chunk
    return result


def _is_of_the_node(call: Call) -> bool:
    """Whether a `CancelledError` was raised by the node itself, rather than by a cancellation of its task."""
    task = None if call.blocking else asyncio.current_task()
    return call.blocking or (task is not None and not task.cancelling())


def _may_give_up(policy: Policy) -> bool:
    return type(policy).gives_up is not Policy.gives_up


def guarded_branch(
    branch: RunnableCallable, name: str, path: str, stack: Stack
) -> RunnableCallable:
    """A conditional edge whose `Send`s and errors are filtered by its node's content policies."""
    wraps = stack.wraps("node", role="content")

    def call_of(config: RunnableConfig, *, blocking: bool) -> Call:
        call = stack.node_call(name, path, None, config, runtime_in(config), blocking=blocking)
        return call.replace(answer_with=None)

    def sends(call: Call, writer: Any) -> Any:
        return lambda targets, static: writer(rewrite_sends(targets, call.texts.filtered), static)

    def route(input: Any, config: RunnableConfig, *, reader: Any, writer: Any) -> Any:
        chosen: list[Any] = []

        async def handler(call: Call) -> None:
            with Scope(call, stack.inner, config) as inner:
                chosen.append(
                    cast(Any, branch.func)(input, inner, reader=reader, writer=sends(call, writer))
                )

        drive(act(wraps, call_of(config, blocking=True), handler))
        return chosen[0]

    async def aroute(input: Any, config: RunnableConfig, *, reader: Any, writer: Any) -> Any:
        chosen: list[Any] = []

        async def handler(call: Call) -> None:
            with Scope(call, stack.inner, config) as inner:
                route = cast(Any, branch.afunc)(
                    input, inner, reader=reader, writer=sends(call, writer)
                )
                chosen.append(await route)

        await shortened(act(wraps, call_of(config, blocking=False), handler))
        return chosen[0]

    guarded = copy(branch)
    vars(guarded).update(func=route, afunc=aroute if branch.afunc else None)
    return guarded


def rewrite_sends(targets: Sequence[Any], change: Rewrite) -> list[Any]:
    """The targets of an edge, with the payloads of `Send`s rewritten."""
    return [rewrite(target, change) if isinstance(target, Send) else target for target in targets]
