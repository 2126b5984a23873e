# ruff: noqa: RUF001
from __future__ import annotations

import json
import unicodedata
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from presidio_analyzer import Pattern, PatternRecognizer

from lg_prod_nodes.detectors import Detector
from lg_prod_nodes.detectors.reading.folding import folded
from lg_prod_nodes.detectors.reading.lookalikes import LOOKALIKES

EMAIL = "ann@example.com"
DETECTOR = Detector(["EMAIL_ADDRESS", "CREDIT_CARD", "US_SSN", "IP_ADDRESS", "IBAN_CODE"])
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def read(text: str) -> str:
    view = folded(text)
    return text if view is None else view.text


def found(text: str, detector: Detector = DETECTOR) -> list[tuple[str, str]]:
    return [(text[f.start : f.end], f.entity) for f in detector.find(text)]


@pytest.mark.parametrize(
    "text",
    ["", "plain, 100% of it & more", "C:\\dir", "née Müller, 日本語, ёж 🎉", "50 %"],
)
def test_what_is_written_as_it_is_read_needs_no_second_look(text: str) -> None:
    assert folded(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u200bn\u00adn\u2060", "ann"),
        ("\u202eann\u202c", "ann"),
        ("a\ufe0fn\U000e0061n", "ann"),
        ("a\u0332n\u0332n\u0332", "ann"),
        ("1\ufe0f\u20e32\ufe0f\u20e3", "12"),
        (EMAIL.translate(WIDE), EMAIL),
        ("𝟒𝟏𝟏𝟏 ④①①① ٤١١١ ४१११ ❹", "4111 4111 4111 4111 4"),
        ("аnn@ехаmрlе.соm", EMAIL),
        ("αnn@ехαmρle.cοm", EMAIL),
        ("𝐚𝓷𝔫@ᴇxample。com", EMAIL),
        ("219‐09–9999 219−09﹣9999", "219-09-9999 219-09-9999"),
        ("4111\u00a01111\u20071111\u30001111", "4111 1111 1111 1111"),
        ("10․1·2。3", "10.1.2.3"),
        ("ﬁ½№", "fi1/2No"),
        ("ann%40example%2ecom", EMAIL),
        ("ann%2540example%2525252ecom", EMAIL),
        ("%C3%A9%E2%80%8B%F0%9D%9F%92%C3", "é4%C3"),
        ("%80%zz%4", "%80%zz%4"),
        ("ann&#64;example&#x2e;com", EMAIL),
        ("ann&commat;example&period;com", EMAIL),
        ("ann&amp;#64;example&#46com", EMAIL),
        ("R&D &nosuchentity; &lt", "R&D &nosuchentity; &lt"),
        (r"ann\u0040example.com", EMAIL),
        (r"\"ann@example.com\"\n\t\/", f'"{EMAIL}"\n\t/'),
        (r"\\\"ann@example.com\\\"\\n", f'"{EMAIL}"\n'),
        (r"\ud835\udfd2\\ud835\\udfcf", "41"),
        (r"\ud835x \u12", "\ud835x \\u12"),
    ],
)
def test_is_read_as_it_looks(text: str, expected: str) -> None:
    assert read(text) == expected


def test_a_character_that_stands_for_many_stays() -> None:
    assert read("\ufdfa") == "\ufdfa"


def test_lookalikes_are_single_characters_that_no_normalization_changes() -> None:
    for char in LOOKALIKES:
        assert len(char) == 1
        assert not char.isascii()
        assert not unicodedata.normalize("NFKC", char).isascii()


EVASIONS = {
    "full width": EMAIL.translate(WIDE),
    "zero width": "\u200b".join(EMAIL),
    "soft hyphens": "\u00ad".join(EMAIL),
    "combining": "".join(f"{char}\u0332" for char in EMAIL),
    "cyrillic": "аnn@ехаmрlе.соm",
    "percent": quote(EMAIL),
    "percent, all": "".join(f"%{ord(char):02X}" for char in EMAIL),
    "percent twice": quote(quote(EMAIL)),
    "entities": "".join(f"&#{ord(char)};" for char in EMAIL),
    "named": EMAIL.replace("@", "&commat;"),
    "json": "".join(f"\\u{ord(char):04x}" for char in EMAIL),
    "json twice": EMAIL.replace("@", r"\\u0040"),
    "mixed": "ａn\u200bn%40ex\u0430mple&#46;com",
}


@pytest.mark.parametrize("kind", EVASIONS)
@pytest.mark.parametrize("around", ["", "x, ", "日本 ", "%25 &amp; \\n "])
def test_what_evades_is_found_from_its_first_to_its_last_character(kind: str, around: str) -> None:
    text = f"{around}<{EVASIONS[kind]}> ok"

    [(value, entity)] = found(text)

    start = text.index("<") + 1
    assert entity == "EMAIL_ADDRESS"
    assert value.rstrip("\u0332\u200b") == text[start : text.index(">")].rstrip("\u0332\u200b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"{\"to\": \"ann@example.com\"}", EMAIL),
        (r'{"a": "dear\nann@example.com\tor"}', EMAIL),
        (r'{"a": "dear\\nann@example.com\\n"}', EMAIL),
        (r'{"to": "see\/10.1.2.3\n"}', "10.1.2.3"),
        ("a%0Aann@example.com", "a%0Aann@example.com"),  # may be what it is written as
    ],
)
def test_an_escape_is_never_cut(text: str, value: str) -> None:
    assert [place for place, _ in found(text)] == [value]


@pytest.mark.parametrize("before", [r"dear\n", r"dear\\n", r"\"", r"\u00e4\t", r"a\/"])
def test_an_escape_is_no_part_of_what_a_user_s_recognizer_finds(before: str) -> None:
    pattern = Pattern("loose", r"[\w.]+@[\w.]+", 0.9)
    detector = Detector(recognizers=[PatternRecognizer("LOOSE", patterns=[pattern])])

    assert found(f'{{"a": "{before}{EMAIL}"}}', detector) == [(EMAIL, "LOOSE")]


def test_a_finding_that_only_the_written_text_has_takes_whole_escapes() -> None:
    own = PatternRecognizer("ODD", patterns=[Pattern("odd", "nx|y%4|&#6", 0.9)])

    assert found(r"\nx", Detector(recognizers=[own])) == [(r"\nx", "ODD")]
    assert found("y%41", Detector(recognizers=[own])) == [("y%41", "ODD")]
    assert found("a&#64;", Detector(recognizers=[own])) == [("&#64;", "ODD")]


PARTS = st.sampled_from([EMAIL, "4111 1111 1111 1111", "219-09-9999", " ", "a", '"', "\ud800"]) | (
    st.sampled_from([r"\n", r"\\", r"\u0040", r"\/", r"%40", r"%2540", r"&#64;", r"&commat;", r"&"])
    | st.sampled_from(["\u200b", "é", "ａ", "а", "ﬁ", "–", "٤"])
)


@given(st.lists(PARTS | st.text(max_size=3)).map("".join))
def test_every_character_that_is_read_has_its_place(text: str) -> None:
    view = folded(text)
    if view is None:
        return
    places = [view.place(at, at + 1) for at in range(len(view.text))]
    for start, end in places:
        assert 0 <= start < end <= len(text)
    for (start, end), (after, _) in pairwise(places):
        assert start == after or end <= after
    for (start, end), char in zip(places, view.text, strict=True):
        assert end - start > 1 or char in read(text[start:end]) or text[start:end] == char


@given(st.lists(PARTS | st.text(max_size=3)).map("".join))
def test_no_finding_cuts_an_escape(text: str) -> None:
    view = folded(text)
    for finding in DETECTOR.find(text) if view else ():
        for unit in view.units_in(finding.start, finding.end) if view else ():
            assert finding.start <= unit.start
            assert unit.end <= finding.end


@given(st.lists(st.sampled_from([" to ", "\n", '"', "\\", "/", "\t", "é ", "🎉"])).map(EMAIL.join))
def test_json_stays_json_when_findings_are_replaced(text: str) -> None:
    encoded = json.dumps({"text": text, "inner": json.dumps([text])})
    for finding in reversed(DETECTOR.find(encoded)):
        encoded = f"{encoded[: finding.start]}[E]{encoded[finding.end :]}"

    decoded = json.loads(encoded)
    assert EMAIL not in decoded["text"]
    assert EMAIL not in "".join(json.loads(decoded["inner"]))
