"""Messages, codes and the page that explains them."""

from __future__ import annotations

import inspect
import pickle
import re
import traceback
from pathlib import Path

import pytest

from lg_prod_nodes import (
    BudgetExceeded,
    Busy,
    CallRejected,
    CircuitOpen,
    ConfigurationError,
    DeadlineExceeded,
    LeaseLost,
    RateLimitExceeded,
    RunInterrupted,
    ShuttingDown,
    ThreadBusy,
    UntrustedType,
    VaultTampered,
)
from lg_prod_nodes.core import cautions, errors
from lg_prod_nodes.core.advice import duration

PAGE = Path(__file__).parents[1] / errors.PAGE
CLASSES = [
    cls
    for module in (errors, cautions)
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, (Exception, Warning)) and cls.__module__ == module.__name__
]


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [vars(cls)["code"] for cls in CLASSES]
    assert len(set(codes)) == len(codes) > 15
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_page_of_errors_explains_every_class(cls: type[Exception]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition(f"{{ #{vars(cls)['code']} }}")[2].partition("\n#")[0]
    assert "**Cause.**" in section
    assert "**Cure.**" in section


def test_the_page_of_errors_explains_no_code_that_does_not_exist() -> None:
    anchors = set(re.findall(r"\{ #([\w-]+) \}", PAGE.read_text(encoding="utf-8")))
    assert anchors == {vars(cls)["code"] for cls in CLASSES}


MESSAGES = [
    (
        RateLimitExceeded("2 per minute", retry_after=59.25),
        "rate limit exceeded (2 per minute); retry in 60 s",
    ),
    (
        RateLimitExceeded("2 per minute", retry_after=None),
        "call costs more than the rate limit ever allows (2 per minute); make the call smaller",
    ),
    (
        BudgetExceeded(
            "daily budget of 1,000 tokens", available=3, policy="TokenBudget", retry_after=33_120
        ),
        "daily budget of 1,000 tokens exhausted; resets in 9 h 12 min",
    ),
    (
        BudgetExceeded("run budget of 10 steps", available=0, policy="RunBudget"),
        "run budget of 10 steps exhausted",
    ),
    (Busy(10), "bulkhead full (10 of 10 slots in use)"),
    (ThreadBusy(1), "thread is busy with another run; send the message again when it has ended"),
    (
        RunInterrupted("rollback", started=True),
        "run ended by a newer run of its thread; what it wrote is removed",
    ),
    (RunInterrupted("cancel", started=False), "run cancelled; it had not begun"),
    (CircuitOpen("gpt", retry_after=29.9), "circuit open for gpt; next probe in 30 s"),
    (DeadlineExceeded(2.5), "run deadline of 2.5 s exceeded, or too near for this call"),
    (ShuttingDown(), "worker is shutting down and accepts no new runs; retry in 1 s"),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: str(value)[:20])
def test_a_refusal_says_what_is_exceeded_and_when_to_retry(
    error: CallRejected, message: str
) -> None:
    assert str(error) == message


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.11, "0.2 s"),
        (9.99, "10 s"),
        (59.25, "60 s"),
        (120, "120 s"),
        (121, "3 min"),
        (3600, "1 h"),
        (33_120, "9 h 12 min"),
        (2 * 86_400, "2 d"),
        (3 * 86_400 + 3 * 3600 + 1, "3 d 4 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_traceback_says_where_the_error_is_explained() -> None:
    error = RateLimitExceeded("2 per minute", retry_after=1.0)
    shown = "".join(traceback.format_exception(error))
    assert shown.endswith(
        "rate limit exceeded (2 per minute); retry in 1 s\n"
        "[rate-limit-exceeded] see docs/reference/errors.md#rate-limit-exceeded\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        Busy(3),
        ConfigurationError("a"),
        LeaseLost(),
        RunInterrupted("cancel", started=False),
        ThreadBusy(2),
        UntrustedType(["a:B"]),
        VaultTampered(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_note_survives_pickling_and_stays_one(error: errors.ProductionError) -> None:
    sent = pickle.loads(pickle.dumps(error))
    assert str(sent) == str(error)
    assert sent.__notes__ == [f"[{error.code}] see {error.help}"]
