"""Windows of this process alone, decided like those of `limits.storage.MemoryStorage`.

A decision takes the same time however many calls are in a window, and keys that are idle are forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from math import floor
from time import time
from typing import Protocol

from lg_prod_nodes.stores.limits.windows import (
    Decision,
    Limit,
    Limits,
    Strategy,
    Window,
    counted_window,
    sliding_window,
)

_FORGOTTEN_A_CALL = 2


class MemoryLimits:
    """Windows of one strategy, under one lock."""

    def __init__(self, strategy: Strategy) -> None:
        self._new = _KINDS[strategy]
        self._windows: dict[str, OrderedDict[str, _MemoryWindow]] = {}
        self._charged: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

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
        """Take from all windows or from none, see `LimitBackend.decide`."""
        with self._lock:
            now = time()
            if once is not None and self._is_known(once, now):
                cost = 0
            windows = [self._window(limit, who, now) for limit in limits]
            admitted = True
            for window in windows:
                if window.used(now) + cost > window.limit.quota and not forced:
                    admitted = False
            if admitted and cost:
                for window in windows:
                    window.take(cost, now, since)
                    self._windows[window.limit.text].move_to_end(who)
                if once is not None:
                    self._charged[once] = now + remember
            asked = 0 if admitted else cost
            return Decision(admitted, now, [window.seen(now, asked) for window in windows])

    def close(self) -> None:
        """Nothing is open."""

    def _window(self, limit: Limit, who: str, now: float) -> _MemoryWindow:
        by_key = self._windows.get(limit.text)
        if by_key is None:
            by_key = self._windows[limit.text] = OrderedDict()
        _forget(by_key, now)
        window = by_key.get(who)
        if window is None:
            window = by_key[who] = self._new(limit)
        return window

    def _is_known(self, once: str, now: float) -> bool:
        """Whether a charge was admitted; forgets others that are known for long enough."""
        charged = self._charged
        for _ in range(min(_FORGOTTEN_A_CALL, len(charged))):
            oldest = next(iter(charged))
            if charged[oldest] > now:
                break
            del charged[oldest]
        return charged.get(once, 0.0) > now


def _forget(by_key: OrderedDict[str, _MemoryWindow], now: float) -> None:
    """Forget windows in which nothing is, of those that were taken from the longest ago."""
    for _ in range(min(_FORGOTTEN_A_CALL, len(by_key))):
        oldest = next(iter(by_key))
        if by_key[oldest].idle_at >= now:
            return
        del by_key[oldest]


class _MemoryWindow(Protocol):
    """A window in memory."""

    limit: Limit
    idle_at: float
    """From when on nothing is in it."""

    def __init__(self, limit: Limit) -> None: ...

    def used(self, now: float) -> int:
        """How much is taken; call this first, since it forgets what has expired."""
        ...

    def take(self, cost: int, now: float, since: float) -> None:
        """Take, or give back what was taken since."""
        ...

    def seen(self, now: float, cost: int) -> Window:
        """How it stands."""
        ...


class _Fixed:
    """Begins with the first call, and counts until it ends."""

    __slots__ = ("_count", "_starts", "idle_at", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.idle_at = self._starts = 0.0
        self._count = 0

    def used(self, now: float) -> int:
        if self.idle_at <= now:
            self._count = 0
        return self._count

    def take(self, cost: int, now: float, since: float) -> None:
        if cost > 0 and not self._count:
            self._starts, self.idle_at = now, now + self.limit.seconds
        if cost > 0 or since >= self._starts:
            self._count = max(self._count + cost, 0)

    def seen(self, now: float, cost: int) -> Window:
        reset = max(self.idle_at - now, 0.0)
        return counted_window(self.limit, self._count, reset, reset, cost)


class _Moving:
    """Knows when each call was: never more than the limit in any span of its time."""

    __slots__ = ("_taken", "_used", "idle_at", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.idle_at = 0.0
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0

    def used(self, now: float) -> int:
        taken, since = self._taken, now - self.limit.seconds
        while taken and taken[0][0] < since:
            self._used -= taken.popleft()[1]
        return self._used

    def take(self, cost: int, now: float, since: float) -> None:
        if cost < 0:
            if since >= now - self.limit.seconds:
                self._give_back(min(-cost, self._used))
            return
        self._taken.append((now, cost))
        self._used += cost
        self.idle_at = now + self.limit.seconds

    def _give_back(self, rest: int) -> None:
        self._used -= rest
        while rest:
            at, cost = self._taken.popleft()
            if cost > rest:
                self._taken.appendleft((at, cost - rest))
            rest -= min(cost, rest)

    def seen(self, now: float, cost: int) -> Window:
        used, taken = self._used, self._taken
        reset = taken[0][0] + self.limit.seconds - now if taken else 0.0
        wait = reset if cost == 1 else self._wait(now, used + cost - self.limit.quota)
        return counted_window(self.limit, used, reset, wait, cost)

    def _wait(self, now: float, missing: int) -> float:
        if missing > 0:
            for at, cost in self._taken:
                missing -= cost
                if missing <= 0:
                    return at + self.limit.seconds - now
        return 0.0


class _Sliding:
    """Two counts: of the current window, and of the one before, which weighs as much as of it is in sight."""

    __slots__ = ("_current", "_number", "_previous", "idle_at", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.idle_at = 0.0
        self._number = self._previous = self._current = 0

    def used(self, now: float) -> int:
        self._move(now)
        return floor(self._previous * self._in_sight(now) / self.limit.seconds + self._current)

    def take(self, cost: int, now: float, since: float) -> None:
        if cost > 0 or since // self.limit.seconds == self._number:
            self._current = max(self._current + cost, 0)
        elif since // self.limit.seconds == self._number - 1:
            self._previous = max(self._previous + cost, 0)
        self.idle_at = max(self.idle_at, (self._number + 2) * self.limit.seconds)

    def seen(self, now: float, cost: int) -> Window:
        in_sight, ttl = self._in_sight(now), (2 - now / self.limit.seconds % 1) * self.limit.seconds
        return sliding_window(self.limit, self._previous, in_sight, self._current, ttl, cost)

    def _in_sight(self, now: float) -> float:
        seconds = self.limit.seconds
        return (
            1 - (now - seconds) / seconds % 1
        ) * seconds  # spelled as in `limits`, to the last bit

    def _move(self, now: float) -> None:
        number = int(now / self.limit.seconds)
        if number == self._number + 1:
            self._previous, self._current = self._current, 0
        elif number != self._number:
            self._previous = self._current = 0
        self._number = number


_KINDS: dict[Strategy, type[_MemoryWindow]] = {
    "fixed-window": _Fixed,
    "moving-window": _Moving,
    "sliding-window-counter": _Sliding,
}
