"""What a run has counted: charges that have an identity, and series that are numbered."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Charges:
    """The charges and counts of one run.

    Attributes:
        executions: The current execution of each task, by LangGraph's id of the task.
    """

    def __init__(self) -> None:
        self.executions: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._charges: Counter[tuple[str, str, str]] = Counter()
        self._counted: dict[object, dict[object, int]] = {}

    def next(self, task: str, execution: str, what: str) -> str:
        """The identity of the next charge for something in an execution of a task, see `Call.charge`."""
        with self._lock:
            self._charges[task, execution, what] += 1
            return f"{task}:{what}:{self._charges[task, execution, what]}"

    def count(self, series: object, item: object = None) -> int:
        """The number of an item in a series of this run, from 1; `None` is a new item each time."""
        with self._lock:
            counted = self._counted.setdefault(series, {})
            return counted.setdefault(len(counted) if item is None else item, len(counted) + 1)
