"""Health checks and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Status = Literal["ok", "degraded", "down"]
"""`"degraded"`: works, but needs attention. `"down"`: whatever depends on it fails."""


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of several statuses."""
    found = set(statuses)
    if "down" in found:
        return "down"
    return "degraded" if "degraded" in found else "ok"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a health check.

    Attributes:
        status: The status found.
        detail: Names and numbers, never content or secrets: anyone who may request the health sees it.
        seconds: How long the check took; set by the caller of the check.
    """

    status: Status = "ok"
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A health check for one dependency.

    Args:
        ask: The check, called in its own thread. An awaitable result is awaited in the event loop of the health
            request. It may return a `CheckResult`. `False` or any exception means down, any other value means ok. Of an
            exception, only the type is shown, never the message.
        critical: Whether the service is down if this check is; otherwise it is degraded.

    Example:
        ```python
        health = Health(production, checks={"search": Check(search_client.ping, critical=False)})
        ```
    """

    ask: Callable[[], Any]
    critical: bool = field(default=True, kw_only=True)

    def weighed(self, result: CheckResult) -> CheckResult:
        """Return what a result means for the service."""
        if result.status == "down" and not self.critical:
            return replace(result, status="degraded")
        return result
