"""The line at a thread: the run that holds it, and the runs that wait for it. Every decision is a pure function.

Each function takes a line and returns the line afterwards. All are idempotent for a claim, so that a step whose answer
was lost can be taken again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

Strategy = Literal["reject", "enqueue", "interrupt", "rollback"]
"""What a run does when its thread is busy, as in LangGraph Server's `multitask_strategy`."""

End = Literal["cancel", "interrupt", "rollback"]
"""How a run is asked to end; `"rollback"` also removes what it wrote."""

_PATIENCE = 0.01  # seconds to wait longer than a worker has left to live


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that holds a thread or waits for it.

    Attributes:
        id: Identifies the claim. It is also the `run_id` in the metadata of the run's checkpoints.
        run: The run's id, by which callers cancel it.
        worker: The process that the run is in.
        end: How the run was asked to end, `None` if it was not.
    """

    id: str
    run: str
    worker: str
    end: End | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """The line at a thread.

    Attributes:
        holder: The run that holds the thread.
        waiting: The runs that wait for it, in order.
        ended: Runs that did not reach their end, with how they ended. Whoever holds the thread next cleans up after
            them.
    """

    holder: Claim | None = None
    waiting: tuple[Claim, ...] = ()
    ended: tuple[tuple[str, End], ...] = ()

    @classmethod
    def of(cls, text: str | None) -> Line:
        """Return a line as it was stored; an empty one if there is none."""
        if not text:
            return cls()
        stored = json.loads(text)
        holder = Claim(**stored["holder"]) if stored["holder"] else None
        waiting = tuple(Claim(**each) for each in stored["waiting"])
        return cls(holder, waiting, tuple((id, end) for id, end in stored["ended"]))

    def __str__(self) -> str:
        """Return the line as it is stored; empty if nobody needs it."""
        return json.dumps(asdict(self), separators=(",", ":")) if self != Line() else ""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The holder and the runs that wait."""
        return (*([self.holder] if self.holder else []), *self.waiting)

    @property
    def is_watched(self) -> bool:
        """Whether somebody has to hear of a change: a run that waits, or one that was asked to end."""
        return bool(self.waiting) or any(claim.end for claim in self.claims)

    def find(self, id: str) -> Claim | None:
        """Return a claim as it is now, `None` if it is not in the line."""
        return next((claim for claim in self.claims if claim.id == id), None)


class Standing(NamedTuple):
    """What a claim gets.

    Attributes:
        state: `"held"`: the thread is its. `"waiting"`: it has to ask again. `"busy"`: it is not admitted. `"ended"`:
            another run asked it to end while it waited.
        end: How it was asked to end.
        ahead: How many runs are ahead of it, with the holder.
        again: Seconds after which it asks again, even if it hears of no change.
    """

    state: Literal["held", "waiting", "busy", "ended"]
    end: End | None = None
    ahead: int = 0
    again: float = 0.0


def ask(
    line: Line, claim: Claim, strategy: Strategy, alive: Mapping[str, float], *, most: int
) -> tuple[Line, Standing]:
    """Ask for a thread: take it, join the line, or be refused.

    Args:
        line: The line.
        claim: The run that asks.
        strategy: What it does if the thread is busy.
        alive: The workers that are alive, with the seconds until they are taken for dead.
        most: How many runs may wait.
    """
    line = _without_dead(line, {*alive, claim.worker})
    mine = line.find(claim.id)
    if mine is not None and mine == line.holder:
        return line, Standing("held")
    if mine is not None and mine.end:
        return _dropped(line, claim.id), Standing("ended", mine.end)
    if mine is None:
        if strategy == "reject" and line.claims:
            return line, Standing("busy", ahead=len(line.claims))
        if strategy in ("interrupt", "rollback"):
            line = end(line, "rollback" if strategy == "rollback" else "interrupt")
        ready = [each for each in line.waiting if not each.end]
        if line.claims and len(ready) >= most:
            return line, Standing("busy", ahead=len(line.claims))
        line = replace(line, waiting=(*line.waiting, claim))
    ahead = _ahead_of(line, claim.id)
    if not ahead:
        return replace(_dropped(line, claim.id), holder=claim), Standing("held")
    again = min(alive.get(each.worker, 0.0) for each in ahead) + _PATIENCE
    return line, Standing("waiting", ahead=len(ahead), again=again)


def release(line: Line, id: str, *, cleaned: bool, finished: bool = True) -> Line:
    """Leave a line, or let go of its thread.

    Args:
        line: The line.
        id: The claim.
        cleaned: Whether the holder has cleaned up after the runs before it.
        finished: Whether the holder reached its end, an error or an interrupt, unlike one that was cancelled.
    """
    mine = line.find(id)
    if mine is None:
        return line
    if mine != line.holder:
        return _dropped(line, id)
    ended = () if cleaned else line.ended
    how = mine.end or (None if finished else "interrupt")
    return replace(line, holder=None, ended=(*ended, *([(id, how)] if how else [])))


def end(line: Line, how: End, *, run: str | None = None) -> Line:
    """Ask runs to end: all of a thread, or those with a run id. A later `"rollback"` replaces a milder wish."""

    def asked(claim: Claim) -> Claim:
        if run not in (None, claim.run) or (claim.end and how != "rollback"):
            return claim
        return replace(claim, end=how)

    holder = asked(line.holder) if line.holder else None
    return replace(line, holder=holder, waiting=tuple(map(asked, line.waiting)))


def is_due(line: Line, id: str) -> bool:
    """Whether a claim that waits should ask again."""
    mine = line.find(id)
    return mine is None or mine.end is not None or not _ahead_of(line, id)


def _without_dead(line: Line, alive: set[str]) -> Line:
    waiting = tuple(claim for claim in line.waiting if claim.worker in alive)
    if len(waiting) < len(line.waiting):
        line = replace(line, waiting=waiting)
    holder = line.holder
    if holder is None or holder.worker in alive:
        return line
    return replace(line, holder=None, ended=(*line.ended, (holder.id, holder.end or "interrupt")))


def _ahead_of(line: Line, id: str) -> list[Claim]:
    """The claims that have to go first; one that waits and was asked to end does not."""
    ahead = [] if line.holder is None else [line.holder]
    for claim in line.waiting:
        if claim.id == id:
            break
        if not claim.end:
            ahead.append(claim)
    return ahead


def _dropped(line: Line, id: str) -> Line:
    return replace(line, waiting=tuple(claim for claim in line.waiting if claim.id != id))
