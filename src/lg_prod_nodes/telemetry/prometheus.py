"""Prometheus metrics: their names and labels, and the text to scrape."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter as Sums
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.databases.timings import LISTENERS, POOLS, MeasuredPool

__all__ = ["METRICS_CONTENT_TYPE", "REGISTRY", "CollectorRegistry", "Instruments", "metrics_text"]

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST

_CALLS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0),
)
"""Buckets in seconds, fine for the latency of models: between 0.5 s and 60 s, each is less than twice the previous."""
_QUERIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_MOST_VALUES = 200
OTHER = "other"
"""The value of a label that already has too many different values."""

_SHOWN_OF_POOLS = {
    "requests_num": ("pool_requests", 1.0),
    "requests_wait_ms": ("pool_wait_seconds", 0.001),
    "requests_errors": ("pool_request_errors", 1.0),
    "usage_ms": ("pool_usage_seconds", 0.001),
    "connections_lost": ("pool_connections_lost", 1.0),
}
"""psycopg's counters of a pool: the metric's name, and the factor to its base unit."""


class Family:
    """A metric with a bounded number of values per label."""

    def __init__(self, metric: Any, labels: tuple[str, ...], seen: dict[str, set[str]]) -> None:
        self._metric = metric
        self._seen = [seen.setdefault(label, set()) for label in labels]
        self._children: dict[tuple[str, ...], Any] = {}

    def __call__(self, *values: str) -> Any:
        """Return the child with these label values."""
        child = self._children.get(values)
        return child if child is not None else self._made(values)

    def _made(self, values: tuple[str, ...]) -> Any:
        bounded = tuple(map(self._bounded, self._seen, values))
        if bounded not in self._children:
            self._children[bounded] = self._metric.labels(*bounded)
        return self._children[bounded]

    @staticmethod
    def _bounded(seen: set[str], value: str) -> str:
        if value not in seen and len(seen) >= _MOST_VALUES:
            return OTHER
        seen.add(value)
        return value


class Instruments(Resource):
    """The metrics of one registry, shared by all policies that report to it."""

    _made: ClassVar[WeakKeyDictionary[CollectorRegistry, Instruments]] = WeakKeyDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, registry: CollectorRegistry) -> None:
        seen: dict[str, set[str]] = {}

        def make(kind: Any, name: str, text: str, *labels: str, **options: Any) -> Family:
            metric = kind(f"lg_prod_{name}", text, labels, registry=registry, **options)
            return Family(metric, labels, seen)

        def count(name: str, text: str, *labels: str) -> Family:
            return make(Counter, name, text, *labels)

        def span(name: str, text: str, *labels: str, buckets: Iterable[float] = _CALLS) -> Family:
            return make(Histogram, f"{name}_seconds", text, *labels, buckets=buckets)

        def level(name: str, text: str, *labels: str) -> Family:
            return make(Gauge, name, text, *labels, multiprocess_mode="livesum")

        place = ("graph", "kind", "name")
        self.runs = count("runs", "Runs, by how they ended.", "graph", "outcome")
        self.run_seconds = span("run_duration", "Time of a run.", "graph")
        self.in_flight = level("runs_in_flight", "Runs going on.", "graph")
        self.calls = count("calls", "Attempts of nodes, models, tools.", *place, "outcome")
        self.call_seconds = span("call_duration", "Time of an attempt.", *place)
        self.errors = count("errors", "Failed attempts, by type of error.", "graph", "name", "type")
        self.decisions = count("decisions", "What policies did.", "graph", "policy", "decision")
        self.delays = count(
            "delay_seconds", "Time that policies had calls wait.", "graph", "policy"
        )
        model = ("graph", "node", "model")
        self.tokens = count("tokens", "Tokens of model calls.", *model, "direction")
        self.cached_tokens = count(
            "cached_tokens", "Tokens sent that a provider's cache had or took.", *model, "access"
        )
        self.reasoning_tokens = count("reasoning_tokens", "Tokens spent on reasoning.", *model)
        self.cost = count("cost_usd", "Price of model calls in US dollars.", *model)
        self.model_calls = count(
            "model_calls", "Calls of models, by how they ended.", *model, "outcome"
        )
        self.estimated_calls = count(
            "estimated_model_calls", "Calls whose tokens no provider told.", *model
        )
        self.unpriced_calls = count(
            "unpriced_model_calls", "Calls whose price nobody knows.", *model
        )
        self.store_failures = count("store_failures", "Stores out of reach.", "graph", "policy")
        self.store_seconds = span(
            "store_operation_duration",
            *("Time of a store's operation.", "store", "operation", "outcome"),
            buckets=_QUERIES,
        )
        self.connections = level("pool_connections", "Connections.", "pool", "state")
        self.waiting = level("pool_requests_waiting", "Requests that wait.", "pool")
        self.health = make(
            Gauge, "health", "1 ok, 0.5 degraded, 0 down.", "check", multiprocess_mode="livemin"
        )
        self.of_pools = {
            stat: (count(name, f"psycopg's {stat} of a pool.", "pool"), factor)
            for stat, (name, factor) in _SHOWN_OF_POOLS.items()
        }
        self._counted: WeakKeyDictionary[MeasuredPool, Mapping[str, int]] = WeakKeyDictionary()
        self._names: set[str] = set()
        self._noted = 0.0
        LISTENERS.add(self)

    @classmethod
    def of(cls, registry: CollectorRegistry) -> Instruments:
        """Return the metrics of a registry, created at first use."""
        with cls._lock:
            if registry not in cls._made:
                cls._made[registry] = cls(registry)
            return cls._made[registry]

    @classmethod
    def note_all_pools(cls, registry: CollectorRegistry) -> None:
        """Record the connection pools of this process, if a policy reports to the registry."""
        if (made := cls._made.get(registry)) is not None:
            made.note_pools()

    def operated(self, store: str, operation: str, seconds: float, *, failed: bool) -> None:
        """Record an operation of a store."""
        self.store_seconds(store, operation, "error" if failed else "ok").observe(seconds)

    def note_pools_at_times(self) -> None:
        """Record the pools, at most once per second, since another process may answer the scrape."""
        if POOLS and time.monotonic() - self._noted > 1:
            self._noted = time.monotonic()
            self.note_pools()

    def note_pools(self) -> None:
        """Record the connection pools of this process."""
        with self._lock:
            levels: Sums[tuple[str, str]] = Sums()
            for pool, name in list(POOLS.items()):
                self._names.add(name)
                stats = pool.get_stats()
                self._count(pool, name, stats)
                idle = stats.get("pool_available", 0)
                levels[name, "idle"] += idle
                levels[name, "used"] += stats.get("pool_size", 0) - idle
                levels[name, "waiting"] += stats.get("requests_waiting", 0)
            for name in self._names:
                for state in ("idle", "used"):
                    self.connections(name, state).set(levels[name, state])
                self.waiting(name).set(levels[name, "waiting"])

    def _count(self, pool: MeasuredPool, name: str, stats: Mapping[str, int]) -> None:
        before = self._counted.get(pool, {})
        self._counted[pool] = stats
        for stat, (family, factor) in self.of_pools.items():
            family(name).inc(max(stats.get(stat, 0) - before.get(stat, 0), 0) * factor)


def metrics_text(registry: CollectorRegistry = REGISTRY) -> str:
    """Return all metrics of a registry as text for Prometheus to scrape.

    With several workers, as under uvicorn or gunicorn, set `PROMETHEUS_MULTIPROC_DIR`: any worker then answers for all.
    Gauges of workers that have ended are dropped. Serve the text with the media type `METRICS_CONTENT_TYPE`.

    Args:
        registry: The registry that `Metrics` reports to.
    """
    Instruments.note_all_pools(registry)
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _bury(Path(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


def _bury(folder: Path) -> None:
    """Drop the gauges of processes that have ended."""
    pids = {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}
    for pid in pids:
        if pid.isdecimal() and not _lives(int(pid)):
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
