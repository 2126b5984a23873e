r"""Linear-time search for those Presidio expressions that look ahead without bound.

A lookahead such as `(?=.*?[0-9]{4})` holds up to the last position from which its target is within reach. After that it
fails until the run of characters that it may skip has ended. So it is evaluated once per run, and the rest of the
expression is searched without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import regex

from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime
from lg_prod_nodes.detectors.scan.patterns import Expression, View


class _Split(NamedTuple):
    """An expression in two parts.

    Attributes:
        rest: The expression without its lookaheads.
        lookaheads: What each lookahead skips, and what it looks for.
    """

    rest: str
    lookaheads: tuple[tuple[str, str], ...]


_SPLIT: Final[Mapping[str, _Split]] = {
    r"\b((?=.*?[a-zA-Z])(?=.*?[0-9]{4})[\w@#$%^?~-]{10})\b": _Split(
        r"\b[\w@#$%^?~-]{10}\b", ((".", "[a-zA-Z]"), (".", "[0-9]{4}"))
    ),
    r"\b(?=[A-Z0-9-]{6,20}\b)(?=[A-Z0-9-]*[A-Z])(?=[A-Z0-9-]*\d)[A-Z]{1,5}-?[A-Z0-9]{5,14}\b": _Split(
        r"\b(?=[A-Z0-9-]{6,20}\b)[A-Z]{1,5}-?[A-Z0-9]{5,14}\b", (("[A-Z0-9-]", r"\d"),)
    ),
}
"""The expressions of `InPanRecognizer` and `UsHealthInsuranceMemberIdRecognizer`. A match that begins with a letter
satisfies a lookahead for one."""


def expression_of(pattern: str, flags: int) -> Expression:
    """The search for an expression."""
    split = _SPLIT.get(pattern)
    return _Ahead(pattern, split, flags) if split else Expression(pattern, flags)


class _Ahead(Expression):
    """An expression that looks ahead without bound."""

    def __init__(self, pattern: str, split: _Split, flags: int) -> None:
        super().__init__(pattern, flags)
        self._rest = regex.compile(split.rest, flags)
        self._lookaheads = [
            (regex.compile(f"{run}*+", flags), regex.compile(f"{run}*(?P<target>{target})", flags))
            for run, target in split.lookaheads
        ]

    def spans(self, view: View, deadline: Deadline) -> Iterator[tuple[int, int]]:
        """The spans of its matches.

        Raises:
            OutOfTime: The time is up.
        """
        reaches = [_Reach(view.text, run, target) for run, target in self._lookaheads]
        at = 0
        while found := _search(self._rest, view.text, at, deadline):
            start = found.start()
            missing = [reach for reach in reaches if not reach.holds(start)]
            at = (
                max(start + 1, *(reach.end(start) for reach in missing)) if missing else found.end()
            )
            if not missing:
                yield found.span()


class _Reach:
    """How far the latest evaluation of a lookahead holds."""

    def __init__(self, text: str, run: regex.Pattern[str], target: regex.Pattern[str]) -> None:
        self._text, self._run, self._target = text, run, target
        self._last = -1

    def holds(self, at: int) -> bool:
        """Whether the target is within reach of a position; positions must be passed in order."""
        if at > self._last and (found := self._target.match(self._text, at)):
            self._last = found.start("target")
        return at <= self._last

    def end(self, at: int) -> int:
        """Where the run of characters around a position ends."""
        found = self._run.match(self._text, at)
        return found.end() if found else at


def _search(
    pattern: regex.Pattern[str], text: str, at: int, deadline: Deadline
) -> regex.Match[str] | None:
    try:
        return pattern.search(text, at, timeout=deadline.left())
    except TimeoutError:
        pass
    raise OutOfTime
