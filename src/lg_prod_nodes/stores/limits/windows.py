"""The windows of rate limits: decisions about them, and the arithmetic that all backends share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor, inf
from typing import Literal, NamedTuple, Protocol

from limits import RateLimitItem, parse_many

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.stores.store import Backend

Strategy = Literal["fixed-window", "moving-window", "sliding-window-counter"]
STRATEGIES: tuple[Strategy, ...] = ("fixed-window", "moving-window", "sliding-window-counter")


@dataclass(frozen=True, slots=True)
class Limit:
    """N per period.

    Attributes:
        item: The limit as `limits` knows it.
        text: In words, such as `"10 per second"`.
        quota: How many.
        seconds: The period.
    """

    item: RateLimitItem
    text: str
    quota: int
    seconds: int

    @classmethod
    def of(cls, item: RateLimitItem) -> Limit:
        """A limit of `limits`."""
        return cls(item, _in_words(item), item.amount, item.get_expiry())

    def share(self, workers: int) -> Limit:
        """One worker's part of the limit, at least 1."""
        amount = max(1, self.quota // workers)
        return Limit.of(type(self.item)(amount, self.item.multiples, self.item.namespace))


def _in_words(item: RateLimitItem) -> str:
    name, multiples = item.GRANULARITY.name, item.multiples
    return f"{item.amount:,} per " + (name if multiples == 1 else f"{multiples} {name}s")


Limits = tuple[Limit, ...]


def parse_limits(text: str) -> Limits:
    """Read limits such as `"10/second;1000/hour"`.

    Raises:
        ConfigurationError: The text is not such a list, or a limit allows nothing.
    """
    try:
        return _parsed(text) if isinstance(text, str) else _parsed("")
    except ValueError as error:
        raise ConfigurationError(
            f"cannot read the rate limit {text!r}; write a number per second, minute, hour, day, month or year, "
            "several with a semicolon: '10/second;1000/hour', '5 per 2 minutes'; each allows at least 1"
        ) from error


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Limits:
    items = tuple(dict.fromkeys(parse_many(text)))
    if any(item.amount < 1 for item in items):
        raise ValueError("a limit allows nothing")
    return tuple(map(Limit.of, items))


class Window(NamedTuple):
    """How a limit's window stands.

    Attributes:
        limit: The limit.
        remaining: How much is left of it.
        reset: Seconds until some of what was taken comes back; 0 where nothing was taken.
        wait: Seconds until the cost fits: 0 if it does, `inf` if it never will.
    """

    limit: Limit
    remaining: int
    reset: float
    wait: float


class Decision(NamedTuple):
    """What a backend decides.

    Attributes:
        admitted: Whether no limit is exceeded; if so, all windows have counted the call, else none has.
        at: When, on the backend's own clock.
        windows: How each stands now, in the order of the limits.
    """

    admitted: bool
    at: float
    windows: Sequence[Window]

    @property
    def tightest(self) -> Window:
        """The window with the longest wait; if none has to wait, the one with the least left."""
        return max(self.windows, key=lambda window: (window.wait, -window.remaining))


class LimitBackend(Backend, Protocol):
    """Stores the windows of one strategy, and decides about several at once."""

    def decide(
        self,
        limits: Limits,
        who: str,
        cost: int = 1,
        *,
        once: str | None = None,
        remember: float = 0.0,
        forced: bool = False,
        since: float = 0.0,
    ) -> Decision:
        """Take from all windows or from none, in one atomic step.

        Args:
            limits: The limits.
            who: The key.
            cost: How much to take. Less than 0 gives back, from the oldest, so that never more than the limit passes.
            once: Identifies the charge: one that was admitted before is admitted again, and takes nothing.
            remember: Seconds for which such a charge is known.
            forced: Take or give back even if that exceeds a limit.
            since: When that which is given back was taken, as `Decision.at`.
        """
        ...


def counted_window(limit: Limit, used: int, reset: float, wait: float, cost: int) -> Window:
    """A fixed or a moving window, with the seconds until the cost fits."""
    remaining = limit.quota - used
    if cost <= remaining:
        wait = 0.0
    elif cost > limit.quota:
        wait = inf
    return Window(limit, max(remaining, 0), reset, wait)


def sliding_window(
    limit: Limit,
    previous: int,
    previous_ttl: float,
    current: int,
    current_ttl: float,
    cost: int,
) -> Window:
    """A window that is estimated from the counts of the previous and of the current one.

    Args:
        limit: The limit.
        previous: Count of the previous window.
        previous_ttl: Seconds of the previous window that are in sight; its count weighs that much.
        current: Count of the current window.
        current_ttl: Seconds until the current window is out of sight: twice the limit's time at its beginning.
        cost: What was asked for.
    """
    remaining = limit.quota - floor(previous * previous_ttl / limit.seconds + current)
    if cost <= remaining:
        wait = 0.0
    elif cost > limit.quota:
        wait = inf
    elif current + cost <= limit.quota:
        wait = previous_ttl - _weighs_at_most(limit, previous, limit.quota - current - cost)
    else:
        wait = current_ttl - _weighs_at_most(limit, current, limit.quota - cost)
    reset = min(
        previous_ttl % (limit.seconds / previous) if previous else inf,
        current_ttl % limit.seconds if current else inf,
    )
    return Window(limit, max(remaining, 0), reset if reset < inf else 0.0, max(wait, 0.0))


def _weighs_at_most(limit: Limit, count: int, room: int) -> float:
    """How many seconds of a window may be in sight so that its count, rounded down, fits."""
    return min((room + 1) * limit.seconds / count, limit.seconds)


def read_window(limit: Limit, cost: int, *numbers: float) -> Window:
    """A window from the numbers that a server reports."""
    if len(numbers) == 4:
        previous, previous_ttl, current, current_ttl = numbers
        return sliding_window(
            limit, round(previous), previous_ttl, round(current), current_ttl, cost
        )
    used, reset, wait = numbers
    return counted_window(limit, round(used), reset, wait, cost)
