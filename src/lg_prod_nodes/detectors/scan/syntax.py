"""Translates regular expressions of the `regex` module to google-re2.

`exact` returns an expression with exactly the same matches, or `None` if re2 lacks a feature (lookarounds, back
references). `needed` returns an expression that matches every text with a match of the original, and maybe others. It
omits what re2 lacks and what only affects the length of a match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

import regex

from lg_prod_nodes.detectors.scan.alphabet import (
    ALL,
    DIGITS,
    FOLDS,
    NOT_ASCII,
    SPACES,
    WORDS,
    narrow_set,
    wide_set,
)

Codes = frozenset[int]
Nodes = Sequence[tuple[Any, Any]]

_FLAGS: Final = re.IGNORECASE | re.MULTILINE | re.DOTALL
"""The flags with the same meaning in both modules."""

_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_SET_SYNTAX: Final = re.compile(r"\[\[|\[:\^?\w+:\]|--|&&|~~|\|\|")
_SET: Final = re.compile(r"\[\^?\]?[^\]]*\]")
_FUZZY: Final = re.compile(r"\{(?!\d*,?\d*\})")
"""Syntax that `re` and the `regex` module read differently: nested sets and error counts."""

_REPEATS: Final = 8
"""The maximum repeat count in what is needed; a larger one only slows the search down."""

_CATEGORIES: Final[dict[Any, Codes]] = {
    op.CATEGORY_DIGIT: DIGITS,
    op.CATEGORY_NOT_DIGIT: ALL - DIGITS,
    op.CATEGORY_SPACE: SPACES,
    op.CATEGORY_NOT_SPACE: ALL - SPACES,
    op.CATEGORY_WORD: WORDS,
    op.CATEGORY_NOT_WORD: ALL - WORDS,
}


class _Inexact(Exception):
    """re2 has no expression with the same matches."""


def exact(pattern: str, flags: int, *, is_wide: bool = False) -> str | None:
    """The expression with the same matches, for one or three bytes per character."""
    tree = _parsed(pattern, flags)
    if tree is None or tree.getwidth()[0] == 0:
        return None
    try:
        return _Exact(tree.state.flags, is_wide).sequence(tree)
    except _Inexact:
        return None


def has_boundaries(expression: str) -> bool:
    r"""Whether the expression depends on word boundaries (in the output of `exact`, `\b` means nothing else)."""
    return r"\b" in expression.lower()


def needed(pattern: str, flags: int) -> str | None:
    """An expression that every matching text contains; `None` if any text may match."""
    tree = _parsed(pattern, flags)
    return None if tree is None else _Needed(tree).sequence(tree, first=True, last=True) or None


def _parsed(pattern: str, flags: int) -> Any:
    bare = _ESCAPED.sub("x", pattern)
    if _SET_SYNTAX.search(bare) or _FUZZY.search(_SET.sub("", bare)):
        return None
    if flags & ~(_FLAGS | regex.UNICODE | regex.VERSION0):
        return None
    try:
        tree = parser.parse(pattern, flags & _FLAGS)
    except (re.error, OverflowError, RecursionError):
        return None
    return None if tree.state.flags & ~(_FLAGS | re.UNICODE) else tree


def _cased(code: int, flags: int) -> Codes:
    char = chr(code)
    if not flags & re.IGNORECASE or not char.isalpha():
        return frozenset({code})
    also = {FOLDS.get(char), FOLDS.get(char.lower()) if char.lower() in "sk" else None} - {None}
    return frozenset({code, ord(char.swapcase()), *also})  # type: ignore[arg-type]


def _codes(node: tuple[Any, Any], flags: int) -> tuple[Codes, Codes]:
    """The characters that certainly match, and those that may."""
    kind, value = node
    if kind is op.LITERAL:
        return _range(value, value, flags)
    if kind is op.NOT_LITERAL:
        return _inverse(_range(value, value, flags))
    if kind is op.RANGE:
        low, high = value
        return _range(low, high, flags)
    if kind is op.CATEGORY:
        return _CATEGORIES[value], _CATEGORIES[value]
    if kind is op.ANY:
        codes = ALL if flags & re.DOTALL else ALL - {0x0A}
        return codes, codes
    negated = value[0][0] is op.NEGATE
    parts = [_codes(item, flags) for item in value[negated:]]
    union = (
        frozenset[int]().union(*(s for s, _ in parts)),
        frozenset[int]().union(*(m for _, m in parts)),
    )
    return _inverse(union) if negated else union


def _inverse(codes: tuple[Codes, Codes]) -> tuple[Codes, Codes]:
    sure, maybe = codes
    return ALL - maybe, ALL - sure


def _range(low: int, high: int, flags: int) -> tuple[Codes, Codes]:
    sure = frozenset[int]().union(
        *(_cased(code, flags) for code in range(low, min(high, 0x7F) + 1))
    )
    if high < 0x80:
        return sure, sure
    # With case ignored, the Kelvin sign matches a k.
    also = frozenset(map(ord, "skiSKI")) if flags & re.IGNORECASE else frozenset[int]()
    return sure, sure | NOT_ASCII | also


_SETS: Final = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)
_REPEATED: Final = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)


def _is_optional(node: tuple[Any, Any]) -> bool:
    return node[0] in _REPEATED and not node[1][0]


class _Exact:
    def __init__(self, flags: int, is_wide: bool) -> None:
        self._flags = flags
        self._is_wide = is_wide
        self._set: Callable[[Codes], str] = wide_set if is_wide else narrow_set

    def sequence(self, nodes: Any) -> str:
        return "".join(self._one(*node) for node in nodes)

    def _one(self, kind: Any, value: Any) -> str:
        if kind in _SETS:
            sure, maybe = _codes((kind, value), self._flags)
            if sure != maybe:
                raise _Inexact
            return self._set(sure)
        if kind is op.BRANCH:
            return f"(?:{'|'.join(map(self.sequence, value[1]))})"
        if kind is op.SUBPATTERN:
            _, add, drop, body = value
            inner = _Exact((self._flags | add) & ~drop, self._is_wide)
            return f"(?:{inner.sequence(body)})"
        # Engines differ in how they repeat what can match nothing.
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[2].getwidth()[0]:
            low, high, body = value
            most = "" if high is op.MAXREPEAT else high
            lazy = "?" if kind is op.MIN_REPEAT else ""
            return f"(?:{self.sequence(body)}){{{low},{most}}}{lazy}"
        if kind is op.AT and value in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
            return r"\b" if value is op.AT_BOUNDARY else r"\B"
        raise _Inexact


class _Needed:
    def __init__(self, tree: Any) -> None:
        self._flags = tree.state.flags
        self._groups: dict[int, Any] = {}

    def sequence(self, nodes: Any, *, first: bool, last: bool) -> str:
        """What a sequence needs; it may be the first or last part of the whole."""
        items = [node for node in nodes if node[0] not in (op.AT, op.ASSERT, op.ASSERT_NOT)]
        while first and items and _is_optional(items[0]):
            del items[0]
        while last and items and _is_optional(items[-1]):
            del items[-1]
        parts = [
            self._one(kind, value, first and at == 0, last and at == len(items) - 1)
            for at, (kind, value) in enumerate(items)
        ]
        return "".join(parts)

    def _one(self, kind: Any, value: Any, first: bool, last: bool) -> str:
        if kind in _SETS:
            return narrow_set(_codes((kind, value), self._flags)[1])
        if kind is op.BRANCH:
            ways = [self.sequence(way, first=first, last=last) for way in value[1]]
            return (
                f"(?:{'|'.join(dict.fromkeys(ways))})" if all(ways) or not (first or last) else ""
            )
        if kind is op.SUBPATTERN:
            return self._group(value, first, last)
        if kind is op.ATOMIC_GROUP:
            return f"(?:{self.sequence(value, first=first, last=last)})"
        if kind is op.GROUPREF and value in self._groups:
            return f"(?:{self.sequence(self._groups[value], first=False, last=False)})"
        if kind in _REPEATED:
            return self._repeat(*value, at_edge=first or last)
        return f"{narrow_set(ALL)}*"

    def _group(self, value: Any, first: bool, last: bool) -> str:
        number, add, drop, body = value
        outer, self._flags = self._flags, (self._flags | add) & ~drop
        if number is not None:
            self._groups[number] = body
        made = self.sequence(body, first=first, last=last)
        self._flags = outer
        return f"(?:{made})" if made else ""

    def _repeat(self, low: int, high: Any, body: Any, *, at_edge: bool) -> str:
        low = min(low, _REPEATS)
        made = self.sequence(body, first=False, last=False)
        if at_edge:
            return f"(?:{made}){{{low}}}"
        most = high if high is not op.MAXREPEAT and high <= _REPEATS else ""
        return f"(?:{made}){{{low},{most}}}"
