"""One pass over a text for many recognizers: the findings of Presidio's `AnalyzerEngine`, in linear time.

Presidio runs every expression of every recognizer over every text. Here a single google-re2 search selects the
expressions that can match at all; for most texts, there are none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.detectors.scan.alphabet import rough, roughly
from lg_prod_nodes.detectors.scan.context import Surroundings
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime, not_searched
from lg_prod_nodes.detectors.scan.patterns import Prefilter, View
from lg_prod_nodes.detectors.scan.raws import Raw, without_duplicates
from lg_prod_nodes.detectors.scan.searches import Search, search_of

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer
    from presidio_analyzer.nlp_engine import NlpEngine


class Scanner:
    """Finds the entities of a set of recognizers.

    Args:
        recognizers: The recognizers.
        nlp_engine: Provides the input of recognizers of names and places.
        threshold: The minimum score.
        thresholds: Minimum scores by entity that differ from `threshold`.
        allow: Texts that are never findings.
        context: Words treated as if they stood near every finding.
    """

    def __init__(
        self,
        recognizers: Iterable[EntityRecognizer],
        *,
        nlp_engine: NlpEngine,
        threshold: float,
        thresholds: Mapping[str, float],
        allow: Container[str] | None = None,
        context: Sequence[str] = (),
    ) -> None:
        self._nlp_engine = nlp_engine
        self._threshold, self._thresholds = threshold, thresholds
        self._allow, self._context = allow, context
        searches = [search_of(recognizer) for recognizer in recognizers]
        self._parts = [
            (search, number) for search in searches for number in range(len(search.parts))
        ]
        needed = [search.parts[number].needed for search, number in self._parts]
        self._prefilter = Prefilter(needed)
        self._rough = Prefilter([ways and tuple(map(roughly, ways)) for ways in needed])

    def may_find(self, text: str) -> bool:
        """Whether a text may hold a finding; ruling it out is faster than a scan."""
        return bool(self._rough.among(rough(text)))

    def scan(self, text: str, deadline: Deadline, failed: list[str] | None = None) -> list[Raw]:
        """The findings of a text, highest score first.

        Args:
            text: The text to search.
            deadline: The deadline of the scan.
            failed: Collects failures with their reasons; the findings of the other recognizers are still returned.

        Raises:
            DetectionFailed: A recognizer failed or the time is up, and `failed` is `None`.
        """
        failures: list[str] = []
        raws = self._scanned(text, deadline, failures)
        if failures and failed is None:
            raise DetectionFailed(not_searched(failures))
        if failed is not None:
            failed += failures
        return raws

    def _scanned(self, text: str, deadline: Deadline, failed: list[str]) -> list[Raw]:
        view = View(text, self._nlp_engine)
        # The rough form may match more than the text, but is searched much faster.
        candidates = (
            self._prefilter.candidates(view) if text.isascii() else self._rough.among(rough(text))
        )
        if not candidates:
            return []
        parts = map(self._parts.__getitem__, sorted(candidates))
        found = [
            (search, _run(search, [number for _, number in group], view, deadline, failed))
            for search, group in groupby(parts, lambda part: part[0])
        ]
        kept = without_duplicates(filter(self._counts, self._enhanced(found, view, failed)))
        if self._allow is None:
            return kept
        return [raw for raw in kept if text[raw.start : raw.end] not in self._allow]

    def _enhanced(
        self, found: list[tuple[Search, list[Raw]]], view: View, failed: list[str]
    ) -> Iterable[Raw]:
        surroundings = Surroundings(view.text, self._context)
        for search, own in found:
            raws = own
            if search.enhances:
                others = [raw for other, theirs in found if other is not search for raw in theirs]
                raws = _enhanced_by(search, own, others, view, self._context, failed)
            for raw in raws:
                score = raw.score
                if search.words and not raw.is_final:
                    score = surroundings.score(raw.start, raw.score, search.words)
                yield raw if score == raw.score else raw._replace(score=score)

    def _counts(self, raw: Raw) -> bool:
        return raw.score >= self._thresholds.get(raw.entity, self._threshold)


def _run(
    search: Search, numbers: list[int], view: View, deadline: Deadline, failed: list[str]
) -> list[Raw]:
    try:
        return search.run(numbers, view, deadline)
    except Exception as error:
        failed.append(f"{search.name} {_reason(error)}")
    return []


def _enhanced_by(
    search: Search,
    own: list[Raw],
    others: list[Raw],
    view: View,
    context: Sequence[str],
    failed: list[str],
) -> list[Raw]:
    try:
        return search.enhanced(own, others, view, context)
    except Exception as error:
        failed.append(f"{search.name} {_reason(error)}")
    return own


def _reason(error: Exception) -> str:
    """Why a recognizer failed, without anything that could quote the text."""
    if isinstance(error, OutOfTime):
        return "ran out of its time"
    return f"failed with {type(error).__name__}"
