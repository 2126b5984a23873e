from __future__ import annotations

import pytest

from lg_prod_nodes import Busy, RateLimitExceeded, RunReport
from lg_prod_nodes.core.report import LimitState
from lg_prod_nodes.service.web import rate_limit_headers

BURST = LimitState("desk", "10 per second", 10, 1, 7, 0.2)
DAILY = LimitState("desk", "1000 per day", 1000, 86_400, 997, 86_399.5)
TOKENS = LimitState("tokens", "50000 per minute", 50_000, 60, 0, 30.0)


def test_a_report_tells_each_limit() -> None:
    assert rate_limit_headers(RunReport(limits=[TOKENS])) == {
        "RateLimit-Policy": '"tokens";q=50000;w=60',
        "RateLimit": '"tokens";r=0;t=30',
    }


def test_limits_of_one_policy_have_names_of_their_own() -> None:
    assert rate_limit_headers(RunReport(limits=[BURST, TOKENS, DAILY])) == {
        "RateLimit-Policy": '"desk-1";q=10;w=1, "tokens";q=50000;w=60, "desk-2";q=1000;w=86400',
        "RateLimit": '"desk-1";r=7;t=1, "tokens";r=0;t=30, "desk-2";r=997;t=86400',
    }


def test_a_run_without_limits_tells_nothing() -> None:
    assert rate_limit_headers(RunReport()) == {}


def test_a_refusal_says_when_to_try_again_in_whole_seconds() -> None:
    refusal = RateLimitExceeded("a limit", retry_after=29.01, limits=[TOKENS])

    assert rate_limit_headers(refusal) == {
        "RateLimit-Policy": '"tokens";q=50000;w=60',
        "RateLimit": '"tokens";r=0;t=30',
        "Retry-After": "30",
    }


def test_a_refusal_that_waiting_does_not_help_says_no_time() -> None:
    assert rate_limit_headers(RateLimitExceeded("a limit", retry_after=None)) == {}


def test_other_refusals_say_when_to_try_again_too() -> None:
    assert rate_limit_headers(Busy(3, retry_after=0.1)) == {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("name", "quoted"),
    [('a "b"', '"a \\"b\\""'), ("a\\b", '"a\\\\b"'), ("büro\r\nX: 1", '"b?ro??X: 1"')],
)
def test_names_cannot_break_out_of_a_field(name: str, quoted: str) -> None:
    state = LimitState(name, "1 per hour", 1, 3600, 0, 1.0)

    assert rate_limit_headers(RunReport(limits=[state]))["RateLimit"] == f"{quoted};r=0;t=1"
