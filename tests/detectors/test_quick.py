# ruff: noqa: RUF001
from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.reading.folding import folded
from lg_prod_nodes.detectors.reading.quick import reading_of
from lg_prod_nodes.detectors.scan.deadline import Deadline

DETECTOR = Detector((*DEFAULT_ENTITIES, "URL", "MAC_ADDRESS", "DATE_TIME"))
PIECES = [
    *(
        "ann@example.com",
        "4111 1111 1111 1111",
        "+1 212 555 0142",
        "DE89370400440532013000",
        "10.1.2.3",
    ),
    *(
        "219-09-9999",
        "password: hunter2!",
        "::1",
        "https://a.io/b",
        "00:1A:2B:3C:4D:5E",
        "Bearer abcdef1234567890",
    ),
    *(
        "４１１１",
        "①",
        "а",
        "。",
        "＠",
        "．",
        "：",
        "—",
        "…",
        "\u00a0",
        "\u200b",
        "é",
        "ü",
        "ß",
        "日",
        "本",
        "？",
        "¼",
        "²",
    ),
    *("pаssword", "ſecret", "İ", "\u2011", "๑", "٣", "“", "”", " ", "\n", ",", "1", "@", ".", "-"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10).map("".join)


@given(texts)
@example("ann＠example。com")
@example("4111\u00a01111\u00a01111\u00a01111")
@example("pаssword：hunter2!")
def test_what_is_found_is_seen_before_it_is_searched(text: str) -> None:
    scanner = DETECTOR._scanner

    for view in (text, getattr(folded(text), "text", text)):
        if scanner.scan(view, Deadline(60)):
            assert scanner.may_find(view)


@given(texts.filter(lambda text: not set("%&\\") & set(text)))
def test_a_quick_reading_is_the_reading(text: str) -> None:
    reading = folded(text)

    assert reading_of(text) == (text if reading is None else reading.text)
