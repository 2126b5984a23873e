from __future__ import annotations

import random
import re
import time

import pytest

from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.findings import Finding
from lg_prod_nodes.detectors.segments import in_segments

VALUES = (
    "ann@example.com",
    "4111 1111 1111 1111",
    "+1 212 555 0142",
    "DE89 3704 0044 0532 0130 00",
    "219-09-9999",
)
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 400
    + "\n-----END PRIVATE KEY-----"
)
SLOW = [
    "pwd:",
    "10.1.2.3 ",
    "1 ",
    "secret='",
    "token: a1b2c3d4 ",
    "4111 1111 1111 1111 ",
    "\\n",
    "a@b.c ",
    "1/1/",
]


def found(text: str) -> list[str]:
    return [text[f.start : f.end] for f in Detector(DEFAULT_ENTITIES).find(text)]


@pytest.mark.parametrize("filler", ["word ", "word\n", "wörd ", "日本。", '{"a":"b"},'])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_found_wherever_a_part_ends(value: str, filler: str) -> None:
    for at in range(8150, 8230, 3):
        text = (filler * 5000)[:at] + f" {value}, " + filler * 3000

        assert found(text) == [value], at


def test_a_private_key_is_found_whole_across_parts() -> None:
    for at in (7000, 8150, 9000):
        assert found("x " * (at // 2) + KEY + " and more" * 3000) == [KEY]


def test_a_long_token_without_spaces_is_searched_too() -> None:
    assert found("x" * 30_000 + ",ann@example.com," + "y" * 30_000) == ["ann@example.com"]


@pytest.mark.parametrize("seed", range(12))
def test_parts_cover_a_text_once(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices(["a", " ", "\n", ",", '"', "bc" * 400], k=rng.randrange(600)))
    marked = re.compile(r"\S")

    def find(part: str) -> list[Finding]:
        return [Finding(*m.span(), "X", 1.0) for m in marked.finditer(part)]

    assert [f.start for f in in_segments(text, find)] == [m.start() for m in marked.finditer(text)]


@pytest.mark.parametrize("unit", SLOW)
def test_a_timeout_holds_whatever_the_text(unit: str) -> None:
    detector = Detector(DEFAULT_ENTITIES, timeout=1.0)
    detector.open()
    text = unit * (4_000_000 // len(unit))

    start = time.perf_counter()
    with pytest.raises(DetectionFailed, match="ran out of its time"):
        detector.find(text)

    assert time.perf_counter() - start < 1.5
