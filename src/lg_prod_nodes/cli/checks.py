"""Runs checks concurrently, so that none delays another, and collects their findings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from lg_prod_nodes.core.errors import ProductionError

T = TypeVar("T")

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class CheckFinding:
    """The result of checking one thing. Contains no secrets.

    Attributes:
        subject: What was checked.
        status: Whether it works.
        found: What was found.
        advice: What to do if it does not work.
    """

    subject: str
    status: Status
    found: str
    advice: str = ""


Check = Callable[[], Iterable[CheckFinding]]


def within(seconds: float, step: Callable[[], T]) -> T:
    """Return the result of a step.

    Raises:
        TimeoutError: The step takes longer than `seconds`. It keeps running until the process ends.
    """
    return _begun(step).result(seconds)


def run_all(checks: Mapping[str, Check], seconds: float) -> list[CheckFinding]:
    """Return the findings of all checks, in order; a check that takes longer than `seconds` has failed."""
    begun = {
        subject: _begun(partial(_findings, subject, check)) for subject, check in checks.items()
    }
    done, _ = wait(begun.values(), seconds)
    late, advice = f"no answer in {seconds:g} s", "see whether the network lets it through"
    return [
        finding
        for subject, findings in begun.items()
        for finding in (
            findings.result()
            if findings in done
            else [CheckFinding(subject, "failed", late, advice)]
        )
    ]


def _begun(step: Callable[[], T]) -> Future[T]:
    """Start a step in a daemon thread; return its future."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(step())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _findings(subject: str, check: Check) -> list[CheckFinding]:
    findings: list[CheckFinding] = []
    try:
        findings.extend(check())
    except ProductionError as error:  # its message is ours
        findings.append(CheckFinding(subject, "failed", str(error)))
    except BaseException as error:  # any other message may quote a secret
        kind = type(error).__name__
        findings.append(CheckFinding(subject, "failed", f"the check itself failed with {kind}"))
    return findings
