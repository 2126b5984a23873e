"""What a check is, and what it can find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Status = Literal["ok", "degraded", "down"]
"""`"degraded"`: it works, and somebody should look. `"down"`: what needs it fails."""


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of some statuses."""
    found = set(statuses)
    if "down" in found:
        return "down"
    return "degraded" if "degraded" in found else "ok"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check has found.

    Attributes:
        status: How it is.
        detail: Names and numbers, never content or secrets: whoever may ask for the health reads them.
        seconds: How long the check took, measured by who runs it.
    """

    status: Status = "ok"
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Args:
        ask: Looks, in a thread of its own. What it returns may be awaitable, which is then awaited in the event loop
            that asks for the health. A `CheckResult` is what was found, `False` and any error mean down, all else ok.
            Of an error its type is told, never its text.
        critical: Whether the service is down when this is; else it is degraded.

    Example:
        ```python
        health = Health(production, checks={"search": Check(search_client.ping, critical=False)})
        ```
    """

    ask: Callable[[], Any]
    critical: bool = field(default=True, kw_only=True)

    def weighed(self, result: CheckResult) -> CheckResult:
        """What a result means for the service."""
        if result.status == "down" and not self.critical:
            return replace(result, status="degraded")
        return result
