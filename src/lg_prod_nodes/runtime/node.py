"""A node's runnable with policies around it, in every other way like the one inside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from copy import copy
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.pregel import Pregel
from langgraph.types import RetryPolicy, Send

from lg_prod_nodes.content.walk import Rewrite, rewrite
from lg_prod_nodes.core.call import Call, Handler, Unrecoverable
from lg_prod_nodes.core.engine import Chunk, act, drive, drive_astream, drive_stream
from lg_prod_nodes.core.errors import DeadlineExceeded
from lg_prod_nodes.core.policy import Policy, Stack
from lg_prod_nodes.core.run import TimeLimit
from lg_prod_nodes.runtime.callbacks import watching
from lg_prod_nodes.runtime.exits import filtered_exits
from lg_prod_nodes.runtime.langgraph import (
    RunnableCallable,
    has_native_async,
    pause_before_retry,
    runtime_in,
    wake_from_pause,
)


class GuardedNode(RunnableCallable):
    """Sends each attempt of a node through a stack of policies.

    LangGraph drives nodes through `invoke` and `ainvoke`, and through `stream` and `astream` where events are read, so
    all four are guarded. A policy that may change a result gets it whole before a stream passes it on.
    """

    def __init__(
        self,
        inner: Runnable[Any, Any],
        name: str,
        path: str,
        stack: Stack,
        *,
        watches: bool = False,
        recoverers: Sequence[Policy] = (),
        retries: Sequence[RetryPolicy] = (),
    ) -> None:
        if isinstance(inner, RunnableCallable):
            vars(self).update(vars(inner))
        else:
            # LangGraph finds a node's subgraphs in the closure of `func`, and a lack of `afunc` tells it that the node
            # is not asynchronous.
            def func(input: Any, config: RunnableConfig) -> Any:
                return inner.invoke(input, config)

            async def afunc(input: Any, config: RunnableConfig) -> Any:
                return await inner.ainvoke(input, config)

            native = afunc if has_native_async(inner) else None
            super().__init__(func, native, name=inner.get_name(), trace=False)
        self._inner = inner
        self._node_name = name
        self._path = path
        self._stack = stack
        self._watches = watches
        self._recoverers = recoverers
        self._strict = (*recoverers, *(p for p, _ in stack.placed if not p.recovers))
        self._retries = retries
        self._wraps = stack.wraps("node")
        self._buffers = stack.changes("node")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run an attempt."""

        async def handler(call: Call) -> Any:
            with self._around(call, config) as inner:
                return self._inner.invoke(call.input, inner, **kwargs)

        return drive(self._act(input, config, handler, blocking=True))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run an attempt."""

        async def handler(call: Call) -> Any:
            with self._around(call, config) as inner:
                return await self._inner.ainvoke(call.input, inner, **kwargs)

        return await self._act(input, config, handler, blocking=False)

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Run an attempt whose output is read as a stream."""
        passed: list[Any] = []

        async def handler(call: Call) -> Any:
            result = None
            with self._around(call, config) as inner:
                for chunk in self._inner.stream(call.input, inner, **kwargs):
                    result = await self._take(chunk, result, passed)
            return result

        flow = drive_stream(lambda: self._flow(input, config, handler, passed, blocking=True))
        yield from flow

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Run an attempt whose output is read as a stream."""
        passed: list[Any] = []

        async def handler(call: Call) -> Any:
            result = None
            with self._around(call, config) as inner:
                async for chunk in self._inner.astream(call.input, inner, **kwargs):
                    result = await self._take(chunk, result, passed)
            return result

        flow = drive_astream(lambda: self._flow(input, config, handler, passed, blocking=False))
        async with aclosing(flow) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _take(self, chunk: Any, before: Any, passed: list[Any]) -> Any:
        """Pass a chunk on, or hold it back joined to those before it, as LangChain's `transform` joins them."""
        if not self._buffers:
            passed[:] = [chunk]
            await Chunk(chunk)
            return chunk
        try:
            return chunk if before is None else before + chunk
        except TypeError:
            return chunk

    async def _flow(
        self,
        input: Any,
        config: RunnableConfig | None,
        handler: Handler,
        passed: list[Any],
        *,
        blocking: bool,
    ) -> None:
        result = await self._act(input, config, handler, blocking=blocking)
        if not (passed and passed[0] is result):
            await Chunk(result)  # held back, changed, or an answer in the node's stead

    @contextmanager
    def _around(
        self, call: Call, config: RunnableConfig | None
    ) -> Generator[RunnableConfig | None]:
        """What stands around the inner runnable: watches and filters for what it calls and lets out."""
        # A graph as a node has its own boundary, and its nodes their own exits.
        is_graph = isinstance(self._inner, Pregel)
        exits = nullcontext(config) if is_graph else filtered_exits(call, config)
        with exits as inner, self._stack.reach(call):
            if not self._watches:
                yield inner
                return
            with watching(call.replace(config=inner or call.config)) as watched:
                yield watched

    async def _act(
        self, input: Any, config: RunnableConfig | None, handler: Handler, *, blocking: bool
    ) -> Any:
        config = config if config is not None else RunnableConfig()
        call = self._stack.node_call(
            self._node_name, self._path, input, config, runtime_in(config), blocking=blocking
        )
        if call.attempt > 1 and call.run.drain_requested:
            raise call.run.drained()
        try:
            return await act(self._wraps, call, handler)
        except Unrecoverable as carried:
            # from a subgraph's node: what stands around this one has its turn
            error, cause = carried.error, carried.error.__cause__
            passed_on = self._passed_on(error, call)
            raise passed_on from cause if passed_on is error else error
        except GraphBubbleUp:
            raise
        except Exception as error:
            if (passed_on := self._passed_on(error, call)) is not error:
                raise passed_on from error
            raise

    def passed_on_from_edge(self, error: Exception, config: RunnableConfig) -> Exception:
        """The error of an edge of the node as LangGraph gets it, which takes it for one of the node's own."""
        runtime = runtime_in(config)
        call = self._stack.node_call(
            self._node_name, self._path, None, config, runtime, blocking=True
        )
        return self._passed_on(error, call)

    def _passed_on(self, error: Exception, call: Call) -> Exception:
        """The error as LangGraph gets it: what it must not try again or handle bubbles up past its loops."""
        if (deadline := call.run.deadline) and self._is_too_late(error, call, deadline):
            error = exceeded(deadline, error)
            if self._is_too_late(error, call, deadline):
                return Unrecoverable(error)
        recovered = any(policy.recovers_from(error) for policy in self._recoverers)
        if not recovered and any(policy.gives_up(error) for policy in self._strict):
            return Unrecoverable(error)
        if pause_before_retry(self._retries, error, call.attempt) is None:
            return error if recovered or not self._recoverers else Unrecoverable(error)
        if call.run.drain_requested:
            return call.run.drained()
        wake_from_pause(error, call.run.bell)
        return error

    def _is_too_late(self, error: Exception, call: Call, deadline: TimeLimit) -> bool:
        """Whether LangGraph would wait with its next try until the run's deadline is over."""
        pause = pause_before_retry(self._retries, error, call.attempt)
        return pause is not None and pause >= deadline.remaining()


def exceeded(deadline: TimeLimit, error: Exception) -> DeadlineExceeded:
    """The refusal of another try after an error."""
    refusal = DeadlineExceeded(deadline.seconds)
    refusal.__cause__ = error
    return refusal


def guarded_branch(
    branch: RunnableCallable, name: str, path: str, stack: Stack
) -> RunnableCallable:
    """A conditional edge whose `Send`s and errors are filtered by the policies that stand around its node's content."""
    wraps = stack.wraps("node", role="content")

    def call_of(config: RunnableConfig, *, blocking: bool) -> Call:
        call = stack.node_call(name, path, None, config, runtime_in(config), blocking=blocking)
        return call.replace(answer_with=None)

    def sends(call: Call, writer: Any) -> Any:
        return lambda targets, static: writer(rewrite_sends(targets, call.filtered), static)

    def route(input: Any, config: RunnableConfig, *, reader: Any, writer: Any) -> Any:
        chosen: list[Any] = []

        async def handler(call: Call) -> None:
            with filtered_exits(call, config) as inner, stack.reach(call):
                chosen.append(
                    cast(Any, branch.func)(input, inner, reader=reader, writer=sends(call, writer))
                )

        drive(act(wraps, call_of(config, blocking=True), handler))
        return chosen[0]

    async def aroute(input: Any, config: RunnableConfig, *, reader: Any, writer: Any) -> Any:
        chosen: list[Any] = []

        async def handler(call: Call) -> None:
            with filtered_exits(call, config) as inner, stack.reach(call):
                route = cast(Any, branch.afunc)(
                    input, inner, reader=reader, writer=sends(call, writer)
                )
                chosen.append(await route)

        await act(wraps, call_of(config, blocking=False), handler)
        return chosen[0]

    guarded = copy(branch)
    vars(guarded).update(func=route, afunc=aroute if branch.afunc else None)
    return guarded


def rewrite_sends(targets: Sequence[Any], change: Rewrite) -> list[Any]:
    """The targets of an edge, with what is sent rewritten."""
    return [rewrite(target, change) if isinstance(target, Send) else target for target in targets]
