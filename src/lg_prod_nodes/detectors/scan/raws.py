"""The findings of single recognizers, before they are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lg_prod_nodes.detectors.findings import are_apart


class Raw(NamedTuple):
    """A finding of one recognizer.

    Attributes:
        is_final: Whether the recognizer has already taken context words into account.
    """

    start: int
    end: int
    entity: str
    score: float
    is_final: bool = False


def without_duplicates(raws: Iterable[Raw]) -> list[Raw]:
    """The findings without duplicates, and without those inside an equally certain one of the same entity.

    Equivalent to Presidio's `EntityRecognizer.remove_duplicates`, which compares results by their text form.
    """
    raws = [raw for raw in raws if raw.score]
    if are_apart(ordered := sorted(raws)):
        return ordered
    found = {raw[:4]: raw for raw in raws}
    kept: list[Raw] = []
    entity, active = "", list[Raw]()
    for raw in sorted(found.values(), key=lambda r: (r.entity, r.start, -r.end, -r.score)):
        if raw.entity != entity:
            entity, active = raw.entity, []
        active = [other for other in active if other.end >= raw.start]
        if not any(raw.end <= other.end and raw.score <= other.score for other in active):
            kept.append(raw)
            active.append(raw)
    return kept
