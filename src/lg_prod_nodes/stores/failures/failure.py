"""What is stored of a run that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from traceback import walk_tb
from types import TracebackType
from typing import Any

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.core.report import CapturedError, ErrorClass
from lg_prod_nodes.core.run import Run
from lg_prod_nodes.stores.failures.settings import Settings, settings_of

_FRAMES = 12
_OF_LIBRARIES = {
    "asyncio",
    "concurrent",
    "langchain_core",
    "langgraph",
    "lg_prod_nodes",
    "threading",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed. Holds names, lines and numbers; no message, and no value of any variable.

    Attributes:
        id: Identifies it: the same error of a node on the same lines, in the same thread, is the same failure.
        graph: Name of the graph.
        run_id: Its latest run.
        thread_id: Its conversation, `None` without a checkpointer.
        checkpoint_id: The checkpoint at which it failed last.
        checkpoint_ns: LangGraph's namespace of the subgraph.
        node: The node that failed, `None` where the run itself did.
        type: Name of the error's type.
        error_class: What the error means, see `ErrorClass`.
        fingerprint: The same for errors of a type that come from the same lines.
        frames: Those lines, as in `"desk.py:42 search"`, the innermost last.
        attempts: How often the node was tried in the latest run.
        count: How many runs failed so.
        first: When the first one did.
        last: When the latest one did.
        resolved: When it was resolved, `None` until then.
        settings: The names in `configurable` of its latest run, with salted digests of their values, see `retry`.
    """

    id: str
    graph: str
    run_id: str
    thread_id: str | None
    checkpoint_id: str | None
    checkpoint_ns: str | None
    node: str | None
    type: str
    error_class: ErrorClass
    fingerprint: str
    frames: tuple[str, ...]
    attempts: int
    first: datetime
    last: datetime
    count: int = 1
    resolved: datetime | None = None
    settings: Settings = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def of(
        cls,
        run: Run,
        names: CapturedError,
        error: BaseException,
        *,
        config: RunnableConfig,
        at: float,
    ) -> Failure:
        """What is stored of a run that ended with an error."""
        frames = frames_of(error.__traceback__)
        fingerprint = _digest(names.type, *frames)
        when = datetime.fromtimestamp(at, UTC)
        return cls(
            id=_digest(run.graph, run.thread_id or run.id, names.node or "", fingerprint),
            graph=run.graph,
            run_id=run.id,
            thread_id=run.thread_id,
            checkpoint_id=names.checkpoint_id,
            checkpoint_ns=names.checkpoint_ns,
            node=names.node,
            type=names.type,
            error_class=names.error_class,
            fingerprint=fingerprint,
            frames=frames,
            attempts=names.attempts,
            first=when,
            last=when,
            settings=settings_of(config, run),
        )


def frames_of(traceback: TracebackType | None) -> tuple[str, ...]:
    """The lines that a traceback names, without those of what runs nodes, the innermost last."""
    frames = [
        f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(traceback)
        if _is_own(frame.f_globals)
    ]
    return tuple(dict.fromkeys(frames))[
        -_FRAMES:
    ]  # an error that is raised again names its lines again


def _is_own(names: Mapping[str, Any]) -> bool:
    return str(names.get("__name__", "")).partition(".")[0] not in _OF_LIBRARIES


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()
