"""The runs of digits in a text: what cards, phone numbers, social security numbers and IP addresses are made of.

They are searched for once per text. What the marks in a run allow is known from its shape, in which each digit is a
zero, and a shape is judged once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

_T = TypeVar("_T")

MARKS: Final = " \u00a0\u202f.()/\u2010\u2011\u2012\u2013-"
"""The marks between groups of digits."""
_RUN = re.compile(rf"[0-9](?=[0-9{MARKS}]{{6}})[0-9]*(?:[{MARKS}]{{1,3}}[0-9]+)*")
_GROUP = re.compile(r"[0-9]+")
_SHORTEST = 7
_LONGEST_SHAPE = 64
_ZEROS = str.maketrans("123456789", "000000000")
_KNOWN_SHAPES = 4096

Groups = list[tuple[int, int]]
"""The spans of groups of digits."""


class Digits:
    """The runs of digits in a text: groups with at most three marks between them, searched for when first needed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: tuple[list[tuple[int, int, str]], set[str]] | None = None

    def judged(self, judge: Callable[[str], _T | None]) -> list[tuple[int, int, _T]]:
        """Where the runs are and what is known of their shapes, without those of which it is nothing."""
        if self._found is None:
            self._found = _runs(self._text)
        runs, shapes = self._found
        known = {shape: found for shape in shapes if (found := judge(shape))}
        if not known:
            return []
        return [(start, end, known[shape]) for start, end, shape in runs if shape in known]


def _runs(text: str) -> tuple[list[tuple[int, int, str]], set[str]]:
    """The runs of seven characters or more with their shapes, and these shapes."""
    spans = [run.span() for run in _RUN.finditer(text)]
    runs = [
        (start, end, text[start:end].translate(_ZEROS))
        for start, end in spans
        if end - start >= _SHORTEST
    ]
    return runs, {shape for _, _, shape in runs}


def groups_of(shape: str) -> Groups:
    """The groups of digits in a run."""
    return [group.span() for group in _GROUP.finditer(shape)]


def by_shape(judge: Callable[[str], _T]) -> Callable[[str], _T]:
    """Judge each shape once, unless it is long."""
    known = lru_cache(maxsize=_KNOWN_SHAPES)(judge)
    return lambda shape: known(shape) if len(shape) <= _LONGEST_SHAPE else judge(shape)
