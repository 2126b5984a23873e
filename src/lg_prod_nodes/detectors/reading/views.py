"""Merges the findings in a text as written and as read."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

from lg_prod_nodes.content.finality import Reach
from lg_prod_nodes.detectors.findings import Finding, apart
from lg_prod_nodes.detectors.reading.folding import Folded, folded

Scan = Callable[[str], Iterable[Finding]]


def in_both_views(text: str, scan: Scan) -> Iterator[Finding]:
    """The findings of a scan in both views of a text, by their positions in the original."""
    reading = folded(text)
    if reading is None:
        yield from scan(text)
        return
    read = [_placed(finding, reading) for finding in scan(reading.text)]
    yield from read
    yield from _adjusted(scan(text), read, reading)


def _placed(finding: Finding, reading: Folded) -> Finding:
    start, end = reading.place(finding.start, finding.end)
    return finding._replace(start=start, end=end)


def _adjusted(
    written: Iterable[Finding], read: Iterable[Finding], reading: Folded
) -> Iterator[Finding]:
    r"""The findings in the text as written, without parts of escapes.

    The `n` of `\n` in JSON looks like the start of the next word; there, the text as read is more accurate.
    """
    by_entity: dict[str, list[Finding]] = defaultdict(list)
    for finding in read:
        by_entity[finding.entity].append(finding)
    known = {entity: apart(findings) for entity, findings in by_entity.items()}
    for finding in written:
        units = reading.units_in(finding.start, finding.end)
        if any(unit.is_json for unit in units) and _overlaps(
            finding, known.get(finding.entity, ())
        ):
            continue
        start = min([finding.start, *(unit.start for unit in units[:1])])
        end = max([finding.end, *(unit.end for unit in units[-1:])])
        yield finding._replace(start=start, end=end)


def _overlaps(finding: Finding, others: Sequence[Finding]) -> bool:
    at = bisect_left(others, finding.end, key=attrgetter("start"))
    return at > 0 and others[at - 1].end > finding.start


def as_read(text: str) -> str:
    """A text as a person reads it."""
    reading = folded(text)
    return text if reading is None else reading.text


class ReadReach:
    """How far entities may extend, in a text as written and as read."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._written = reach.settled

    def settled(self, text: str) -> int:
        """How many characters are final in both views; no finding of either may be cut."""
        written = self._written(text)
        if text.isascii() and not ("%" in text or "&" in text or "\\" in text):
            return written
        read = self._as_read(text)
        cut, view, other = written, self._as_read, self._written
        if read < written:
            cut, view, other = read, other, view
        while cut and (back := view(text[:cut])) < cut:
            cut, view, other = back, other, view
        return cut

    def _as_read(self, text: str) -> int:
        reading = folded(text)
        if reading is None:
            return self._written(text)
        settled = self._written(reading.text)
        is_all = settled >= len(reading.text)
        return len(text) if is_all else reading.place(settled, settled + 1)[0]

    def opens(self, text: str) -> bool:
        """Whether the end of a text looks like the start of an entity, in either view."""
        reading = folded(text)
        return self._reach.opens(text) or (reading is not None and self._reach.opens(reading.text))
