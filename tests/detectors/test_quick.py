# ruff: noqa: RUF001
from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.reading.folding import folded, reading_of_character
from lg_prod_nodes.detectors.reading.quick import reading_of
from lg_prod_nodes.detectors.reading.usual import ELLIPSIS, Spans, usual_characters
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
@example("ann\u200b@\u200bexample.com")
@example("日\u200b本@例\ufe0f.com")
@example("10…1.2.3")
def test_what_is_found_is_seen_before_it_is_searched(text: str) -> None:
    scanner = DETECTOR._scanner
    seen = scanner.candidates(text)
    reading = text if set("%&\\") & set(text) else getattr(folded(text), "text", text)

    assert seen.is_read_otherwise or bool(seen.numbers) >= bool(scanner.scan(reading, Deadline(60)))
    assert bool(seen.numbers) >= bool(scanner.scan(text, Deadline(60)))


def test_most_texts_are_ruled_out_without_being_read() -> None:
    scanner = DETECTOR._scanner

    for text in (
        "Grüße aus München, die Straße ist “naïve” — wirklich…",
        "日本語のテキストです。「はい」",
        "Привіт, як справи？",
        "حالش خوب نیست، می‌دانم",
        "สวัสดีครับ ที่นี่",
        "नमस्ते, क्या हाल है?",
        "well ❤️ 👍🏽 done",
    ):
        assert scanner.candidates(text) == (frozenset(), False)


def test_each_character_is_read_as_the_search_takes_it() -> None:
    usual = usual_characters()

    def codes(spans: Spans) -> set[int]:
        return {code for first, last in spans for code in range(first, last + 1)}

    read = {code: chr(to) for to, spans in usual.as_ascii.items() for code in codes(spans)}
    invisible = codes(usual.invisible)

    for code in set(range(0x80, 0x110000)) - codes(usual.others) - {ord(ELLIPSIS)}:
        reading = reading_of_character(chr(code))
        if code in invisible or code in read:
            assert reading == read.get(code, "")
        else:
            assert len(reading) == 1
            assert not reading.isascii()


@given(texts.filter(lambda text: not set("%&\\") & set(text)))
def test_a_quick_reading_is_the_reading(text: str) -> None:
    reading = folded(text)

    assert reading_of(text) == (text if reading is None else reading.text)
