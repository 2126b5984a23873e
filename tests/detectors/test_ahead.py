# ruff: noqa: RUF001
"""Expressions of Presidio that look ahead to the end of a text: the same matches, in linear time."""

from __future__ import annotations

import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from presidio_analyzer import PatternRecognizer
from presidio_analyzer.predefined_recognizers import (
    InPanRecognizer,
    UsHealthInsuranceMemberIdRecognizer,
)

from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.scan.ahead import expression_of
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime
from lg_prod_nodes.detectors.scan.patterns import Expression, View

FLAGS = regex.DOTALL | regex.MULTILINE | regex.IGNORECASE
PATTERNS = {
    "IN_PAN": InPanRecognizer.PATTERNS[-1].regex,
    "US_HEALTH_INSURANCE_MEMBER_ID": UsHealthInsuranceMemberIdRecognizer.PATTERNS[0].regex,
}
texts = st.lists(
    st.sampled_from(
        ["abcdef", "AB-", "12", "1234", "-", "xyz9", "ABCDE1234F", " ", "\n", "é", "٣", "ſ", "İ"]
    )
    | st.text(max_size=3),
    max_size=20,
).map("".join)


def spans(pattern: str, text: str, flags: int = FLAGS) -> list[tuple[int, int]]:
    view = View(text, WordEngine())
    return list(expression_of(pattern, flags).spans(view, Deadline(60)))


@pytest.mark.parametrize("entity", PATTERNS)
@pytest.mark.parametrize("flags", [FLAGS, regex.IGNORECASE, 0])
@given(text=texts)
def test_matches_where_regex_matches(entity: str, flags: int, text: str) -> None:
    expected = [match.span() for match in regex.finditer(PATTERNS[entity], text, flags)]

    assert spans(PATTERNS[entity], text, flags) == expected


@pytest.mark.parametrize("entity", PATTERNS)
def test_these_are_the_expressions_of_the_presidio_that_is_installed(entity: str) -> None:
    assert type(expression_of(PATTERNS[entity], FLAGS)) is not Expression


def test_others_are_searched_as_they_are() -> None:
    assert type(expression_of("a+", FLAGS)) is Expression


@pytest.mark.parametrize("entity", PATTERNS)
@pytest.mark.parametrize("unit", ["a", "a-", "abcdef-", "abcdefghi ", "ab1234cdef ", "1", "- "])
def test_takes_a_time_that_grows_with_the_text(entity: str, unit: str) -> None:
    start = time.process_time()

    spans(PATTERNS[entity], unit * (100_000 // len(unit)))

    assert time.process_time() - start < 2


def test_ends_when_the_time_is_up() -> None:
    view = View("ABCDE1234F " * 100_000, WordEngine())

    with pytest.raises(OutOfTime):
        list(expression_of(PATTERNS["IN_PAN"], FLAGS).spans(view, Deadline(0.005)))


def test_they_are_found_by_their_recognizers() -> None:
    recognizers: list[type[PatternRecognizer]] = [
        InPanRecognizer,
        UsHealthInsuranceMemberIdRecognizer,
    ]

    for kind, entity in zip(recognizers, PATTERNS, strict=True):
        made = kind(supported_language="en")  # type: ignore[call-arg]
        assert PATTERNS[entity] in [pattern.regex for pattern in made.patterns]
