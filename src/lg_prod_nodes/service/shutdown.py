"""Graceful shutdown: runs reach a checkpoint before the process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any, Self, cast

from langgraph.errors import GraphDrained

from lg_prod_nodes.core import log
from lg_prod_nodes.core.errors import ConfigurationError, ShuttingDown
from lg_prod_nodes.core.policy import Policy, resources_of
from lg_prod_nodes.runtime.boundary import hardening_of
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT

_PAUSE = 0.05
_STOPPED = (GraphDrained, ShuttingDown, asyncio.CancelledError)


class GracefulShutdown:
    """Brings runs to a checkpoint before the process ends, for the duration of a `with` or `async with` block.

    When the process receives a signal, new runs are refused (`ShuttingDown`) and readiness goes down. Waits in policies
    and backoffs before retries end at once. Each active run finishes its current step and stops at a checkpoint
    (`GraphDrained`); `graph.invoke(None, config)` resumes it in any worker. The same happens at the end of the block.
    The block then waits until all runs have stopped or the grace period is over, and closes the policies, which flushes
    their buffers.

    A previous signal handler is still called, so a server such as uvicorn shuts down as usual. If there was none, the
    process exits as soon as its runs have stopped, with the exit code 128 + the signal's number. A second signal of the
    same kind ends the process at once.

    Args:
        policies: The policies to close at the end, even if one of them fails; `Production` does this with its own.
        graph: Wait at the end of the block only for the runs of this hardened graph.
        grace: Seconds that runs have to reach a checkpoint. Keep it below the time that the process is given, such as
            Kubernetes' `terminationGracePeriodSeconds`.
        signals: The signals to handle. They are handled only if the block is entered in the main thread.

    Attributes:
        unfinished: The number of runs that had not stopped at the end of the grace period.

    Raises:
        ConfigurationError: `grace` is negative, or the graph is not hardened.
        SystemExit: At the end of the block, if the process received a signal that nothing else handles.

    Example:
        ```python
        @asynccontextmanager
        async def lifespan(api: FastAPI):
            async with GracefulShutdown(policies, grace=20.0):
                yield
        ```
    """

    def __init__(
        self,
        policies: Iterable[Policy] = (),
        *,
        graph: object = None,
        grace: float = 30.0,
        signals: Iterable[signal.Signals] = (signal.SIGTERM,),
    ) -> None:
        if not 0 <= grace <= threading.TIMEOUT_MAX:
            raise ConfigurationError(f"grace is {grace}; give seconds, 0 or more")
        self._of = None if graph is None else hardening_of(graph)
        if graph is not None and self._of is None:
            raise ConfigurationError(
                f"GracefulShutdown was given a {type(graph).__name__}; give a graph that was hardened"
            )
        self.unfinished = 0
        self._policies = tuple(policies)
        self._grace = grace
        self._signals = tuple(signals)
        self._before: dict[int, Any] = {}
        self._signal: int | None = None
        self._is_due = self._is_leaving = False

    def __enter__(self) -> Self:
        main = threading.main_thread()
        self._begin(lambda number: signal.pthread_kill(cast(int, main.ident), number))
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if os.getpid() != self._process:  # forked inside the block; the parent ends it
            return
        try:
            self._leave().result()
        finally:
            self._restore_handlers()
        self._end_process(error)

    async def __aenter__(self) -> Self:
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[Any]", asyncio.current_task())

        def stop() -> None:
            if self._is_due and not self._is_leaving:
                task.cancel()
            self._is_due = False

        self._begin(lambda _: loop.call_soon_threadsafe(stop))
        return self

    async def __aexit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if os.getpid() != self._process:
            return
        try:
            await asyncio.wrap_future(self._leave())
        finally:
            self._restore_handlers()
        self._end_process(error)

    def _begin(self, stop_block: Callable[[int], object]) -> None:
        self._signal, self._is_due, self._is_leaving = None, False, False
        self._notices: SimpleQueue[int | None] = SimpleQueue()
        self._done: Future[None] = Future()
        self._done.set_running_or_notify_cancel()  # a waiter can be cancelled, not this future
        self._process = os.getpid()
        self._take_signals()
        watch = partial(self._watch, stop_block)
        threading.Thread(target=watch, name="graceful-shutdown", daemon=True).start()

    def _take_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._on_signal)

    def _restore_handlers(self) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A handler can interrupt the main thread while it holds any lock: this queue is reentrant.
        if self._is_due and os.getpid() == self._process:  # from `_stop`
            self._is_due = False
            if not self._is_leaving:
                raise SystemExit(128 + number)
            return
        is_over = self._done.done() or os.getpid() != self._process
        is_first = self._signal is None and not is_over
        if is_first:
            self._signal = number
            self._notices.put(number)
        if callable(before := self._before[number]):
            before(number, frame)
        elif not is_first:  # a second signal, or a child process
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _leave(self) -> Future[None]:
        self._is_leaving = True
        self._notices.put(None)
        return self._done

    def _watch(self, stop_block: Callable[[int], object]) -> None:
        try:
            self._drain(self._notices.get(), stop_block)
        except BaseException as error:
            self._done.set_exception(error)
        else:
            self._done.set_result(None)

    def _drain(self, number: int | None, stop_block: Callable[[int], object]) -> None:
        reason, of = ("end of block", self._of) if number is None else (_name(number), None)
        with ExitStack() as stack:
            IN_FLIGHT.drain(reason, of)
            stack.callback(IN_FLIGHT.reopen, of)
            runs = IN_FLIGHT.count(of)
            if runs or number is not None:
                log.info("draining", reason=reason, runs=runs)
            for resource in resources_of(self._policies):
                stack.callback(resource.close)
            IN_FLIGHT.wait(self._grace, of)
            if number is not None:
                if not callable(self._before[number]):
                    self._stop(partial(stop_block, number))
                self._notices.get()  # wait for the end of the block
            self.unfinished = IN_FLIGHT.count(of)
            if self.unfinished:
                log.warning("grace is over", runs=self.unfinished)

    def _stop(self, block: Callable[[], object]) -> None:
        self._is_due = True
        # a signal that arrives while its handler runs may be ignored until the next one
        while self._is_due:
            block()
            time.sleep(_PAUSE)

    def _end_process(self, error: BaseException | None) -> None:
        number = self._signal
        if number is None or callable(self._before[number]):
            return
        if error is None or _has_stopped(error):
            raise SystemExit(128 + number)


def _has_stopped(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_has_stopped, error.exceptions))
    return isinstance(error, _STOPPED)


def _name(number: int) -> str:
    return signal.Signals(number).name
