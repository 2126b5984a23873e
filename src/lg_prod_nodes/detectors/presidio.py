"""Presidio's pattern recognizers, offline: no model, no download, no network.

Presidio takes seconds to import, so it is imported when a text is first scanned, or by `Detector.warm_up`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from lg_prod_nodes.errors import ConfigurationError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer

DEFAULT_ENTITIES = (
    "CREDIT_CARD",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "PHONE_NUMBER",
    "US_SSN",
)

_RECOGNIZERS: Mapping[str, str] = {
    "ABA_ROUTING_NUMBER": "AbaRoutingRecognizer",
    "CREDIT_CARD": "CreditCardRecognizer",
    "CRYPTO": "CryptoRecognizer",
    "DATE_TIME": "DateRecognizer",
    "EMAIL_ADDRESS": "EmailRecognizer",
    "IBAN_CODE": "IbanRecognizer",
    "IP_ADDRESS": "IpRecognizer",
    "MAC_ADDRESS": "MacAddressRecognizer",
    "MEDICAL_LICENSE": "MedicalLicenseRecognizer",
    "PHONE_NUMBER": "PhoneRecognizer",
    "UK_NHS": "NhsRecognizer",
    "URL": "UrlRecognizer",
    "US_BANK_NUMBER": "UsBankRecognizer",
    "US_DRIVER_LICENSE": "UsLicenseRecognizer",
    "US_ITIN": "UsItinRecognizer",
    "US_PASSPORT": "UsPassportRecognizer",
    "US_SSN": "UsSsnRecognizer",
}

_CACHED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text and what stands there."""

    start: int
    end: int
    entity: str
    score: float


class Detector:
    """Finds entities in texts.

    What was found in a text is remembered by a keyed digest of it, so that a history that comes back every turn is
    not scanned again; the text itself is not kept.

    Args:
        entities: Names of Presidio entities.
        recognizers: The user's own recognizers, such as Presidio's `PatternRecognizer`.
        threshold: The least score that counts, 0 to 1.

    Raises:
        ConfigurationError: An entity is not known.
    """

    def __init__(
        self,
        entities: Iterable[str] = (),
        *,
        recognizers: Sequence[EntityRecognizer] = (),
        threshold: float = 0.4,
    ) -> None:
        self._own = tuple(recognizers)
        named = {entity for recognizer in self._own for entity in recognizer.supported_entities}
        self._built_in = tuple(sorted(set(entities) - named))
        if unknown := [entity for entity in self._built_in if entity not in _RECOGNIZERS]:
            raise ConfigurationError(
                f"no recognizer for {', '.join(unknown)}; known are {', '.join(_RECOGNIZERS)}. "
                "Give your own with recognizers=[PatternRecognizer(...)]"
            )
        self._threshold = threshold
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, tuple[Finding, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, text: str) -> tuple[Finding, ...]:
        """What stands where in a text, in order, no two findings overlapping."""
        if not text or text.isspace():
            return ()
        digest = hashlib.blake2b(
            text.encode(errors="surrogatepass"), digest_size=16, key=self._key
        ).digest()
        with self._lock:
            known = self._known.get(digest)
        if known is None:
            known = _apart(self._analyze(text))
            with self._lock:
                self._known[digest] = known
                if len(self._known) > _CACHED_TEXTS:
                    self._known.popitem(last=False)
        return known

    def warm_up(self) -> None:
        """Load what takes time before the first text comes."""
        _ = self._engine

    def _analyze(self, text: str) -> list[Finding]:
        results = self._engine.analyze(
            _folded(text), language="en", score_threshold=self._threshold
        )
        return [Finding(r.start, r.end, r.entity_type, r.score) for r in results]

    @cached_property
    def _engine(self) -> AnalyzerEngine:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

        from lg_prod_nodes.detectors._tokens import WordEngine

        # Presidio logs words of the texts that it scans.
        for name in ("presidio-analyzer", "decision_process"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        registry = RecognizerRegistry(recognizers=[*map(_recognizer, self._built_in), *self._own])
        return AnalyzerEngine(
            registry=registry, nlp_engine=WordEngine(), supported_languages=["en"]
        )


@lru_cache(maxsize=64)
def detector_of(entities: tuple[str, ...], threshold: float) -> Detector:
    """The detector of these entities, shared by the policies that look for them."""
    return Detector(entities, threshold=threshold)


def term_recognizers(terms: Mapping[str, Iterable[str]]) -> list[EntityRecognizer]:
    """Recognizers of whole words and phrases, by the category that they stand for.

    Upper and lower case are one, and so is any white space between the words of a phrase.
    """
    from presidio_analyzer import Pattern, PatternRecognizer

    def pattern(words: Iterable[str]) -> Pattern:
        phrases = (r"\s+".join(map(re.escape, _folded(term).split())) for term in words)
        return Pattern("terms", rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", 1.0)

    return [
        PatternRecognizer(supported_entity=category, patterns=[pattern(words)])
        for category, words in terms.items()
    ]


def _folded(text: str) -> str:
    """The text with widths and the like folded, each character in its place."""
    if text.isascii():
        return text
    return "".join(
        folded if len(folded := unicodedata.normalize("NFKC", char)) == 1 else char for char in text
    )


def _recognizer(entity: str) -> EntityRecognizer:
    import tldextract
    from presidio_analyzer import predefined_recognizers

    made = getattr(predefined_recognizers, _RECOGNIZERS[entity])()
    if entity == "EMAIL_ADDRESS":
        # Presidio asks tldextract, which would fetch its list of suffixes over the network.
        extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        made.validate_result = lambda text: extract(text.rpartition("@")[2]).fqdn != ""
    return made  # type: ignore[no-any-return]


def _apart(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings that do not overlap: the surer keeps its place, else the longer; the rest of the other stays."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (-f.score, f.start - f.end, f.start)):
        at = finding.start
        inside = [k for k in kept if k.start < finding.end and finding.start < k.end]
        for other in sorted(inside, key=lambda k: k.start):
            if at < other.start:
                kept.append(replace(finding, start=at, end=other.start))
            at = max(at, other.end)
        if at < finding.end:
            kept.append(replace(finding, start=at))
    return tuple(sorted(kept, key=lambda f: f.start))
