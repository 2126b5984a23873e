"""What a graph stands in while it is searched: a database, a store, logs, metrics, and the policies of an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.store.memory import InMemoryStore
from prometheus_client import CollectorRegistry, generate_latest
from tests.canary.collect import Evidence, collect_database, collecting_logs
from tests.canary.faces import Face
from tests.canary.search import Search, seen
from tests.canary.values import Planted, Plants
from tests.canary.ways import Way, follow

from lg_prod_nodes import Metrics, Run, TokenUsage, Tracing, harden
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres

OURS = (
    "tests.canary.agents:Loose",
    "tests.canary.agents:ModelState",
    "tests.canary.agents:ObjectState",
    "tests.canary.graphs:Card",
    "tests.canary.graphs:Parcel",
)
"""What the graphs' states hold; the bare checkpointer does not know their schemas."""


@dataclass
class Site:
    """One place where graphs are run; keeps all that they leave behind."""

    face: Face
    dsn: str
    saver: Any
    store: Any
    policies: Sequence[Policy]
    registry: CollectorRegistry
    plants: Plants = field(default_factory=Plants)
    evidence: Evidence = field(default_factory=Evidence)

    def compile(self, graph: StateGraph[Any], **options: Any) -> Any:
        """A graph, hardened and persisted; as it is where there are no policies."""
        hardened = harden(graph, self.policies) if self.policies else graph
        return hardened.compile(checkpointer=self.saver, store=self.store, **options)

    def harden(self, graph: Any) -> Any:
        """The same for a graph that is compiled."""
        hardened = harden(graph, self.policies) if self.policies else graph
        hardened.checkpointer, hardened.store = self.saver, self.store
        return hardened

    async def run(
        self,
        way: Way,
        graph: Any,
        given: Any,
        config: Any = None,
        *,
        thread: str = "",
        fails: bool = False,
    ) -> None:
        """Run a graph in a way, on a thread of that way's name."""
        config = dict(config or {})
        config["configurable"] = {**config.get("configurable", {}), **on_thread(way, thread)}
        run = Run()
        await follow(way, graph, given, config, self.evidence, fails=fails, control=run)
        self.evidence.add("report", run.report)

    async def look_back(self, way: Way, graph: Any, *, thread: str = "") -> None:
        """Read the thread of a way as its caller would."""
        config = {"configurable": on_thread(way, thread)}
        state = await self.face.call(graph, "get_state", config, subgraphs=True)
        history = await self.face.all(graph, "get_state_history", config)
        self.evidence.add(f"get_state after {way.name}", state)
        self.evidence.add(f"get_state_history after {way.name}", history)

    def leaks(self) -> dict[Planted, set[str]]:
        """What of the planted is found, and where."""
        self._close()
        return Search(self.plants).leaks(self.evidence)

    def shown(self) -> set[Planted]:
        """What of the planted is found at all."""
        self._close()
        return seen(self.plants, self.evidence)

    def _close(self) -> None:
        if self.dsn:
            collect_database(self.evidence, self.dsn, integers=self.plants.integers)
        else:
            memory = (dict(self.saver.storage), dict(self.saver.writes), dict(self.saver.blobs))
            self.evidence.add("checkpointer", memory)
            self.evidence.add("store", self.store._data)
        self.evidence.add("metrics", generate_latest(self.registry).decode())


def on_thread(way: Way, thread: str = "") -> dict[str, str]:
    """Where a way's run is kept."""
    return {"thread_id": f"{way.name} {thread}".strip()}


@asynccontextmanager
async def opened(dsn: str, face: Face, *content: Policy) -> AsyncIterator[Site]:
    """A site with its database, and with what an operator puts around graphs.

    Args:
        dsn: The database; with none, all is kept in memory.
        face: How graphs are called.
        *content: The policies that keep it clean; none stand around graphs where none are given.
    """
    registry = CollectorRegistry()
    around = [Tracing(), Metrics(registry=registry), TokenUsage(), *content]
    async with AsyncExitStack() as stack:
        saver: Any
        store: Any
        if not dsn:
            saver, store = InMemorySaver(), InMemoryStore()
        elif face.is_async:
            saver, store = await stack.enter_async_context(aopen_postgres(dsn, allowed_types=OURS))
        else:
            saver, store = stack.enter_context(open_postgres(dsn, allowed_types=OURS))
        site = Site(face, dsn, saver, store, around if content else [], registry)
        stack.enter_context(collecting_logs(site.evidence))
        yield site
