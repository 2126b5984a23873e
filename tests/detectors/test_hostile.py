# ruff: noqa: RUF001
from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    DateRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    PhoneRecognizer,
    UrlRecognizer,
)
from tests.detectors.test_scan import OfflineEmailRecognizer

from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector, term_recognizers
from lg_prod_nodes.detectors.reading.folding import folded
from lg_prod_nodes.detectors.recognizers.catalogue import ENTITIES

UNITS = {
    "dots": ".",
    "labels": "a.",
    "slashes": "1/1/",
    "dates": "1/2/3/4/5/6/7/8/9/0/",
    "dashes": "1-1-",
    "digits": "1",
    "cards": "4111111111111111",
    "spaced digits": "1 ",
    "groups": "DE89 3704 ",
    "at signs": "@",
    "at": "a@",
    "hosts": "a.a.@",
    "spaces": " ",
    "colons": ":",
    "ipv6": "1:",
    "ipv6 short": "1::",
    "mac": "00:",
    "token": "x",
    "brackets": "[(",
    "json": '{"a":',
    "percent": "%25%25",
    "percent of percent": "%2525",
    "marks": "e\u0301\u0301",
    "invisible": "\u200b",
    "foreign": "é.a.",
    "lookalikes": "а.",
    "backslashes": "\\",
    "escapes": "\\\\n",
    "entities": "&amp;",
    "half entities": "&#",
    "urls": "http://x.com/",
    "quotes": "'",
    "words": "ssn ",
    "versions": "1.1.",
    "findings": "10.1.2.3 ",
    "overlapping": "http://x.com/ann@example.com ",
}
DETECTORS = {
    "default": Detector((*DEFAULT_ENTITIES, "URL"), timeout=60),
    "all": Detector(ENTITIES, timeout=60),
    "presidio's own": Detector(
        recognizers=[
            UrlRecognizer(),
            PhoneRecognizer(),
            OfflineEmailRecognizer(),
            IpRecognizer(),
            CreditCardRecognizer(),
            IbanRecognizer(),
            MacAddressRecognizer(),
            DateRecognizer(),
            *term_recognizers({"TERMS": ["kill switch", "a.b"]}),
        ],
        timeout=60,
    ),
}
SIZE = 3000
_FLOOR = 0.01
"""Seconds below which a measure says nothing."""


def seconds(call: Callable[[], object]) -> float:
    def once() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return min(once() for _ in range(3))


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", ["", " x@y.com 4111"])
def test_four_times_the_text_takes_about_four_times_as_long(
    unit: str, detector: str, end: str
) -> None:
    def scan(length: int) -> Callable[[], object]:
        text = (UNITS[unit] * length)[:length] + end
        return lambda: DETECTORS[detector]._analyze(text)

    scan(SIZE)()
    assert seconds(scan(4 * SIZE)) < 8 * (seconds(scan(SIZE)) + _FLOOR)


@pytest.mark.parametrize("unit", UNITS)
def test_reading_a_text_is_bounded(unit: str) -> None:
    def read(length: int) -> Callable[[], object]:
        return lambda: folded(UNITS[unit] * (length // len(UNITS[unit])))

    assert seconds(read(16 * SIZE)) < 8 * (seconds(read(4 * SIZE)) + _FLOOR)


def test_a_text_of_many_findings_is_searched_whole() -> None:
    text = "10.1.2.3 " * 20_000

    assert len(Detector(["IP_ADDRESS"]).find(text)) == 20_000
