"""How each recognizer searches a text, split into parts that state what a text must contain.

Presidio's pattern, IBAN and phone recognizers are reimplemented here with the same validators, but in linear time. Any
other recognizer is called as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, cast

from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import IbanRecognizer, PhoneRecognizer

from lg_prod_nodes.detectors.recognizers.checked import CheckedRecognizer
from lg_prod_nodes.detectors.scan import phones as _phones
from lg_prod_nodes.detectors.scan.ahead import expression_of
from lg_prod_nodes.detectors.scan.deadline import Deadline
from lg_prod_nodes.detectors.scan.patterns import Expression, View
from lg_prod_nodes.detectors.scan.raws import Raw, without_duplicates

_LONGEST_PATTERN = 5.0
"""The time limit in seconds for one expression, in a recognizer with a search of its own."""


class Part(NamedTuple):
    """A part of a search.

    Attributes:
        needed: Expressions for re2, one of which matches every text with a finding; `None` if any text may have one.
    """

    needed: tuple[str, ...] | None
    find: Callable[[View, Deadline], Iterable[Raw]]


class Search:
    """The search of a recognizer.

    Args:
        recognizer: The recognizer.
        parts: The parts of its search.
        merges: Whether findings inside others are dropped before context words count.
    """

    def __init__(
        self, recognizer: EntityRecognizer, parts: Iterable[Part], *, merges: bool = False
    ) -> None:
        self.name: Final[str] = _untyped(recognizer).name
        self.parts: Final = tuple(parts)
        self.words: Final = tuple(word.lower() for word in recognizer.context or ())
        self.enhances: Final = _overrides(recognizer, EntityRecognizer, "enhance_using_context")
        self._recognizer = recognizer
        self._merges = merges

    def run(self, numbers: Iterable[int], view: View, deadline: Deadline) -> list[Raw]:
        """The findings of these parts."""
        raws = [raw for at in numbers for raw in self.parts[at].find(view, deadline)]
        return without_duplicates(raws) if self._merges else raws

    def enhanced(
        self, raws: list[Raw], others: list[Raw], view: View, given: Sequence[str]
    ) -> list[Raw]:
        """The findings with the scores that the recognizer's own `enhance_using_context` gives."""
        results = self._recognizer.enhance_using_context(
            text=view.text,
            raw_recognizer_results=[_result(raw, self._recognizer) for raw in raws],
            other_raw_recognizer_results=[_result(raw, self._recognizer) for raw in others],
            nlp_artifacts=view.artifacts,
            context=list(given),
        )
        return list(map(_raw, results))


class _CheckedSearch(Search):
    """The search of one of this library's recognizers: it runs once, for all of its matching gates."""

    def __init__(self, recognizer: CheckedRecognizer) -> None:
        flags = recognizer.global_regex_flags or 0
        super().__init__(
            recognizer, [Part(Expression(gate, flags).ways, _nothing) for gate in recognizer.GATES]
        )
        self._checked = recognizer

    def run(self, numbers: Iterable[int], view: View, deadline: Deadline) -> list[Raw]:
        entity = self._checked.ENTITY
        spans = self._checked.spans(view.text, tuple(numbers), view.digits)
        deadline.left()
        return [_raw_of((start, end, entity, score, True)) for start, end, score in spans if score]


_raw_of = partial(tuple.__new__, Raw)
"""`Raw._make`, in half its time."""


def _nothing(_: View, __: Deadline) -> Iterable[Raw]:
    return ()


def search_of(recognizer: EntityRecognizer) -> Search:
    """The search of a recognizer."""
    analyze = type(recognizer).analyze
    if isinstance(recognizer, CheckedRecognizer) and analyze is CheckedRecognizer.analyze:
        return _CheckedSearch(recognizer)
    if isinstance(recognizer, PatternRecognizer) and analyze is PatternRecognizer.analyze:
        parts = [_pattern_part(recognizer, p) for p in _untyped(recognizer).patterns]
        return Search(recognizer, parts, merges=True)
    if isinstance(recognizer, IbanRecognizer) and analyze is IbanRecognizer.analyze:
        return Search(
            recognizer, [_iban_part(recognizer, p) for p in _untyped(recognizer).patterns]
        )
    if isinstance(recognizer, PhoneRecognizer) and analyze is PhoneRecognizer.analyze:
        return Search(recognizer, [_phone_part(recognizer)], merges=True)
    return Search(recognizer, [_own_part(recognizer)])


def _untyped(recognizer: EntityRecognizer) -> Any:
    """A recognizer as `Any`, because some of its attributes have no types."""
    return recognizer


def _overrides(recognizer: EntityRecognizer, base: type, method: str) -> bool:
    return getattr(getattr(recognizer, method), "__func__", None) is not getattr(base, method)


def _pattern_part(recognizer: PatternRecognizer, pattern: Pattern) -> Part:
    expression = expression_of(pattern.regex, recognizer.global_regex_flags or 0)
    entity = recognizer.supported_entities[0]
    validates = _overrides(recognizer, PatternRecognizer, "validate_result")
    invalidates = _overrides(recognizer, PatternRecognizer, "invalidate_result")

    def find(view: View, deadline: Deadline) -> Iterator[Raw]:
        for start, end in expression.spans(view, deadline):
            value = view.text[start:end]
            score = pattern.score
            if validates and (is_valid := recognizer.validate_result(value)) is not None:
                score = 1.0 if is_valid else 0
            if invalidates and recognizer.invalidate_result(value):
                score = 0
            if score:
                yield Raw(start, end, entity, score)

    return Part(expression.ways, find)


def _iban_part(recognizer: IbanRecognizer, pattern: Pattern) -> Part:
    expression = Expression(pattern.regex, recognizer.global_regex_flags or 0)
    entity = recognizer.supported_entities[0]

    def find(view: View, deadline: Deadline) -> Iterator[Raw]:
        for match in expression.matches(view.text, deadline):
            # The last groups may be words that follow an account number.
            for group in range(len(match.groups()), 0, -1):
                end = match.end(group) if match.end(group) > 0 else match.end()
                value = view.text[match.start() : end]
                is_valid = recognizer.validate_result(value) if value else False
                if is_valid is not False:
                    yield Raw(match.start(), end, entity, 1.0 if is_valid else pattern.score)
                    break

    return Part(expression.ways, find)


def _phone_part(recognizer: PhoneRecognizer) -> Part:
    entity = recognizer.supported_entities[0]

    def find(view: View, deadline: Deadline) -> Iterator[Raw]:
        found = _phones.spans(
            view.text, recognizer.supported_regions, recognizer.leniency or 0, deadline
        )
        return (Raw(start, end, entity, recognizer.SCORE) for start, end in found)

    return Part(_phones.needed(recognizer.leniency or 0), find)


def _own_part(recognizer: EntityRecognizer) -> Part:
    """The search of a recognizer with its own method; its `GATES`, if any, state what a text needs."""
    gates = getattr(recognizer, "GATES", None)
    bounded = _bounded(recognizer) if isinstance(recognizer, PatternRecognizer) else recognizer
    entities = list(recognizer.supported_entities)

    def find(view: View, deadline: Deadline) -> Iterator[Raw]:
        artifacts = None if gates else view.artifacts
        results = bounded.analyze(view.text, entities, cast("Any", artifacts))
        deadline.left()
        return map(_raw, results or ())

    return Part(_needed(recognizer, gates) if gates else None, find)


def _needed(recognizer: EntityRecognizer, gates: Iterable[str]) -> tuple[str, ...] | None:
    flags = getattr(recognizer, "global_regex_flags", 0) or 0
    ways = [Expression(gate, flags).ways for gate in gates]
    return None if None in ways else tuple(chain.from_iterable(filter(None, ways)))


class _TimedExpression:
    """A compiled expression that raises when its time is up; Presidio would skip it and find nothing."""

    def __init__(self, expression: Expression) -> None:
        self._expression = expression

    def finditer(self, text: str, **_: Any) -> Iterator[Any]:
        return self._expression.matches(text, Deadline(_LONGEST_PATTERN))


def _bounded(recognizer: PatternRecognizer) -> EntityRecognizer:
    bounded = _untyped(copy.copy(recognizer))
    patterns = [copy.copy(pattern) for pattern in _untyped(recognizer).patterns]
    flags = recognizer.global_regex_flags
    for pattern in patterns:
        pattern.compiled_regex = _TimedExpression(Expression(pattern.regex, flags or 0))
        pattern.compiled_with_flags = flags
    bounded.patterns = patterns
    return bounded  # type: ignore[no-any-return]


def _raw(result: RecognizerResult) -> Raw:
    metadata = result.recognition_metadata or {}
    is_final = bool(metadata.get(RecognizerResult.IS_SCORE_ENHANCED_BY_CONTEXT_KEY))
    return Raw(result.start, result.end, result.entity_type, result.score, is_final)


def _result(raw: Raw, recognizer: EntityRecognizer) -> RecognizerResult:
    metadata = {
        RecognizerResult.RECOGNIZER_NAME_KEY: _untyped(recognizer).name,
        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
    }
    return RecognizerResult(
        raw.entity, raw.start, raw.end, raw.score, recognition_metadata=metadata
    )
