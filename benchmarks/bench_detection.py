"""What finding entities costs: this library, Presidio's AnalyzerEngine, and peers.

Nothing is remembered between texts. AnalyzerEngine runs the same recognizers, and its findings are compared with those
of the scan before both are timed; beside the default entities it also runs Presidio's own recognizers for them.
Times are the least processor time of some rounds, taken in turn; the ratios are what counts.

Chats that others wrote are read from optional packages (see `others.py`), and hyperscan is compared where it is
installed.

    python benchmarks/bench_detection.py [speed | chat | hostile | start]...
"""

from __future__ import annotations

import json
import logging
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle

from langchain.agents.middleware import _redaction as langchain_pii
from others import clean, conversations
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry
from presidio_analyzer import predefined_recognizers as presidio

from lg_prod_nodes.detectors import DEFAULT_ENTITIES, Detector
from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.recognizers.catalogue import ENTITIES, recognizer
from lg_prod_nodes.detectors.scan.deadline import Deadline
from lg_prod_nodes.detectors.scan.scan import Scanner

ROUNDS = 7
SECONDS_A_ROUND = 0.05

CHAT = (
    "Hi, could you help me understand why the build of our project takes so long? I have tried to clear the cache and "
    "to restart the runner, but nothing changed. The team says that it began last week, after we moved the tests into "
    "their own folder. I would like to know which step is the slowest, and whether we can run some of them in "
    "parallel. Last time it was the linker: it needs 3 of 8 GB and stalls (see the notes). Thanks a lot for looking!\n"
)
JSON = json.dumps(
    {
        "tool": "create_order",
        "arguments": {
            "customer_id": 48213377,
            "items": [{"sku": "AB-1029", "qty": 2, "price": 19.99}, {"sku": "ZX-77", "qty": 1}],
            "notes": "leave at the door",
            "created": "2024-05-11T10:22:31Z",
            "email": "jane.roe@example.org",
            "flags": {"gift": False, "express": True},
            "trace": "0f8fad5b-d9cb-469f-a165-70867728950e",
        },
    }
)
DENSE = [
    "Contact ann{n}@example.com or bob.smith@mail{n}.example.co.uk, +1 212 555 01{n}, (415) 555-01{n}. ",
    "Card 4111 1111 1111 1111, IBAN DE89370400440532013000, ssn 219-09-99{n}, from 10.1.2.{n}. ",
]
TEXTS = {
    "chat, clean, 1 kB": (CHAT * 3)[:1024],
    "chat, clean, 10 kB": (CHAT * 30)[:10240],
    "chat, one e-mail, 1 kB": (CHAT * 3)[:1000] + " ann@example.com",
    "JSON, 1 kB": (JSON * 3)[:1024],
    "PII-dense, 1 kB": "".join(DENSE[n % 2].format(n=10 + n) for n in range(12))[:1024],
    "not ASCII, 1 kB": ("Grüße aus München, die Straße ist naïve, 日本語 🎉! " * 30)[:1024],
}
PRESIDIO = (
    "CreditCardRecognizer",
    "CryptoRecognizer",
    "DateRecognizer",
    "IbanRecognizer",
    "IpRecognizer",
    "MacAddressRecognizer",
    "MedicalLicenseRecognizer",
    "PhoneRecognizer",
    "UrlRecognizer",
    "UsBankRecognizer",
    "UsItinRecognizer",
    "UsLicenseRecognizer",
    "UsPassportRecognizer",
    "UsSsnRecognizer",
)
PRESIDIO_DEFAULTS = (
    "CreditCardRecognizer",
    "EmailRecognizer",
    "IbanRecognizer",
    "IpRecognizer",
    "PhoneRecognizer",
    "UsSsnRecognizer",
)
NINE = [
    re.compile(pattern)
    for pattern in (
        r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b",
        r"\b\d{3}-\d{2}-\d{4}\b",
        r"\b(?:\d{4}[- ]?){3}\d{4}\b",
        r"\b(?:\+?\d{1,3}[- .]?)?\(?\d{3}\)?[- .]?\d{3}[- .]?\d{4}\b",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b",
        r"https?://[^\s]+",
        r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b",
        r"\b(?:sk|pk|ghp|xox[bp])[-_][A-Za-z0-9_-]{16,}\b",
    )
]
FIVE = (
    langchain_pii.detect_email,
    langchain_pii.detect_credit_card,
    langchain_pii.detect_ip,
    langchain_pii.detect_mac_address,
    langchain_pii.detect_url,
)
LANGCHAINS = ("CREDIT_CARD", "EMAIL_ADDRESS", "IP_ADDRESS", "MAC_ADDRESS", "URL")
"""The entities of these five."""
LANGUAGES = (
    "english",
    "german",
    "french",
    "spanish",
    "japanese",
    "korean",
    "chinese",
    "ukrainian",
    "persian",
)
EVERYDAY = (
    "I forgot my password, can you help me to reset it?",
    "Where is the key to the front door?",
    "Do I need a new token for the laundry machine?",
    "The secret is: patience.",
)
HOSTILE = {
    "dots": ".",
    "a.a.a.": "a.",
    "1/1/": "1/1/",
    "1/2/3/...": "1/2/3/4/5/6/7/8/9/0/",
    "1-1-": "1-1-",
    "digits": "1",
    "at signs": "@",
    "a@a@": "a@",
    "spaces": " ",
    "colons": "1::",
    "one token": "x",
    "brackets": "[(",
    "%25%25": "%25",
    "marks": "e\u0301\u0301",
    "addresses": "10.1.2.3 ",
}


def analyzer(given: list[EntityRecognizer]) -> AnalyzerEngine:
    registry = RecognizerRegistry(recognizers=given)
    return AnalyzerEngine(registry=registry, nlp_engine=WordEngine(), supported_languages=["en"])


def best(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least seconds of each call, the calls timed in turn."""
    times = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call()
            count, start = 0, time.process_time()
            while (taken := time.process_time() - start) < SECONDS_A_ROUND or not count:
                call()
                count += 1
            times[name] = min(times[name], taken / count)
    return times


def compare(title: str, given: list[EntityRecognizer], *peers: EntityRecognizer) -> None:
    """Time the scan and Presidio with these recognizers, and Presidio with others for the same entities."""
    engine, other = analyzer(given), analyzer(list(peers))
    scanner = Scanner(given, nlp_engine=WordEngine(), threshold=0.4, thresholds={})
    columns = ["scan", "Presidio", "Presidio/scan"]
    columns += ["Presidio's own", "its own/scan"] if peers else []
    print(f"\n{title}\n{'':24}" + "".join(f"{column:>16}" for column in columns))
    for name, text in TEXTS.items():

        def by_presidio(text: str = text) -> list[tuple[int, int, str, float]]:
            found = engine.analyze(text, language="en", score_threshold=0.4)
            return sorted((r.start, r.end, r.entity_type, r.score) for r in found)

        def by_scan(text: str = text) -> list[tuple[int, int, str, float]]:
            return sorted(raw[:4] for raw in scanner.scan(text, Deadline(60)))

        def by_peers(text: str = text) -> object:
            return other.analyze(text, language="en", score_threshold=0.4)

        assert by_scan() == by_presidio(), f"not the same in {name}"
        calls: dict[str, Callable[[], object]] = {"scan": by_scan, "presidio": by_presidio}
        times = best(calls | {"own": by_peers} if peers else calls)
        scan, *others = times.values()
        row = "".join(f"{taken * 1e6:13.0f} us{taken / scan:15.0f}x" for taken in others)
        print(f"{name:24}{scan * 1e6:13.1f} us{row}")


def speed() -> None:
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)
    compare(
        f"{len(PRESIDIO)} of Presidio's recognizers", [getattr(presidio, n)() for n in PRESIDIO]
    )
    detector = Detector(DEFAULT_ENTITIES)
    detector.open()
    compare(
        "the default entities; Presidio's own recognizers for these entities, as far as it has any",
        [recognizer(entity) for entity in DEFAULT_ENTITIES],
        *(getattr(presidio, name)() for name in PRESIDIO_DEFAULTS),
    )
    print(
        "\nDetector: both views, nothing remembered; the entities of LangChain's five; and the peers"
    )
    print(
        f"{'':24}{'Detector':>12}{'five':>12}{'remembered':>12}{'LangChain, 5':>14}{'9 expressions':>15}"
        f"{'hyperscan':>12}{'LangChain/Detector':>20}"
    )
    five, hyperscan = Detector(LANGCHAINS), hyperscan_of(detector)
    for name, text in TEXTS.items():
        detector.find(text)
        times = best(
            {
                "detector": lambda text=text: detector._analyze(text),  # type: ignore[misc]
                "five": lambda text=text: five._analyze(text),  # type: ignore[misc]
                "remembered": lambda text=text: detector.find(text),  # type: ignore[misc]
                "hyperscan": lambda text=text: hyperscan(text) if hyperscan else None,  # type: ignore[misc]
                "langchain": lambda text=text: [find(text) for find in FIVE],  # type: ignore[misc]
                "nine": lambda text=text: [list(p.finditer(text)) for p in NINE],  # type: ignore[misc]
            }
        )
        us = {key: value * 1e6 for key, value in times.items()}
        print(
            f"{name:24}{us['detector']:9.1f} us{us['five']:9.1f} us{us['remembered']:9.1f} us"
            f"{us['langchain']:11.1f} us{us['nine']:12.1f} us"
            + (f"{us['hyperscan']:9.1f} us" if hyperscan else f"{'-':>12}")
            + f"{us['langchain'] / us['detector']:19.1f}x"
        )


def chats() -> dict[str, list[str]]:
    """Messages that others wrote, of about 1 kB each."""
    sentences = _joined(clean(400))
    made = {
        "sentences": sentences,
        "with smart quotes": [_with_smart_quotes(text) for text in sentences],
        "about passwords": [f"{text} {said}" for text, said in zip(sentences, cycle(EVERYDAY))],
    }
    return made | {language: _joined(conversations(language)) for language in LANGUAGES}


def _joined(said: Iterable[str]) -> list[str]:
    messages = [""]
    for sentence in said:
        if len(messages[-1]) > 1000:
            messages.append("")
        messages[-1] += f"{sentence}\n"
    return messages[:25]


def _with_smart_quotes(text: str) -> str:
    return text.replace("'", "\u2019").replace(' "', " \u201c").replace('"', "\u201d")


def chat() -> None:
    """Compare on chats that others wrote, where the detector finds nothing."""
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)
    detector = Detector(DEFAULT_ENTITIES)
    engine = analyzer([getattr(presidio, name)() for name in PRESIDIO_DEFAULTS])
    print(
        f"\nChats that others wrote, about 1 kB each\n{'':24}{'messages':>10}{'Detector':>14}"
        f"{'Presidio/Detector':>20}{'LangChain/Detector':>20}"
    )
    for name, texts in chats().items():
        texts = [text for text in texts if text.strip() and not detector.find(text)]
        if not texts:
            print(f"{name:24}{'SKIPPED: the texts are not installed':>44}")
            continue

        def by_presidio(texts: list[str] = texts) -> object:
            return [engine.analyze(t, language="en", score_threshold=0.4) for t in texts]

        times = best(
            {
                "detector": lambda texts=texts: [detector._analyze(t) for t in texts],  # type: ignore[misc]
                "presidio": by_presidio,
                "langchain": lambda texts=texts: [find(t) for t in texts for find in FIVE],  # type: ignore[misc]
            }
        )
        own = times["detector"]
        print(
            f"{name:24}{len(texts):10}{own / len(texts) * 1e6:11.1f} us{times['presidio'] / own:19.0f}x"
            f"{times['langchain'] / own:19.1f}x"
        )


def hyperscan_of(detector: Detector) -> Callable[[str], object] | None:
    """A search with hyperscan for what the detector's recognizers need, with all positions."""
    if not find_spec("hyperscan"):
        return None
    hyperscan = import_module("hyperscan")
    needed = [search.parts[part].needed or () for search, part in detector._scanner._parts]
    expressions = [way.encode("latin-1") for ways in needed for way in ways]
    database = hyperscan.Database()
    database.compile(
        expressions=expressions,
        ids=list(range(len(expressions))),
        flags=[hyperscan.HS_FLAG_SOM_LEFTMOST] * len(expressions),
    )

    def find(text: str) -> object:
        found: list[tuple[int, int, int]] = []

        def note(number: int, start: int, end: int, *_: object) -> None:
            found.append((number, start, end))

        database.scan(text.encode("latin-1", "replace"), match_event_handler=note)
        return found

    return find


def hostile() -> None:
    own = [presidio.UrlRecognizer(), presidio.PhoneRecognizer(), presidio.EmailRecognizer()]
    detectors = {
        "default entities": Detector((*DEFAULT_ENTITIES, "URL"), timeout=60),
        "all entities": Detector(ENTITIES, timeout=60),
        "Presidio's URL, phone, e-mail": Detector(recognizers=own, timeout=60),
    }
    for title, detector in detectors.items():
        detector.open()
        print(f"\nHostile texts, {title}, seconds\n{'':16}{'10 kB':>10}{'100 kB':>10}{'1 MB':>10}")
        for name, unit in HOSTILE.items():
            row = []
            for size in (10_000, 100_000, 1_000_000):
                text = (unit * (size // len(unit) + 1))[:size] + " 4111 x@y"
                start = time.perf_counter()
                detector._analyze(text)
                row.append(time.perf_counter() - start)
            print(f"{name:16}" + "".join(f"{seconds:10.3f}" for seconds in row))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"at most {memory} MB in use")


_FIRST_USE = """
import time
from lg_prod_nodes.detectors import Detector
start = time.perf_counter()
found = Detector({entities!r}).find("to ann@example.com")
seconds = time.perf_counter() - start
import sys
heavy = [name for name in ("spacy", "numpy", "transformers", "langchain") if name in sys.modules]
print(f"{{seconds:.2f}} s until the first {{len(found)}} finding, loaded with it: {{heavy or 'nothing heavy'}}")
"""


def start() -> None:
    print("\nFirst use, in a fresh process")
    for title, entities in {"default": DEFAULT_ENTITIES, "e-mail": ("EMAIL_ADDRESS",)}.items():
        program = _FIRST_USE.format(entities=entities)
        for _ in range(3):
            made = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
            print(f"{title:10}", made.stdout.decode().strip())


if __name__ == "__main__":
    for part in sys.argv[1:] or ["speed", "chat", "hostile", "start"]:
        {"speed": speed, "chat": chat, "hostile": hostile, "start": start}[part]()
