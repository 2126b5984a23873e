"""What is searched for faster is what the plain search finds: with no prefilter, no shapes and no literals."""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.reading.folding import _ESCAPE, _matches, has_escapes
from lg_prod_nodes.detectors.recognizers import assigned, checked, digits, numbers, passwords
from lg_prod_nodes.detectors.scan.prefilter import Candidates

DETECTOR = Detector((*DEFAULT_ENTITIES, "URL", "MAC_ADDRESS"), timeout=60)
PIECES = [
    *("4111 1111 1111 1111", "4111111111111111", "219-09-9999", "219099999", "+1 212 555 0123"),
    *(
        "(415) 555-0123",
        "030 123456",
        "DE89370400440532013000",
        "10.1.2.3",
        "1.2.3.4",
        "2001:db8::1",
    ),
    *(
        "a@b.com",
        "x@localhost",
        "password",
        "pwd",
        "api_key",
        "token",
        "Bearer",
        "Authorization: Basic",
    ),
    *("YTpiY2RlZmdoaQ==", "hunter2!", "s3cr3tPa55w0rd77", "aws", "jaws", "account sid", "Twilio"),
    *("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    *("https://u:pa55w0rd@h.com/", "?sig=abcdefghijklmnopqrstuvwxyz012345", "-u bob:hunter22"),
    *(
        "[EMAIL_ADDRESS:abcdef01]",
        "****",
        " ",
        "\n",
        "\\n",
        "\\u0061",
        "%20",
        "&#64;",
        ": ",
        "=",
        '"',
        "'",
    ),
    *(
        ",",
        "-",
        "/",
        "(",
        ")",
        "is ",
        "\u200b",
        "раss",
        "＠",
        "…",
        "日本",
        "ä",
        "1",
        "22",
        "333",
        "4444",
    ),
    *(
        "55555",
        "666666",
        "7777777",
        "2024-05-11",
        "ssn",
        "phone",
        "order",
        "v",
        "0",
        "SK" + "a1" * 16,
    ),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


def everything(self: object, text: str) -> Candidates:
    """A prefilter that rules nothing out."""
    return Candidates(frozenset(range(len(DETECTOR._scanner._parts))), is_read_otherwise=True)


def by_expression(
    text: str, pattern: re.Pattern[str], literals: object, back: int
) -> Iterator[re.Match[str]]:
    return pattern.finditer(text)


@given(texts)
@example("aws\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY")
@example("mot de passe: hunter2!")
@example("4111 1111 1111 1111 4111-1111-1111-1111")
def test_findings_are_those_of_the_plain_search(text: str) -> None:
    found = DETECTOR._analyze(text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(DETECTOR._scanner._prefilter), "among", everything)
        patched.setattr(passwords, "matches_before", by_expression)
        patched.setattr(assigned, "_stems", assigned._STEM.finditer)
        assert DETECTOR._analyze(text) == found


@given(texts)
def test_escapes_are_found_where_the_expression_finds_them(text: str) -> None:
    spans = [match.span() for match in _matches(text)]

    assert spans == [match.span() for match in _ESCAPE.finditer(text)]
    assert has_escapes(text) == any(match.lastgroup != "run" for match in _ESCAPE.finditer(text))


@given(texts)
def test_numbers_by_shape_are_those_in_the_text(text: str) -> None:
    runs = digits.Digits(text)

    by_shape = [
        (at + first, at + last, mark)
        for at, _, spans in runs.judged(numbers._ssn_spans)
        for first, last, mark in spans
    ]
    assert by_shape == [(*found.span(), found[1]) for found in numbers._SSN.finditer(text)]


@given(texts)
def test_words_are_those_of_the_expression(text: str) -> None:
    assert checked._words_of(text) == [word.lower() for word in checked._WORD.findall(text)]


def test_a_clean_text_is_neither_kept_nor_searched_by_a_recognizer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = Detector()
    monkeypatch.setattr(detector, "_analyze", None)

    assert detector.find("nothing to see here, “friend” — Grüße") == ()
    assert not detector._known
