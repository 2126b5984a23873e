"""Amounts a period, such as `200000/day`: periods of the calendar, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, cast

from lg_prod_nodes.core.errors import ConfigurationError

Period = Literal["second", "minute", "hour", "day", "week", "month", "year"]

_AMOUNT = re.compile(
    r"\s*(?P<amount>\d[\d_]*(?:\.\d+)?)\s*(?:(?:/|per\b)\s*(?P<period>second|minute|hour|day|week|month|year))?\s*",
    re.ASCII,
)
_ADJECTIVES: dict[Period, str] = {
    "second": "per-second",
    "minute": "per-minute",
    "hour": "hourly",
    "day": "daily",
    "week": "weekly",
    "month": "monthly",
    "year": "yearly",
}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Allowance:
    """An amount, once for ever or anew in each period.

    Attributes:
        amount: How much.
        period: How long that is for, `None` for ever.
    """

    amount: Decimal
    period: Period | None = None

    @property
    def adjective(self) -> str:
        """The period in words, before a budget: `"daily "`; nothing without a period."""
        return "" if self.period is None else f"{_ADJECTIVES[self.period]} "

    def span(self, time: float) -> tuple[str, float | None]:
        """The name of the period that a time is in, and when it ends, both empty without a period.

        Args:
            time: Seconds since the epoch.
        """
        if self.period is None:
            return "", None
        start, end = _bounds(self.period, time)
        return f"{self.period}:{start:%Y-%m-%dT%H:%M:%S}", end.timestamp()


def parse_allowance(text: str, what: str) -> Allowance:
    """Read an amount such as `"200000/day"`, `"5.00 per month"` or `"1_000_000"`.

    Args:
        text: What to read.
        what: What it is, for the error.

    Raises:
        ConfigurationError: The text is no amount, or one of nothing.
    """
    found = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ConfigurationError(
            f"cannot read the {what} {text!r}; write an amount, for ever or per second, minute, hour, day, week, "
            "month or year: '200000/day', '5.00 per month', '1000000'"
        )
    amount = Decimal(found["amount"])
    if not amount:
        raise ConfigurationError(f"the {what} {text!r} allows nothing at all; give more than 0")
    return Allowance(amount, cast("Period | None", found["period"]))


def _bounds(period: Period, time: float) -> tuple[datetime, datetime]:
    if seconds := _SECONDS.get(period):
        start = datetime.fromtimestamp(time // seconds * seconds, UTC)
        return start, start + timedelta(seconds=seconds)
    day = datetime.fromtimestamp(time // 86_400 * 86_400, UTC)
    if period == "week":
        start = day - timedelta(days=day.weekday())
        return start, start + timedelta(days=7)
    if period == "month":
        start = day.replace(day=1)
        return start, (start + timedelta(days=31)).replace(day=1)
    start = day.replace(month=1, day=1)
    return start, start.replace(year=start.year + 1)
