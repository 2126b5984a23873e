from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

from lg_prod_nodes.detectors.scan import phones as _phones
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime
from lg_prod_nodes.detectors.scan.prefilter import Prefilter
from lg_prod_nodes.detectors.scan.raws import Raw, without_duplicates

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
NUMBERS = [
    phonenumbers.format_number(number, style)
    for region in REGIONS
    if (number := phonenumbers.example_number(region))
    for style in (0, 1, 2, 3)
]

numbers = st.builds(
    lambda number, plus, between, cut, more: (
        number.replace("+", plus).replace(" ", between)[cut:] + more
    ),
    st.sampled_from(NUMBERS),
    st.sampled_from(["+", "+", "00", "011", "", "+ ", "(+", "+00"]),
    st.sampled_from([" ", " ", "/", "-", ".", "  ", ""]),
    st.sampled_from([0, 0, 0, 1, 2, 3]),
    st.sampled_from(["", "", " ext 12", "x3", ";ext=4", "1", " 12", "ü", "$"]),
)
texts = st.lists(
    st.tuples(numbers, st.sampled_from([" ", ", ", "a", "/", " - ", "", ": ", "x"])).map("".join),
    min_size=1,
    max_size=4,
).map("".join)
some_regions = st.just(PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS) | st.lists(
    st.sampled_from(REGIONS), min_size=1, max_size=4, unique=True
).map(tuple)


def by_spans(text: str, regions: tuple[str, ...], leniency: int) -> list[tuple[int, int]]:
    found = _phones.spans(text, regions, leniency, Deadline(60))
    raws = without_duplicates(Raw(start, end, "X", 0.4) for start, end in found)
    return sorted(raw[:2] for raw in raws)


@given(texts, some_regions, st.sampled_from([1, 1, 1, 0, 2, 3]))
@example("+ 0049 30 1234567", ("US", "DE"), 1)
@example("+1 212 555 0142 12 ", ("US", "DE"), 0)
def test_finds_what_presidio_finds(text: str, regions: tuple[str, ...], leniency: int) -> None:
    recognizer = PhoneRecognizer(supported_regions=regions, leniency=leniency)
    expected = sorted((r.start, r.end) for r in recognizer.analyze(text, []))

    assert by_spans(text, regions, leniency) == expected
    if expected:
        prefilter = Prefilter([_phones.needed(leniency)])
        assert prefilter.among(text).numbers == {0}


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ("+1 212", True),
        ("(+49) 30", True),
        ("+0049", False),
        ("+0149", False),
        ("+999 1", False),
        ("0049", False),
    ],
)
def test_a_number_that_names_its_country_is_the_same_everywhere(
    candidate: str, expected: bool
) -> None:
    assert _phones._names_its_country(candidate) is expected


def test_few_candidates_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(
        phonenumbers.phonenumbermatcher, "parse", lambda text, *_, **__: parsed.append(text)
    )
    regions = PhoneRecognizer.DEFAULT_SUPPORTED_REGIONS

    assert by_spans("on 2024-05-11, order 48213377, 4111 1111 1111 1111", regions, 1) == []
    assert parsed == []


def test_time_that_is_up_is_told() -> None:
    with pytest.raises(OutOfTime):
        list(_phones.spans("212 555 0142", ("US",), 1, Deadline(0)))
