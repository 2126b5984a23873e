"""`Health`: liveness and readiness of a process, by checks with timeouts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import SecretStr

from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock, check_seconds
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT
from lg_prod_nodes.service.health.checks import Check, CheckResult, Status, worst
from lg_prod_nodes.service.health.found import Dependency, Found, HasApp, found_in
from lg_prod_nodes.service.health.probe import Pace, Probe, Question
from lg_prod_nodes.service.health.process import LoopLag, check_memory
from lg_prod_nodes.service.health.servers import server_at

SHUTDOWN = "shutdown"
"""The check that is down while the process shuts down."""


@dataclass(frozen=True)
class HealthReport:
    """The results of all checks.

    Attributes:
        checks: The results by name of the check.
    """

    checks: Mapping[str, CheckResult]

    @property
    def status(self) -> Status:
        """The status of the worst check."""
        return worst(result.status for result in self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary for JSON."""
        checks = {
            name: {"status": r.status, "seconds": round(r.seconds, 4), "detail": r.detail}
            for name, r in self.checks.items()
        }
        return {"status": self.status, "checks": checks}


_DRAINING = HealthReport({SHUTDOWN: CheckResult("down", "the process is ending")})


class Health:
    """Reports the liveness (`live`) and readiness (`ready`) of this process.

    `live` checks only the process itself, its event loop and its memory: a database that is down must not restart it.
    `ready` also checks what the process depends on, and is down as soon as the process begins to shut down. Each check
    runs in its own thread, at most once at a time, and its result is cached: many probes query a dependency no more
    often than one.

    A store is checked by reading an entry that does not exist. What a store failure means depends on the policy: with
    `store_down="raise"` calls fail, so the service is down; otherwise it is degraded. It is also degraded without the
    database of a ledger or a failure log.

    Args:
        *dependencies: What to check. A `Production` or a hardened graph covers everything it depends on: its
            checkpointer, and the stores, vaults and ledgers of its policies. Policies, stores, and URLs of Postgres,
            Redis and Valkey are accepted too.
        checks: Additional checks by name, see `Check`; a plain function is a critical check.
        timeout: Seconds after which a check without a result is down.
        slow: Seconds after which a successful check is degraded.
        max_age: Seconds for which a result is cached.
        max_lag: Maximum event loop lag in seconds over the last half minute; above it, the loop is degraded. Measured
            from the first call of `alive` or `aready`.
        max_memory: Maximum share of the container's memory, or of the machine's if the container has no limit; above
            it, memory is degraded.
        clock: The clock to use.

    Raises:
        ConfigurationError: A setting is invalid, or the type of a dependency is unknown.

    Example:
        ```python
        production = Production(builder, policies, postgres=DSN)
        health = Health(production, checks={"search": search_client.ping})
        api.mount("", health_app(health))
        ```
    """

    def __init__(
        self,
        *dependencies: Dependency | Secret,
        checks: Mapping[str, Check | Callable[[], Any]] | None = None,
        timeout: float = 2.0,
        slow: float = 0.5,
        max_age: float = 5.0,
        max_lag: float = 0.5,
        max_memory: float = 0.9,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        check_seconds(timeout=timeout, slow=slow, max_age=max_age, max_lag=max_lag)
        if not 0 < max_memory <= 1:
            raise ConfigurationError(f"max_memory is {max_memory!r}; give a share, such as 0.9")
        self.max_age = max_age
        self._pace = Pace(timeout, slow, max_age, clock)
        self._servers = [
            server_at(t, timeout) for t in dependencies if isinstance(t, (str, SecretStr))
        ]
        things = [thing for thing in dependencies if not isinstance(thing, (str, SecretStr))]
        self._given: tuple[Dependency, ...] = (*things, *self._servers)
        self._lag = LoopLag(max_lag, clock)
        self._process = {
            "event_loop": self._probe(Check(self._lag.check)),
            "memory": self._probe(Check(partial(check_memory, max_memory))),
        }
        self._own = {name: self._probe(_own(name, check)) for name, check in (checks or {}).items()}
        self._lock = threading.Lock()
        self._seen: list[object] = []
        self._found: dict[str, Probe] = {}
        self._dependencies()

    def live(self) -> HealthReport:
        """Check whether the process works. If down, restart it."""
        return self._report_of(self._process)

    async def alive(self) -> HealthReport:
        """The asynchronous twin of `live`."""
        return await self._areport_of(self._process)

    def ready(self) -> HealthReport:
        """Check whether the process can serve. If down, send it no requests."""
        if IN_FLIGHT.is_draining:
            return _DRAINING
        return self._report_of(self._process | self._dependencies())

    async def aready(self) -> HealthReport:
        """The asynchronous twin of `ready`."""
        if IN_FLIGHT.is_draining:
            return _DRAINING
        return await self._areport_of(self._process | self._dependencies())

    def close(self) -> None:
        """Close the connections opened for dependencies given as URLs; the next check opens new ones."""
        for server in self._servers:
            server.close()

    def _report_of(self, probes: Mapping[str, Probe]) -> HealthReport:
        asked = {name: probe.ask() for name, probe in probes.items()}
        for question in asked.values():
            futures.wait([question.answer], question.seconds_left())
        return _report(asked)

    async def _areport_of(self, probes: Mapping[str, Probe]) -> HealthReport:
        loop = asyncio.get_running_loop()
        self._lag.watch(loop)
        asked = {name: probe.ask(loop) for name, probe in probes.items()}
        for question in asked.values():
            answer = asyncio.wrap_future(question.answer)
            await asyncio.wait([answer], timeout=question.seconds_left())
            answer.cancel()
        return _report(asked)

    def _dependencies(self) -> dict[str, Probe]:
        """Return probes for the current dependencies: a `Production` has a graph only while it is open."""
        with self._lock:
            seen: list[object] = [t.app if isinstance(t, HasApp) else t for t in self._given]
            if not self._found or any(a is not b for a, b in zip(seen, self._seen, strict=True)):
                named = _named(_merged(self._given), taken={*self._process, *self._own})
                self._found = {name: self._probe(check) for name, check in named}
                self._seen = seen
            return self._own | self._found

    def _probe(self, check: Check) -> Probe:
        return Probe(check, self._pace)


def _merged(things: Iterable[Dependency]) -> Iterator[Found]:
    """Yield one check per dependency, even if several share it; critical if any of them needs it to be."""
    found: dict[int, Found] = {}
    for thing in things:
        for name, asked, check in found_in(thing):
            known = found[id(asked)][2] if id(asked) in found else check
            merged = replace(check, critical=check.critical or known.critical)
            found[id(asked)] = (name, asked, merged)
    yield from found.values()


def _named(found: Iterable[Found], taken: set[str]) -> Iterator[tuple[str, Check]]:
    """Give each check a unique name."""
    for name, _, check in found:
        own, number = name, 1
        while own in taken:
            number += 1
            own = f"{name}-{number}"
        taken.add(own)
        yield own, check


def _report(asked: Mapping[str, Question]) -> HealthReport:
    return HealthReport({name: question.result() for name, question in asked.items()})


def _own(name: str, check: Check | Callable[[], Any]) -> Check:
    if name in ("event_loop", "memory", SHUTDOWN) or not (name and isinstance(name, str)):
        raise ConfigurationError(f"a check cannot be called {name!r}; choose another name")
    if not isinstance(check, Check):
        if not callable(check):
            raise ConfigurationError(
                f"the check {name!r} is a {type(check).__name__}; give a function, or a Check of one"
            )
        check = Check(check)
    return check
