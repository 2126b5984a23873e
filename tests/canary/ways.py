"""Every way to run a graph, with all that the caller sees of it collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.canary.collect import Evidence, Reader, Watcher, collect_error

MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "debug", "tools")
DURABILITIES = ("sync", "async", "exit")


@dataclass(frozen=True)
class Way:
    """One way to run a graph."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    watches: bool = False
    """Whether the caller has a callback handler."""

    @property
    def name(self) -> str:
        modes = self.options.get("stream_mode")
        told = {**self.options, "stream_mode": modes if isinstance(modes, str) else "all"}
        if modes is None:
            del told["stream_mode"]
        return " ".join([self.method, *(f"{name}={value}" for name, value in told.items())])


def _ways() -> tuple[list[Way], list[Way]]:
    alone = [
        {"stream_mode": mode, "durability": DURABILITIES[at % 3]} for at, mode in enumerate(MODES)
    ]
    together = [
        {"stream_mode": list(MODES), "subgraphs": True, "version": "v1", "durability": "sync"},
        {"stream_mode": list(MODES), "subgraphs": True, "version": "v2", "durability": "async"},
    ]
    blocking = [
        *(Way("invoke", {"durability": d}, watches=d == "sync") for d in DURABILITIES),
        *(Way("stream", options) for options in (*alone, *together)),
        Way("stream_events", {"version": "v3"}, watches=True),
    ]
    waiting = [
        *(Way("ainvoke", {"durability": d}, watches=d == "sync") for d in DURABILITIES),
        *(Way("astream", options) for options in (*alone, *together)),
        *(Way("astream_events", {"version": v}, watches=v == "v3") for v in ("v2", "v3")),
    ]
    return blocking, waiting


def telling(ways: list[Way]) -> list[Way]:
    """Those that tell most: what a handler hears, all modes at once, and the events."""
    return [
        way for way in ways if way.watches or "subgraphs" in way.options or "version" in way.options
    ]


WAYS: dict[bool, list[Way]] = dict(zip((False, True), _ways(), strict=True))
"""The ways, by whether they are asynchronous."""

OLD_WAYS = (Way("astream_events", {"version": "v1"}), Way("astream_log", {"diff": True}))
"""Ways whose cost grows with the square of the number of events."""


async def follow(
    way: Way,
    graph: Any,
    given: Any,
    config: Mapping[str, Any],
    evidence: Evidence,
    *,
    fails: bool = False,
    **further: Any,
) -> None:
    """Run a graph in a way, and collect all that its caller sees; an error as well, where it fails."""
    place = way.name
    config = dict(config)
    watcher = Watcher(evidence, "callback")
    if way.watches:
        config["callbacks"] = [watcher]
    reader = Reader(evidence, place)
    try:
        async for part in _parts(way, graph, given, config, further):
            reader.part(part)
    except Exception as error:
        collect_error(evidence, f"error of {place}", error)
        if not fails:
            raise
    reader.end()
    watcher.end()


async def _parts(way: Way, graph: Any, given: Any, config: Any, further: Mapping[str, Any]) -> Any:
    options = {**way.options, **further}
    method = getattr(graph, way.method)
    match way.method:
        case "invoke":
            yield method(given, config, **options)
        case "ainvoke":
            yield await method(given, config, **options)
        case "stream":
            for part in method(given, config, **options):
                yield part
        case "stream_events":
            run = method(given, config, **options)
            for part in run:
                yield part
            yield run.output
            yield run.interrupts
        case "astream_events" if options["version"] == "v3":
            run = await method(given, config, **options)
            async for part in run:
                yield part
            yield await run.output()
            yield await run.interrupts()
        case _:
            async for part in method(given, config, **options):
                yield part
