"""One pass over a text for many recognizers: the findings of Presidio's `AnalyzerEngine`, in linear time.

Presidio runs every expression of every recognizer over every text. Here a single google-re2 search selects the
expressions that can match at all; for most texts, there are none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.detectors.scan.context import Surroundings
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime, not_searched
from lg_prod_nodes.detectors.scan.patterns import View
from lg_prod_nodes.detectors.scan.prefilter import Candidates, Prefilter
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
        self._prefilter = Prefilter([search.parts[number].needed for search, number in self._parts])

    def candidates(self, text: str) -> Candidates:
        """The parts of searches that may find something; ruling them out is faster than a scan."""
        return self._prefilter.among(text)

    def scan(self, text: str, deadline: Deadline) -> list[Raw]:
        """The findings of a text, highest score first.

        Raises:
            DetectionFailed: A recognizer failed or the time is up.
        """
        failed: list[str] = []
        raws = self.found(text, self.candidates(text), deadline, failed)
        if failed:
            raise DetectionFailed(not_searched(failed))
        return sorted(raws, key=lambda raw: (-raw.score, raw.start, -raw.end))

    def found(
        self, text: str, candidates: Candidates, deadline: Deadline, failed: list[str]
    ) -> list[Raw]:
        """The findings of a text, in any order.

        Args:
            text: The text to search.
            candidates: What it may match.
            deadline: The deadline of the scan.
            failed: Collects failures with their reasons; the findings of the other recognizers are still returned.
        """
        if not candidates.numbers:
            return []
        view = View(text, self._nlp_engine)
        chosen: dict[Search, list[int]] = {}
        for number in sorted(candidates.numbers):
            search, part = self._parts[number]
            chosen.setdefault(search, []).append(part)
        found = {
            search: _run(search, parts, view, deadline, failed) for search, parts in chosen.items()
        }
        kept = without_duplicates(self._that_count(self._enhanced(found, view, failed)))
        if self._allow is None:
            return kept
        return [raw for raw in kept if text[raw.start : raw.end] not in self._allow]

    def _enhanced(
        self, found: Mapping[Search, list[Raw]], view: View, failed: list[str]
    ) -> Iterable[Raw]:
        if not any(search.words or search.enhances for search in found):
            return chain.from_iterable(found.values())
        surroundings = Surroundings(view.text, self._context)
        raws: list[Raw] = []
        for search, own in found.items():
            if search.enhances:
                others = [raw for other in found if other is not search for raw in found[other]]
                own = _enhanced_by(search, own, others, view, self._context, failed)
            raws += [_scored(raw, search, surroundings) for raw in own] if search.words else own
        return raws

    def _that_count(self, raws: Iterable[Raw]) -> Iterable[Raw]:
        if not self._thresholds:
            least = self._threshold
            return [raw for raw in raws if raw[3] >= least]
        return filter(self._counts, raws)

    def _counts(self, raw: Raw) -> bool:
        return raw.score >= self._thresholds.get(raw.entity, self._threshold)


def _scored(raw: Raw, search: Search, surroundings: Surroundings) -> Raw:
    if raw.is_final:
        return raw
    score = surroundings.score(raw.start, raw.score, search.words)
    return raw if score == raw.score else raw._replace(score=score)


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
