"""A question to a ledger: which calls, summed by what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.ledger.entries import DIMENSIONS, Dimension, Entry

When = datetime | timedelta | None
"""A point in time, or how long ago."""

Where = Mapping[Dimension, str | Collection[str | None] | None]
"""What calls must have, by dimension: a value, or one of several; `None` is where there is none."""


@dataclass(frozen=True)
class Query:
    """Which entries, and what to sum them by."""

    by: tuple[Dimension, ...]
    since: datetime | None
    until: datetime | None
    where: Mapping[Dimension, tuple[str | None, ...]]

    def matches(self, entry: Entry) -> bool:
        """Whether an entry is asked for."""
        return (
            (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and all(getattr(entry, name) in allowed for name, allowed in self.where.items())
        )

    def key(self, entry: Entry) -> tuple[str | None, ...]:
        """Which group an entry belongs to."""
        return tuple(getattr(entry, name) for name in self.by)


def query(
    by: Dimension | Collection[Dimension] = (),
    since: When = None,
    until: When = None,
    where: Where | None = None,
    retention: timedelta | None = None,
) -> Query:
    """A question, checked.

    Raises:
        ConfigurationError: There is no such dimension, or a time has no time zone.
    """
    now = datetime.now(UTC)
    dimensions = cast("tuple[Dimension, ...]", (by,) if isinstance(by, str) else tuple(by))
    allowed: dict[Dimension, tuple[str | None, ...]] = {
        name: _several(values) for name, values in (where or {}).items()
    }
    for name in (*dimensions, *allowed):
        if name not in DIMENSIONS:
            raise ConfigurationError(
                f"{name!r} is nothing to sum or select by; give of {', '.join(DIMENSIONS)}"
            )
    kept = [since] if retention is None else [since, retention]
    starts = [start for given in kept if (start := _point("since", given, now)) is not None]
    return Query(dimensions, max(starts, default=None), _point("until", until, now), allowed)


def _several(values: str | Collection[str | None] | None) -> tuple[str | None, ...]:
    return (values,) if isinstance(values, str) or values is None else tuple(values)


def _point(name: str, given: When, now: datetime) -> datetime | None:
    if given is None:
        return None
    if isinstance(given, timedelta):
        return now - given
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ConfigurationError(
            f"{name} is {given!r}; give a datetime with a time zone, such as datetime.now(UTC), "
            "or a timedelta for how long ago"
        )
    return given
