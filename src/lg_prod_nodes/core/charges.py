"""The charges and counts of a run."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Charges:
    """The charges and counts of one run.

    Attributes:
        executions: The current execution of each task, by LangGraph's task id.
    """

    def __init__(self) -> None:
        self.executions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._charges: Counter[tuple[str, str, str]] = Counter()
        self._counted: dict[object, dict[object, int]] = {}

    def next(self, task: str, execution: str, what: str) -> str:
        """Return the id of the next charge in an execution of a task, see `Call.charge`."""
        with self._lock:
            self._charges[task, execution, what] += 1
            return f"{task}:{what}:{self._charges[task, execution, what]}"

    def count(self, series: object, item: object = None) -> int:
        """Return an item's number in a series of this run, from 1; `None` is a new item each time."""
        with self._lock:
            counted = self._counted.setdefault(series, {})
            return counted.setdefault(len(counted) if item is None else item, len(counted) + 1)
