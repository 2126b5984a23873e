"""The words that the documents must not use, which `make prose` looks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = [
    line.split("->")[0]
    for line in (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").splitlines()
]
REGEX = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["codespell"][
    "regex"
]


@pytest.mark.parametrize("word", WORDS)
def test_each_is_found_in_a_sentence(word: str) -> None:
    assert word in re.findall(REGEX, f"It (is {word}: that) is all.")


def test_they_are_sorted() -> None:
    assert sorted(WORDS) == WORDS
