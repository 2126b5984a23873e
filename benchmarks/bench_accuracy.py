"""Precision and recall by entity, side by side on one labelled set that is generated (`labelled.py`).

A finding is right where it overlaps a value of its entity; it is exact where it begins and ends with it. Compared are
this library, Presidio's own recognizers at the threshold .4 (without a model, with its context words), the five
detectors of LangChain's middleware, and regular expressions as they are often written.

    python benchmarks/bench_accuracy.py [TEXTS] [SEED]
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from labelled import Labelled, labelled
from langchain.agents.middleware import _redaction as langchain_detectors
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers

from lg_prod_nodes.detectors import Detector
from lg_prod_nodes.detectors.reading.words import WordEngine

ENTITIES = (
    "CREDIT_CARD",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "PHONE_NUMBER",
    "SECRET",
    "URL",
    "US_SSN",
)

Place = tuple[int, int, str]
Find = Callable[[str], Iterable[Place]]

PLAIN = {
    "CREDIT_CARD": r"\b(?:\d[ -]*?){13,16}\b",
    "EMAIL_ADDRESS": r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    "IBAN_CODE": r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b",
    "IP_ADDRESS": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "MAC_ADDRESS": r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b",
    "PHONE_NUMBER": r"\+?\d{0,3}[-. ]?\(?\d{3}\)?[-. ]?\d{3}[-. ]?\d{4}\b",
    "SECRET": r"\b(?:sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|eyJ[\w-]+\.[\w-]+\.[\w-]+)\b",
    "URL": r"https?://\S+",
    "US_SSN": r"\b\d{3}-\d{2}-\d{4}\b",
}


def this_library() -> Find:
    detector = Detector(ENTITIES)
    return lambda text: [(f.start, f.end, f.entity) for f in detector.find(text)]


def presidio() -> Find:
    logging.disable(logging.ERROR)
    names = ("CreditCard", "Email", "Iban", "Ip", "MacAddress", "Phone", "Url", "UsSsn")
    made = [getattr(predefined_recognizers, f"{name}Recognizer")() for name in names]
    engine = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=made),
        nlp_engine=WordEngine(),
        supported_languages=["en"],
    )

    def find(text: str) -> Iterable[Place]:
        results = engine.analyze(text, language="en", score_threshold=0.4)
        return [(r.start, r.end, r.entity_type) for r in results]

    return find


def langchain() -> Find:
    detectors = {
        "EMAIL_ADDRESS": langchain_detectors.detect_email,
        "CREDIT_CARD": langchain_detectors.detect_credit_card,
        "IP_ADDRESS": langchain_detectors.detect_ip,
        "MAC_ADDRESS": langchain_detectors.detect_mac_address,
        "URL": langchain_detectors.detect_url,
    }
    return lambda text: [
        (match["start"], match["end"], entity)
        for entity, detect in detectors.items()
        for match in detect(text)
    ]


def plain() -> Find:
    compiled = {entity: re.compile(pattern) for entity, pattern in PLAIN.items()}
    return lambda text: [
        (*match.span(), entity)
        for entity, pattern in compiled.items()
        for match in pattern.finditer(text)
    ]


def counted(texts: Sequence[Labelled], find: Find) -> Counter[tuple[str, str]]:
    """How many findings are right, wrong and exact, and how many values are found and missed."""
    count = Counter[tuple[str, str]]()
    for text in texts:
        found = list(find(text.text))
        for start, end, entity in found:
            own = [label for label in text.labels if label.entity == entity]
            is_right = any(start < label.end and label.start < end for label in own)
            count[entity, "right" if is_right else "wrong"] += 1
            count[entity, "exact"] += any((start, end) == (label.start, label.end) for label in own)
        for label in text.labels:
            is_found = any(
                entity == label.entity and start < label.end and label.start < end
                for start, end, entity in found
            )
            count[label.entity, "found" if is_found else "missed"] += 1
    return count


def row(name: str, entity: str, count: Counter[tuple[str, str]]) -> str:
    right, wrong, exact, found, missed = (
        count[entity, key] for key in ("right", "wrong", "exact", "found", "missed")
    )
    if not right + wrong:
        return f"  {name:14}      -"
    ratios = (
        right / (right + wrong),
        found / (found + missed),
        exact / (right + wrong),
        exact / (found + missed),
    )
    return f"  {name:14}" + "".join(f"{ratio:11.1%}" for ratio in ratios) + f"{wrong:8}{missed:8}"


def main() -> None:
    number, seed = (*map(int, sys.argv[1:]), *(6000, 0)[len(sys.argv) - 1 :])
    texts = list(labelled(number, seed))
    contenders = {
        "this library": this_library,
        "Presidio": presidio,
        "LangChain": langchain,
        "plain regexes": plain,
    }
    counts = dict[str, Counter[tuple[str, str]]]()
    for name, make in contenders.items():
        find = make()
        find("warm up")
        start = time.perf_counter()
        counts[name] = counted(texts, find)
        print(f"{name:14} {time.perf_counter() - start:7.1f} s for {number} texts")
    print(
        f"\n{'':16}{'precision':>11}{'recall':>11}{'exact prec.':>11}{'exact rec.':>11}{'wrong':>8}{'missed':>8}"
    )
    for entity in ENTITIES:
        labels = sum(label.entity == entity for text in texts for label in text.labels)
        print(f"{entity} ({labels})")
        for name, count in counts.items():
            print(row(name, entity, count))


if __name__ == "__main__":
    main()
