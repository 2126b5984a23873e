"""What a check finds, and checks that run side by side without holding each other up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal, TypeVar

from lg_prod_nodes.errors import ProductionError

T = TypeVar("T")

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing. No secret is in it.

    Attributes:
        subject: What was looked at.
        status: Whether it works.
        found: What was found.
        advice: What to do, where it does not work.
    """

    subject: str
    status: Status
    found: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def within(seconds: float, step: Callable[[], T]) -> T:
    """What a step gives.

    Raises:
        TimeoutError: It takes longer than so many seconds; it goes on until the process ends.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(step())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


def run_all(checks: Mapping[str, Check], seconds: float) -> list[Finding]:
    """The findings of checks, in their order; one that takes longer than so many seconds has failed."""
    done: SimpleQueue[tuple[str, list[Finding]]] = SimpleQueue()
    for subject, check in checks.items():
        threading.Thread(target=_run, args=(subject, check, done.put), daemon=True).start()
    found: dict[str, list[Finding]] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(checks):
        try:
            subject, findings = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        found[subject] = findings
    late = f"no answer in {seconds:g} s"
    return [
        finding
        for subject in checks
        for finding in found.get(
            subject, [Finding(subject, "failed", late, "see whether the network lets it through")]
        )
    ]


def _run(subject: str, check: Check, tell: Callable[[tuple[str, list[Finding]]], object]) -> None:
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except ProductionError as error:  # whose text is ours
        findings.append(Finding(subject, "failed", str(error)))
    except Exception as error:  # of whatever a check meets, its text may quote a secret
        kind = type(error).__name__
        findings.append(Finding(subject, "failed", f"the check itself failed with {kind}"))
    tell((subject, findings))
