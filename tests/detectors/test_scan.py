# ruff: noqa: RUF001
from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
    predefined_recognizers,
)
from presidio_analyzer.predefined_recognizers import EmailRecognizer, IbanRecognizer

from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.recognizers import catalogue as recognizers
from lg_prod_nodes.detectors.scan.deadline import Deadline
from lg_prod_nodes.detectors.scan.raws import Raw, without_duplicates
from lg_prod_nodes.detectors.scan.scan import Scanner

Results = list[tuple[int, int, str, float]]


class OfflineEmailRecognizer(EmailRecognizer):
    def validate_result(self, pattern_text: str) -> bool:
        return not pattern_text.endswith(".invalid")


class Doubtful(PatternRecognizer):
    """Makes more of a finding beside others."""

    def enhance_using_context(
        self,
        text: str,
        raw_recognizer_results: list[RecognizerResult],
        other_raw_recognizer_results: list[RecognizerResult],
        nlp_artifacts: Any,
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        for result in raw_recognizer_results:
            if other_raw_recognizer_results:
                result.score = 0.9
                result.recognition_metadata[RecognizerResult.IS_SCORE_ENHANCED_BY_CONTEXT_KEY] = (
                    True
                )
        return raw_recognizer_results


class Lengths(EntityRecognizer):
    """Finds long words, in a way of its own."""

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[RecognizerResult]:
        return [
            RecognizerResult("LONG", at, at + len(word), 0.3)
            for word, at in zip(nlp_artifacts.tokens, nlp_artifacts.tokens_indices, strict=True)
            if len(word) > 12
        ]


class Upper(PatternRecognizer):
    """Searches on top of what its patterns find."""

    def analyze(self, text: str, entities: list[str], *_: Any, **__: Any) -> list[RecognizerResult]:
        return [r for r in super().analyze(text, entities) if text[r.start : r.end].isupper()]


def own(entity: str, *patterns: str, score: float = 0.5, **settings: Any) -> PatternRecognizer:
    return PatternRecognizer(
        entity, patterns=[Pattern(pattern, pattern, score) for pattern in patterns], **settings
    )


def presidio_recognizer(name: str) -> EntityRecognizer:
    if name == "EmailRecognizer":
        return OfflineEmailRecognizer()
    return getattr(predefined_recognizers, name)(supported_language="en")  # type: ignore[no-any-return]


PRESIDIO = [
    presidio_recognizer(name)
    for name in (
        "AbaRoutingRecognizer",
        "CreditCardRecognizer",
        "CryptoRecognizer",
        "DateRecognizer",
        "EmailRecognizer",
        "IbanRecognizer",
        "IpRecognizer",
        "MacAddressRecognizer",
        "MedicalLicenseRecognizer",
        "PhoneRecognizer",
        "NhsRecognizer",
        "UrlRecognizer",
        "UsBankRecognizer",
        "UsItinRecognizer",
        "UsLicenseRecognizer",
        "UsPassportRecognizer",
        "UsSsnRecognizer",
    )
]
OWN = [
    own("ORDER", r"\border-\d{4,}\b", r"(?<!\w)ord(?:er)?#?\d+(?!\w)", context=["order", "cc "]),
    own("CASED", r"[A-Z]{3}\d", global_regex_flags=re.DOTALL),
    own("TWICE", r"(\w)\1\1", score=0.3, context=["thrice"]),
    own("LINE", r"^\s*\S+$"),
    own("LETTER", "é[a-z]", r"\w{3}ß", score=1.0),
    own("FUZZY", "(?:example){e<=1}", r"\p{Lu}\p{Ll}+"),
    own("AGAIN", "a{2,}|b", "(?:ab)+"),
    PatternRecognizer("DENIED", deny_list=["a.b", "C++", "é"], context=["list"]),
    Doubtful("DOUBT", patterns=[Pattern("doubt", r"\bmaybe\b", 0.2)], context=["doubt"]),
    Lengths(["LONG"], context=["long"]),
    Upper("UPPER", patterns=[Pattern("upper", "[a-z]{4}", 0.5)]),
]
BUILT_IN = [recognizers.recognizer(entity) for entity in recognizers.ENTITIES]

PIECES = """ann@example.com|a@b.invalid|219-09-9999|my ssn is 219099999|4111 1111 1111 1111|card 4111-1111-1111-1112
|DE89370400440532013000|de89 3704 0044 0532 0130 00|DE89 3704 0044 0532 0130 00 2 days|10.1.2.3|2001:db8::beef
|::ffff:1.2.3.4|1::|::1|(212) 555-0142|+1 212 555 0142|call 2125550142|+44 20 7946 0958|+ 0049 30 1234567|030/1234567
|http://example.com/a?b=c|www.foo.org|"https://x.dev/a"|main.py|response.status|2024-01-02|01/02/2024|12-JAN-2024
|2012-01-02 08:00:11|00:1A:2B:3C:4D:5E|0012.3456.789A|bank account 123456789012|passport A12345678
|driver license D1234567|itin 912-70-1234|aba 123456780|AB1234563|1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2|nhs 401 023 2137
|order-12345|order #77|maybe|internationalisation|aaabbb|C++|{"card": "4111111111111111"}|12(3): 211-227 (2003)
|1234567890 ext 123|999999999|license|the|ſsn|K|İ|ı|ß|é|éa|١٢٣٤٥٦٧٨٩|１２３４５６７８９|日本|+|%|$|‐|–|_|x|sk-live_51H8
|\u200b|\u00a0|e\u0301|\x1c|\n|\t|,|.|: |-|/|(|)|"|'|@|123 45 6789|SWIFT|thrice|https://user:pw@host.io:80/x""".replace(
    "\n", ""
).split("|")

CORPUS = {
    "chat": "Hi, could you look at the build? It began on 2024-05-11 at 10:22. Mail ann@example.com, call "
    "212-555-0142 (my mobile), or see https://example.com/a(b)?c=d. Version 1.2.3.4 of main.py is fine; thanks! ",
    "json": json.dumps(
        {
            "arguments": {"customer_id": 48213377, "email": "jane@example.org", "price": 19.99},
            "created": "2024-05-11T10:22:31Z",
            "trace": "0f8fad5b-d9cb-469f-a165-70867728950e",
            "ssn": "219099999",
            "card": {"number": "4111111111111111", "cvc": 123},
        }
    ),
    "dense": "ann@example.com, +1 212 555 0142, (415) 555-0199, 4111 1111 1111 1111, DE89370400440532013000, "
    "219-09-9999, 10.1.2.3, 2001:db8::beef, https://x.dev/a?b=c, A12345678 ",
    "unicode": "Grüße von Zoë – ann@example.com ‚x‘ 日本語 ١٢٣ +٤٤ 20 7946 0958 é219-09-9999é １０.1.2.3 🎉 Ünï.com ",
}


def by_presidio(text: str, given: list[EntityRecognizer], **settings: Any) -> Results:
    engine = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=given),
        nlp_engine=WordEngine(),
        supported_languages=["en"],
    )
    found = engine.analyze(text, language="en", score_threshold=0.2, **settings)
    return sorted((r.start, r.end, r.entity_type, r.score) for r in found)


def by_scan(text: str, given: list[EntityRecognizer], **settings: Any) -> Results:
    scanner = Scanner(
        given,
        nlp_engine=WordEngine(),
        threshold=0.2,
        thresholds={},
        allow=settings.get("allow_list", ()),
        context=settings.get("context", ()),
    )
    return sorted(raw[:4] for raw in scanner.scan(text, Deadline(60)))


SCANNERS = {
    name: (
        AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=given),
            nlp_engine=WordEngine(),
            supported_languages=["en"],
        ),
        Scanner(given, nlp_engine=WordEngine(), threshold=0.2, thresholds={}),
    )
    for name, given in {"presidio": PRESIDIO, "own": OWN, "built in": BUILT_IN}.items()
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)


def assert_the_same(text: str, name: str) -> None:
    engine, scanner = SCANNERS[name]
    expected = engine.analyze(text, language="en", score_threshold=0.2)
    found = scanner.scan(text, Deadline(60))
    assert sorted(raw[:4] for raw in found) == sorted(
        (r.start, r.end, r.entity_type, r.score) for r in expected
    )


texts = st.lists(
    st.sampled_from(PIECES) | st.sampled_from(["", " ", " ", ", "]) | st.text(max_size=4),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", SCANNERS)
@given(text=texts)
@example(text="aba 123456780, 219-09-9999 driver license D1234567 İ, bank account 999999999 é")
@example(text="日本999999999 12-JAN-2024 + 0049 30 1234567 my ssn is 219099999")
def test_finds_what_presidio_finds(name: str, text: str) -> None:
    assert_the_same(text, name)


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("kind", CORPUS)
@pytest.mark.parametrize("times", [1, 4])
def test_finds_what_presidio_finds_in_common_texts(name: str, kind: str, times: int) -> None:
    assert_the_same(CORPUS[kind] * times, name)


@pytest.mark.parametrize("recognizer", PRESIDIO + OWN, ids=lambda r: str(r.supported_entities[0]))
def test_finds_what_presidio_finds_with_one_recognizer(recognizer: EntityRecognizer) -> None:
    text = "\n".join((" ".join(PIECES), "alone", *CORPUS.values()))

    found = by_scan(text, [recognizer])
    assert found == by_presidio(text, [recognizer])
    assert found


@pytest.mark.parametrize(
    "text", ["ssn 219099999", "219099999", "", "İ 219099999", "the, 219099999"]
)
def test_given_context_counts_as_in_presidio(text: str) -> None:
    given = [presidio_recognizer("UsSsnRecognizer"), OWN[0]]

    found = by_scan(f"{text} order-12345", given, context=["SSN", "cc number"])
    assert found == by_presidio(f"{text} order-12345", given, context=["SSN", "cc number"])


def test_what_is_allowed_is_left_out_as_in_presidio() -> None:
    text = "10.1.2.3 10.1.2.4 219-09-9999"

    found = by_scan(text, PRESIDIO, allow_list=["10.1.2.3", "219-09-9999"])
    assert found == by_presidio(text, PRESIDIO, allow_list=["10.1.2.3", "219-09-9999"])
    assert [entity for *_, entity, _ in found] == ["IP_ADDRESS"]


def test_the_words_before_are_counted_over_any_distance() -> None:
    for between in (
        " . " * 40,
        " the " * 40,
        " one two three four",
        " one two three four five six",
    ):
        assert_the_same(f"ssn{between} 219099999 the 219099998", "presidio")


def test_an_iban_may_be_written_loosely() -> None:
    given: list[EntityRecognizer] = [IbanRecognizer(exact_match=True)]

    for text in CORPUS["dense"], "DE89 3704 0044 0532 0130 00 2 days", "DE89370400440532013001":
        assert by_scan(text, given) == by_presidio(text, given)


class Failing(PatternRecognizer):
    def validate_result(self, pattern_text: str) -> bool:
        raise ValueError(f"cannot make sense of {pattern_text}")


def failure(recognizer: EntityRecognizer, text: str) -> DetectionFailed:
    scanner = Scanner([recognizer], nlp_engine=WordEngine(), threshold=0.2, thresholds={})
    with pytest.raises(DetectionFailed) as caught:
        scanner.scan(text, Deadline(0.1))
    return caught.value


def test_a_recognizer_that_fails_is_named_and_the_text_is_not() -> None:
    error = failure(Failing("X", "Careless", patterns=[Pattern("x", r"\d+", 0.5)]), "secret 1234")

    assert "Careless failed with ValueError" in str(error)
    assert "1234" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


BACKTRACKING = Pattern("x", r"(?<!x)(a|aa)+$", 0.5)


def test_a_recognizer_that_takes_too_long_is_named() -> None:
    error = failure(PatternRecognizer("X", "Slow", patterns=[BACKTRACKING]), "a" * 60 + "!")

    assert "Slow ran out of its time" in str(error)
    assert error.__context__ is None


def test_an_expression_that_presidio_would_skip_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presidio_analyzer.pattern_recognizer.REGEX_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr("lg_prod_nodes.detectors.scan.searches._LONGEST_PATTERN", 0.05)
    slow = Upper("X", "Slow", patterns=[BACKTRACKING])
    scanner = Scanner([slow], nlp_engine=WordEngine(), threshold=0.2, thresholds={})

    with pytest.raises(DetectionFailed, match="Slow ran out of its time"):
        scanner.scan("a" * 60 + "!", Deadline(60))


raws = st.lists(
    st.builds(
        lambda start, length, entity, score: Raw(start, start + length, entity, score),
        st.integers(0, 9),
        st.integers(1, 6),
        st.sampled_from("AB"),
        st.sampled_from([0, 0.4, 0.4, 1.0]),
    ),
    max_size=9,
)


@given(raws)
def test_duplicates_are_those_of_presidio(given_: list[Raw]) -> None:
    results = [RecognizerResult(r.entity, r.start, r.end, r.score) for r in given_]
    expected = EntityRecognizer.remove_duplicates(results)

    assert sorted(raw[:4] for raw in without_duplicates(given_)) == sorted(
        (r.start, r.end, r.entity_type, r.score) for r in expected
    )
