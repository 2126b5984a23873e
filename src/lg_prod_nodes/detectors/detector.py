"""Find entities in texts with Presidio's and this library's recognizers, offline and in linear time.

Presidio is imported by the first scan or by `Detector.open`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import ConfigurationError, DetectionFailed
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.detectors.allowed import Allowed
from lg_prod_nodes.detectors.findings import Finding, apart
from lg_prod_nodes.detectors.reading.folding import has_escapes
from lg_prod_nodes.detectors.reading.quick import reading_of
from lg_prod_nodes.detectors.reading.views import in_both_views
from lg_prod_nodes.detectors.recognizers.catalogue import (
    DEFAULT_ENTITIES,
    ENTITIES,
    entity_of,
    recognizer,
    unknown_entities,
)
from lg_prod_nodes.detectors.recognizers.names import NAME_ENTITIES, name_recognizers
from lg_prod_nodes.detectors.scan.deadline import OUT_OF_TIME, Deadline, not_searched
from lg_prod_nodes.detectors.scan.presidio_import import load_presidio
from lg_prod_nodes.detectors.segments import in_segments, is_one_segment

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer as EntityRecognizer
    from presidio_analyzer.nlp_engine import NlpEngine as NlpEngine

    from lg_prod_nodes.detectors.scan.prefilter import Candidates
    from lg_prod_nodes.detectors.scan.scan import Scanner

__all__ = ["DEFAULT_ENTITIES", "Detector", "Finding", "detector_of"]

_REMEMBERED = 65_536
"""The maximum number of texts and findings in the cache."""

_QUICK = 4096
"""The length in characters below which a text is scanned without delay."""


class Detector(Resource):
    """Finds entities in texts.

    A text is searched both as written and as a person reads it: without invisible characters, with lookalikes folded to
    ASCII, and with URL, HTML and JSON escapes resolved.

    Results are cached under a keyed digest of the text, so a chat history that returns every turn is not scanned again.
    The text itself is not stored.

    Args:
        entities: Names of entities, as in `detectors.recognizers.catalogue.ENTITIES`. Names and places need an
            `nlp_engine`.
        recognizers: Your own recognizers, such as Presidio's `PatternRecognizer`. Each replaces the built-in one for
            its entity.
        threshold: The minimum score, 0 to 1.
        thresholds: Minimum scores by entity that differ from `threshold`.
        allow: Texts that are never findings, whatever their case and white space.
        context: Words treated as if they stood near every finding, for recognizers that score higher with context.
        nlp_engine: Finds names and places; see `detectors.recognizers.names.load_nlp_engine`.
        timeout: Time limit for one text, in seconds.

    Raises:
        ConfigurationError: An entity is unknown, or a number is out of range.
    """

    label = "detector"

    def __init__(
        self,
        entities: Iterable[str] = (),
        *,
        recognizers: Sequence[EntityRecognizer] = (),
        threshold: float = 0.4,
        thresholds: Mapping[str, float] | None = None,
        allow: Sequence[str] = (),
        context: Sequence[str] = (),
        nlp_engine: NlpEngine | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._own = tuple(recognizers)
        named = {entity for recognizer in self._own for entity in recognizer.supported_entities}
        wanted = {e if e in named else entity_of(e) for e in entities} - named
        self._names = tuple(sorted(wanted.intersection(NAME_ENTITIES))) if nlp_engine else ()
        self._built_in = tuple(sorted(wanted.difference(self._names)))
        self._threshold = threshold
        self._thresholds = {entity_of(name): least for name, least in (thresholds or {}).items()}
        for words in (allow, context):
            if isinstance(words, str):
                raise ConfigurationError("a text was given where a list of texts is expected")
        self._allow, self._context = Allowed(allow), tuple(context)
        self._nlp_engine = nlp_engine
        self._timeout = timeout
        self._check()
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, tuple[Finding, ...]] = OrderedDict()
        self._remembered = 0
        self._lock = threading.Lock()

    def _check(self) -> None:
        if unknown := [entity for entity in self._built_in if entity not in ENTITIES]:
            raise ConfigurationError(unknown_entities(unknown))
        for score in (self._threshold, *self._thresholds.values()):
            if not 0 <= score <= 1:
                raise ConfigurationError(f"threshold is {score}; give a score from 0 to 1")
        if not self._timeout > 0:
            raise ConfigurationError(f"timeout is {self._timeout}; give seconds, more than 0")

    def find(self, text: str) -> tuple[Finding, ...]:
        """The findings of a text, in order and without overlaps.

        Raises:
            DetectionFailed: A recognizer failed or timed out, so the text may hold more than was found.
        """
        if not text or text.isspace() or (len(text) < _QUICK and self._is_ruled_out(text)):
            return ()
        digest = self._digest(text)
        with self._lock:
            known = self._known.get(digest)
        if known is None:
            known = self._analyze(text)
            self._remember(digest, known)
        return known

    def is_known(self, text: str) -> bool:
        """Whether `find` returns without delay: the text is short or in the cache."""
        return len(text) < _QUICK or self._digest(text) in self._known

    def open(self, database: Secret | None = None) -> None:
        """Load the recognizers before the first text arrives."""
        _ = self._scanner

    def _is_ruled_out(self, text: str) -> bool:
        """Whether a single search shows that there is nothing to find; it takes no longer than a digest."""
        candidates = self._scanner.candidates(text)
        return not (candidates.numbers or candidates.is_read_otherwise or has_escapes(text))

    def _digest(self, text: str) -> bytes:
        encoded = text.encode(errors="surrogatepass")
        return hashlib.blake2b(encoded, digest_size=16, key=self._key).digest()

    def _remember(self, digest: bytes, findings: tuple[Finding, ...]) -> None:
        with self._lock:
            if digest in self._known:
                return
            self._known[digest] = findings
            self._remembered += 1 + len(findings)
            while self._remembered > _REMEMBERED:
                _, forgotten = self._known.popitem(last=False)
                self._remembered -= 1 + len(forgotten)

    def _analyze(self, text: str) -> tuple[Finding, ...]:
        search = _Search(self._scanner, self._allow, self._timeout)
        is_one = is_one_segment(text)
        findings = search.find(text) if is_one else apart(in_segments(text, search.find))
        if search.failed:
            raise DetectionFailed(not_searched(search.failed), findings)
        return findings

    @cached_property
    def _scanner(self) -> Scanner:
        load_presidio()
        from lg_prod_nodes.detectors.reading.words import WordEngine
        from lg_prod_nodes.detectors.scan.scan import Scanner

        names = name_recognizers(self._nlp_engine, self._names) if self._nlp_engine else []
        return Scanner(
            [*map(recognizer, self._built_in), *names, *self._own],
            nlp_engine=self._nlp_engine or WordEngine(),
            threshold=self._threshold,
            thresholds=self._thresholds,
            allow=self._allow or None,
            context=self._context,
        )


_finding_of = partial(tuple.__new__, Finding)
"""`Finding._make`, in half its time."""


class _Search:
    """The search of one text.

    Attributes:
        failed: Why parts of it were not searched, if any.
    """

    def __init__(self, scanner: Scanner, allow: Allowed, timeout: float) -> None:
        self.failed: list[str] = []
        self._scanner, self._allow = scanner, allow
        self._deadline = Deadline(timeout)

    def find(self, part: str) -> tuple[Finding, ...]:
        """The findings of a part of the text."""
        candidates = self._scanner.candidates(part)
        is_escaped = has_escapes(part)
        if not (is_escaped or candidates.numbers or candidates.is_read_otherwise):
            return ()
        if self._deadline.is_over():
            self.failed.append(OUT_OF_TIME)
            return ()
        if is_escaped or (not part.isascii() and self._is_read_otherwise(part, candidates)):
            found = list(in_both_views(part, self._scan))
        else:
            found = self._found(part, candidates)
        if self._allow:
            found = [f for f in found if part[f.start : f.end] not in self._allow]
        return apart(found)

    def _is_read_otherwise(self, part: str, candidates: Candidates) -> bool:
        """Whether a text without escapes must also be searched as a person reads it."""
        reading = reading_of(part)
        return reading != part and bool(
            candidates.numbers or self._scanner.candidates(reading).numbers
        )

    def _scan(self, view: str) -> list[Finding]:
        return self._found(view, self._scanner.candidates(view))

    def _found(self, view: str, candidates: Candidates) -> list[Finding]:
        raws = self._scanner.found(view, candidates, self._deadline, self.failed)
        return [_finding_of(raw[:4]) for raw in raws]


@lru_cache(maxsize=64)
def detector_of(entities: tuple[str, ...], threshold: float) -> Detector:
    """The detector of these entities, shared by all policies that look for them."""
    return Detector(entities, threshold=threshold)
