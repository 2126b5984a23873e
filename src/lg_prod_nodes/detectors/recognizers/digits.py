"""The runs of digits in a text: what cards, phone numbers, social security numbers and IP addresses are made of.

They are searched for once per text. What the marks in a run allow is known from its shape, in which each digit is a
zero, and a shape is judged once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property, lru_cache
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
    """The runs of digits in a text, searched for when they are first needed."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def runs(self) -> list[tuple[int, int, str]]:
        """Groups of digits with at most three marks between them: where they start and end, and their shape."""
        text = self._text
        found = [run.span() for run in _RUN.finditer(text)]
        return [
            (start, end, text[start:end].translate(_ZEROS))
            for start, end in found
            if end - start >= _SHORTEST
        ]

    @cached_property
    def _shapes(self) -> set[str]:
        return {shape for _, _, shape in self.runs}

    def judged(self, judge: Callable[[str], _T]) -> list[tuple[int, int, _T]]:
        """The runs with what is known of their shapes, without those of which it is nothing."""
        known = {shape: found for shape in self._shapes if (found := judge(shape))}
        return (
            [(start, end, known[shape]) for start, end, shape in self.runs if shape in known]
            if known
            else []
        )


def groups_of(shape: str) -> Groups:
    """The groups of digits in a run."""
    return [group.span() for group in _GROUP.finditer(shape)]


def by_shape(judge: Callable[[str], _T]) -> Callable[[str], _T]:
    """Judge each shape once, unless it is long."""
    known = lru_cache(maxsize=_KNOWN_SHAPES)(judge)
    return lambda shape: known(shape) if len(shape) <= _LONGEST_SHAPE else judge(shape)
