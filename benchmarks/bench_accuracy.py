"""Precision and recall by entity and kind of text, side by side.

The texts are those of `labelled.py`, which is written beside the recognizers, and those of `others.py`, which public
packages provide: `pip install --no-deps presidio-evaluator pii-anon` installs them; without them they are skipped.

A finding is right where it overlaps a value of its entity; it is exact where it begins and ends with it. Compared are
this library, Presidio's own recognizers at the threshold .4 (without a model, with its context words), the five
detectors of LangChain's middleware, and regular expressions as they are often written.

    python benchmarks/bench_accuracy.py [TEXTS] [SEED]
"""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from labelled import Labelled, labelled
from langchain.agents.middleware import _redaction as langchain_detectors
from others import missing, others
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

LEAST_PRECISE = 0.05 / 0.95
"""The wrong findings to each right one at a precision of .95."""

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


def shown(title: str, counts: dict[str, Counter[tuple[str, str]]]) -> list[str]:
    """Print a table; give back where this library falls short of its goals."""
    print(
        f"\n== {title}\n{'':16}{'precision':>11}{'recall':>11}{'exact prec.':>11}{'exact rec.':>11}"
        f"{'wrong':>8}{'missed':>8}"
    )
    short = list[str]()
    for entity in ENTITIES:
        own, theirs = counts["this library"], counts["Presidio"]
        if not (labels := own[entity, "found"] + own[entity, "missed"]):
            continue
        print(f"{entity} ({labels})")
        for name, count in counts.items():
            print(row(name, entity, count))
        if own[entity, "found"] < theirs[entity, "found"] or (
            own[entity, "wrong"] > LEAST_PRECISE * own[entity, "right"]
        ):
            short.append(f"{title}: {entity}")
    return short


def compared(texts: Sequence[Labelled], contenders: dict[str, Find]) -> list[str]:
    """Print how all contenders do on each kind of text."""
    short = list[str]()
    for kind in dict.fromkeys(text.kind for text in texts):
        of_kind = [text for text in texts if text.kind == kind]
        short += shown(kind, {name: counted(of_kind, find) for name, find in contenders.items()})
    return short


def main() -> None:
    number, seed = (*map(int, sys.argv[1:]), *(6000, 0)[len(sys.argv) - 1 :])
    made = {
        "this library": this_library(),
        "Presidio": presidio(),
        "LangChain": langchain(),
        "plain regexes": plain(),
    }
    short = compared(list(labelled(number, seed)), made)
    for package in missing():
        print(f"\nSKIPPED: texts of {package}, which is not installed")
    # URLs of these texts are not labelled.
    found = {
        name: lambda text, find=find: [f for f in find(text) if f[2] not in ("URL", "MAC_ADDRESS")]
        for name, find in made.items()
    }
    texts = [replace(text, kind=f"{text.kind}, by others") for text in others(number // 4, seed)]
    short += compared(texts, found)
    print("\nbelow Presidio's recall or a precision of .95:", ", ".join(short) or "none")


if __name__ == "__main__":
    main()
