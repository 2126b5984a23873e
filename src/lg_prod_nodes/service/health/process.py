"""Checks of the process itself: event loop lag and memory use."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lg_prod_nodes.core.clock import Clock
from lg_prod_nodes.service.health.checks import CheckResult

_PACE = 0.5  # seconds between two measurements of the event loop
_LOOKS = 60
_STUCK = 30.0  # seconds
_UNLIMITED = 1 << 60  # cgroup v1 reports "no limit" as a number larger than any memory
_MIB = 1 << 20


class LoopLag:
    """Measures event loop lag, which grows if something blocks the loop or it has too much to do.

    Args:
        most: Maximum lag in seconds over the last half minute; above it, the result is degraded.
        clock: The clock to use.
    """

    def __init__(self, most: float, clock: Clock) -> None:
        self._most, self._clock = most, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lags: deque[float] = deque(maxlen=_LOOKS)
        self._due = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start measuring a loop; replaces the one measured before."""
        if loop is not self._loop:
            self._loop = loop
            self._lags.clear()
            self._look_again(loop)

    def check(self) -> CheckResult:
        """Return the lag. A loop that has not run for half a minute is down."""
        if self._loop is None or self._loop.is_closed():
            return CheckResult(detail="no event loop was seen")
        overdue = self._overdue()
        lag = max(overdue, *self._lags, 0.0)
        detail = f"{lag:.3f} s behind"
        if overdue > _STUCK:
            return CheckResult("down", detail)
        return CheckResult("degraded" if lag > self._most else "ok", detail)

    def _overdue(self) -> float:
        return self._clock.now() - self._due

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock.now() + _PACE
        loop.call_later(_PACE, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop:
            self._lags.append(self._overdue())
            self._look_again(loop)


class Memory(NamedTuple):
    """Bytes in use, and bytes available in total."""

    used: int
    limit: int


def check_memory(most: float, root: Path = Path("/")) -> CheckResult:
    """Check the memory use of the container, or that of this process if the container has no limit.

    Args:
        most: Maximum share of the limit; above it, the result is degraded.
        root: The folder that contains `proc` and `sys`.
    """
    memory = _of_cgroup(root) or _of_process(root)
    if memory is None:
        return CheckResult(detail="this system does not tell")
    detail = f"{memory.used // _MIB} of {memory.limit // _MIB} MiB"
    return CheckResult("degraded" if memory.used > most * memory.limit else "ok", detail)


class _Files(NamedTuple):
    limit: str
    used: str
    of_files: str  # the line of memory.stat with page cache, which the kernel reclaims when needed


_V2 = _Files("memory.max", "memory.current", "inactive_file ")
_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")


def _of_cgroup(root: Path) -> Memory | None:
    """Return the memory of this process's innermost control group that has a limit."""
    for folder, files in _groups(root):
        try:
            limit = (folder / files.limit).read_text()
            used = int((folder / files.used).read_text())
            stat = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        if limit.strip().isdecimal() and int(limit) < _UNLIMITED:
            cached = next((line.split()[1] for line in stat if line.startswith(files.of_files)), 0)
            return Memory(used - int(cached), int(limit))
    return None


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / kinds
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                yield folder, _V1 if kinds else _V2


def _of_process(root: Path) -> Memory | None:
    try:
        resident = int((root / "proc/self/statm").read_text().split()[1])
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None
    return Memory(resident * page, pages * page)
