"""Regular expression search: with google-re2 in linear time if possible, otherwise with the `regex` module."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import re2
import regex

from lg_prod_nodes.detectors.recognizers.digits import Digits
from lg_prod_nodes.detectors.scan import alphabet as _alphabet
from lg_prod_nodes.detectors.scan import syntax as _syntax
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime

if TYPE_CHECKING:
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

_MEMORY = 32 << 20
"""The memory limit in bytes for re2's cache, per expression."""


class View:
    """A text in the forms that recognizers search.

    Args:
        text: The text.
        nlp_engine: Splits it into words.
    """

    def __init__(self, text: str, nlp_engine: NlpEngine) -> None:
        self.text = text
        self.digits = Digits(text)
        self._nlp_engine = nlp_engine

    @cached_property
    def narrow(self) -> bytes:
        """The text with one byte per character."""
        return _alphabet.narrow(self.text)

    @cached_property
    def artifacts(self) -> NlpArtifacts:
        """The NLP engine's result for the text."""
        return self._nlp_engine.process_text(self.text, "en")

    @cached_property
    def has_plain_words(self) -> bool:
        """Whether re2 can see word boundaries with one byte per character."""
        return not _alphabet.has_foreign_words(self.narrow)

    @cached_property
    def wide(self) -> bytes:
        """The text with three bytes per character, which show re2 the words of any text."""
        return _alphabet.wide(self.narrow)


class Expression:
    """A regular expression of the `regex` module, and its translation to re2.

    Attributes:
        ways: Expressions for re2, one of which matches every text that this one matches; `None` if it may match any
            text.
    """

    def __init__(self, pattern: str, flags: int) -> None:
        self._pattern, self._flags = pattern, flags
        needed = _syntax.needed(pattern, flags)
        self.ways = (needed,) if needed else None

    def spans(self, view: View, deadline: Deadline) -> Iterator[tuple[int, int]]:
        """The spans of its non-empty matches, as from `regex.finditer`.

        Raises:
            OutOfTime: The time is up.
        """
        if self._narrow is None:
            return self._by_regex(view.text, deadline)
        if not self._has_boundaries or view.has_plain_words:
            return self._by_re2(self._narrow, view.narrow, 1, deadline)
        if self._wide is None:
            return self._by_regex(view.text, deadline)
        return self._by_re2(self._wide, view.wide, 3, deadline)

    def matches(self, text: str, deadline: Deadline) -> Iterator[regex.Match[str]]:
        """The matches of `regex.finditer`.

        Raises:
            OutOfTime: The time is up.
        """
        try:
            yield from self._compiled.finditer(text, timeout=deadline.left())
        except TimeoutError:
            is_out_of_time = True
        else:
            is_out_of_time = False
        if is_out_of_time:
            raise OutOfTime

    def _by_regex(self, text: str, deadline: Deadline) -> Iterator[tuple[int, int]]:
        for match in self.matches(text, deadline):
            if match.start() < match.end():
                yield match.span()

    @staticmethod
    def _by_re2(
        compiled: Any, text: bytes, width: int, deadline: Deadline
    ) -> Iterator[tuple[int, int]]:
        for match in compiled.finditer(text):
            deadline.left()
            start, end = match.span()
            yield start // width, end // width

    @cached_property
    def _compiled(self) -> regex.Pattern[str]:
        return regex.compile(self._pattern, flags=self._flags)

    @cached_property
    def _narrow(self) -> Any:
        return _compiled(_syntax.exact(self._pattern, self._flags))

    @cached_property
    def _wide(self) -> Any:
        return _compiled(_syntax.exact(self._pattern, self._flags, is_wide=True))

    @cached_property
    def _has_boundaries(self) -> bool:
        return _syntax.has_boundaries(_syntax.exact(self._pattern, self._flags) or "")


def re2_options() -> Any:
    """Options for re2: bytes as input, positions as output, no logging."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MEMORY
    return options


def _compiled(expression: str | None) -> Any:
    if expression is None:
        return None
    try:
        return re2.compile(expression.encode("latin-1"), re2_options())
    except re2.error:  # too large for re2
        return None
