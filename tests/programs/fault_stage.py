"""A graph in production whose places are behind proxies, and what it did outside, which no fault reaches."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph
from tests.programs.fault_servers import PostgresServer, Server

from lg_prod_nodes import (
    AccountStore,
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    FailureLog,
    Ledger,
    LimitStore,
    Production,
    RateLimit,
    Redact,
    TokenBudget,
    TokenUsage,
    by_user,
)
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.databases.redis import Redis
from lg_prod_nodes.databases.timings import LISTENERS
from lg_prod_nodes.stores.circuits.store import CircuitStore
from lg_prod_nodes.stores.limits.redis import RedisLimits

NODES = ("plan", "work", "finish")
TIMEOUT = 1.0  # of the stores
CONNECT, STATEMENT = 2, 2  # of the checkpointer
QUOTA, LIMIT, MOST_OUTPUT, LEASE = 100, 10_000, 20, 3.0
BOUNDS = {
    "checkpointer": 2.0 * CONNECT + STATEMENT,
    "store in Postgres": 4 * TIMEOUT,
    "store in Valkey": 2 * TIMEOUT,
}


class World:
    """What the nodes did and what the provider served, by threads and users; no fault reaches it."""

    def __init__(self) -> None:
        self.effects: dict[str, list[str]] = defaultdict(list)
        self.bills: dict[str, list[int]] = defaultdict(list)
        self._awaited: tuple[str, Callable[[], None]] | None = None
        self._lock = threading.Lock()

    def at(self, moment: str, begin: Callable[[], None]) -> None:
        """Let something happen when the first run comes to a moment."""
        self._awaited = moment, begin

    def reach(self, moment: str) -> None:
        """Come to a moment."""
        with self._lock:
            if self._awaited is None or self._awaited[0] != moment:
                return
            (_, begin), self._awaited = self._awaited, None
        begin()


class Model(BaseChatModel):
    """Spends at random, never more than is reserved, and notes what it bills to whom."""

    world: Any
    rng: Any

    @property
    def _llm_type(self) -> str:
        return "faults"

    def _generate(self, messages: Any, *args: Any, **options: Any) -> ChatResult:
        said = self.rng.randint(1, MOST_OUTPUT)
        spent = {"input_tokens": 1, "output_tokens": said, "total_tokens": 1 + said}
        self.world.bills[messages[-1].text].append(1 + said)
        answer = AIMessage("Done.", usage_metadata=spent)
        return ChatResult(generations=[ChatGeneration(message=answer)])


def graph(world: World, model: Model, *, is_async: bool) -> StateGraph[Any]:
    """Three nodes, each of which does something outside and asks the model."""
    builder = StateGraph(MessagesState)
    for name, previous in zip(NODES, (START, *NODES), strict=False):
        builder.add_node(name, node(name, world, model, is_async=is_async))
        builder.add_edge(previous, name)
    return builder


def node(name: str, world: World, model: Model, *, is_async: bool) -> Any:
    """One that calls the model, and comes to two moments."""

    def act(config: RunnableConfig) -> str:
        place = config.get("configurable", {})
        world.effects[place["thread_id"]].append(name)
        if name == "work":
            world.reach("node")
        return str(place["user_id"])

    def end() -> None:
        if name == "work":
            world.reach("step")

    def sync(state: MessagesState, config: RunnableConfig) -> Any:
        answer = model.invoke(act(config))
        end()
        return {"messages": [answer]}

    async def as_async(state: MessagesState, config: RunnableConfig) -> Any:
        answer = await model.ainvoke(await asyncio.to_thread(act, config))
        await asyncio.to_thread(end)
        return {"messages": [answer]}

    return as_async if is_async else sync


class Watch:
    """The longest wait for each kind of place."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        LISTENERS.add(self)

    def operated(self, store: str, operation: str, seconds: float, *, failed: bool) -> None:
        """Hear of the checkpointer."""
        self.longest[store] = max(self.longest.get(store, 0.0), seconds)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Measure the stores, which tell nothing of themselves."""
        with ExitStack() as stack:
            for owner, name, kind in (
                (Postgres, "rows", "store in Postgres"),
                (Redis, "ask", "store in Valkey"),
                (RedisLimits, "decide", "store in Valkey"),
            ):
                stack.enter_context(mock.patch.object(owner, name, self._timed(owner, name, kind)))
            yield

    def _timed(self, owner: Any, name: str, kind: str) -> Any:
        method = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            start = time.monotonic()
            try:
                return method(*args, **options)
            finally:
                self.operated(kind, name, time.monotonic() - start, failed=False)

        return timed


class Stage:
    """A graph in production, whose places are behind proxies.

    Args:
        postgres: Where checkpoints, failures and the ledger are.
        places: Where all else is.
        folder: For the ledger's journal.
        is_async: How the graph is called.
        seed: Of what the model spends.
    """

    def __init__(
        self, postgres: PostgresServer, places: Server, folder: Path, *, is_async: bool, seed: int
    ) -> None:
        self.places, self.is_async = places, is_async
        self.world, self.watch = World(), Watch()
        model = Model(world=self.world, rng=random.Random(seed))
        dsn, url = postgres.proxied, places.proxied
        self.secret = dsn.split(":")[2].partition("@")[0]
        self.ledger = Ledger(dsn, journal=folder / "journal", timeout=TIMEOUT)
        self.failures = FailureLog(dsn, timeout=TIMEOUT)
        self.limits = LimitStore(url, timeout=TIMEOUT)
        self.accounts = AccountStore(url, timeout=TIMEOUT)
        self.budget = TokenBudget(
            str(LIMIT),
            by=by_user,
            store=self.accounts,
            counting="each",
            max_output=MOST_OUTPUT,
            lease=LEASE,
        )
        policies = [
            CaptureErrors(failures=self.failures),
            TokenUsage(ledger=self.ledger),
            RateLimit(f"{QUOTA}/hour", by=by_user, store=self.limits),
            Bulkhead(8, by=by_user, store=self.accounts, lease=LEASE),
            self.budget,
            CircuitBreaker(store=CircuitStore(url, timeout=TIMEOUT)),
            Redact("EMAIL_ADDRESS"),
        ]
        bounds = f"?connect_timeout={CONNECT}&options=-c%20statement_timeout%3D{STATEMENT}s"
        self._production = Production(
            graph(self.world, model, is_async=is_async), policies, postgres=dsn + bounds
        )
        self._threads = ThreadPoolExecutor(16)

    @contextmanager
    def open(self) -> Iterator[Stage]:
        """Run the graph, called from threads or on an event loop."""
        with self._threads, self.watch.on(), ExitStack() as stack:
            if self.is_async:
                self._loop = stack.enter_context(running_loop())
                self._app: Any = self._await(self._production.__aenter__())
                stack.callback(lambda: self._await(self._production.__aexit__(None, None, None)))
            else:
                self._app = stack.enter_context(self._production)
            yield self
        self.failures.close()

    def submit(self, given: Any, config: Any) -> Future[Any]:
        """Begin a run, or go on with it."""
        if self.is_async:
            run = self._app.ainvoke(given, config, durability="sync")
            return asyncio.run_coroutine_threadsafe(run, self._loop)
        return self._threads.submit(self._app.invoke, given, config, durability="sync")

    def state(self, config: Any) -> Any:
        """A thread's state."""
        if self.is_async:
            return self._await(self._app.aget_state(config))
        return self._app.get_state(config)

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:  # without any, gather would look for a loop that nobody has made
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
