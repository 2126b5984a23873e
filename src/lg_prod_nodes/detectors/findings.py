"""Findings, and how overlaps between them are resolved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """An entity at a position in a text."""

    start: int
    end: int
    entity: str
    score: float


def apart(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Resolve overlaps: the higher score wins, then the longer finding; the rest of the other remains a finding."""
    ordered = sorted(findings)
    if are_apart(ordered):
        return tuple(ordered)
    ranked = sorted(set(ordered), key=lambda f: (-f.score, f.start - f.end, f.start, f.entity))
    by_start = sorted(range(len(ranked)), key=lambda rank: ranked[rank].start, reverse=True)
    edges = sorted({edge for finding in ranked for edge in (finding.start, finding.end)})
    pieces: list[tuple[int, int, int]] = []
    open_: list[int] = []
    for at, until in pairwise(edges):
        while by_start and ranked[by_start[-1]].start == at:
            heappush(open_, by_start.pop())
        while open_ and ranked[open_[0]].end <= at:
            heappop(open_)
        if not open_:
            continue
        if pieces and pieces[-1][0] == open_[0] and pieces[-1][2] == at:
            at = pieces.pop()[1]
        pieces.append((open_[0], at, until))
    return tuple(ranked[rank]._replace(start=start, end=end) for rank, start, end in pieces)


def are_apart(ordered: Iterable[Sequence[Any]]) -> bool:
    """Whether findings in order are not empty and do not overlap."""
    end = 0
    for start, until, *_ in ordered:
        if start < end or until <= start:
            return False
        end = until
    return True
