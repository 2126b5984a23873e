# ruff: noqa: RUF001
from __future__ import annotations

import logging
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import tldextract
from hypothesis import given
from hypothesis import strategies as st
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer
from presidio_analyzer.nlp_engine import NlpArtifacts

from lg_prod_nodes import ConfigurationError, Redact
from lg_prod_nodes.core.errors import DetectionFailed
from lg_prod_nodes.detectors import (
    DEFAULT_ENTITIES,
    Detector,
    Finding,
    detector_of,
    term_recognizers,
)
from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.recognizers.catalogue import ENTITIES

DEFAULT = Detector(DEFAULT_ENTITIES)
EMAIL = "ann@example.com"


def found(text: str, detector: Detector = DEFAULT) -> list[tuple[str, str]]:
    return [(text[f.start : f.end], f.entity) for f in detector.find(text)]


def own(entity: str, pattern: str, score: float) -> Any:
    return PatternRecognizer(entity, patterns=[Pattern(entity, pattern, score)])


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        (EMAIL, "EMAIL_ADDRESS"),
        ("ann.o'hara+tag@mail.example.co.uk", "EMAIL_ADDRESS"),
        ("4111 1111 1111 1111", "CREDIT_CARD"),
        ("4111-1111-1111-1111", "CREDIT_CARD"),
        ("378282246310005", "CREDIT_CARD"),
        ("DE89370400440532013000", "IBAN_CODE"),
        ("10.1.2.3", "IP_ADDRESS"),
        ("2001:db8::beef", "IP_ADDRESS"),
        ("+1 212 555 0142", "PHONE_NUMBER"),
        ("(212) 555-0142", "PHONE_NUMBER"),
        ("219-09-9999", "US_SSN"),
    ],
)
def test_finds_by_default(text: str, entity: str) -> None:
    assert found(f"to {text}, so") == [(text, entity)]


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1112", "ann@nowhere", "DE89370400440532013001", "300.1.2.3", "1, 2, 3"]
)
def test_does_not_find(text: str) -> None:
    assert found(text) == []


def test_finds_each_in_its_place() -> None:
    text = f"{EMAIL} pays from 10.1.2.3 by 4111 1111 1111 1111, {EMAIL}"

    entities = ["EMAIL_ADDRESS", "IP_ADDRESS", "CREDIT_CARD", "EMAIL_ADDRESS"]
    assert [entity for _, entity in found(text)] == entities


def test_a_word_beside_it_makes_surer() -> None:
    assert found("219099999") == []
    assert found("my ssn is 219099999") == [("219099999", "US_SSN")]


def test_full_width_is_found_in_its_place() -> None:
    wide = EMAIL.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})

    assert found(f"to {wide}!") == [(wide, "EMAIL_ADDRESS")]


def test_of_overlapping_findings_the_surer_is_kept() -> None:
    detector = Detector(recognizers=[own("LOW", "abc d", 0.5), own("HIGH", "c d", 0.9)])

    assert ("c d", "HIGH") in found("abc d", detector)


def test_what_overlaps_is_covered_by_one_or_the_other() -> None:
    detector = Detector(recognizers=[own("LOW", "abc d", 0.5), own("HIGH", "c d", 0.9)])

    assert "".join(text for text, _ in found("abc d", detector)) == "abc d"


def test_of_equally_sure_findings_the_longer_is_kept() -> None:
    detector = Detector(recognizers=[own("SHORT", "ab", 0.5), own("LONG", "abc", 0.5)])

    assert found("abc", detector) == [("abc", "LONG")]


def test_what_is_less_sure_than_the_threshold_does_not_count() -> None:
    assert found("x +1 212 555 0142", Detector(["PHONE_NUMBER"], threshold=0.9)) == []


def test_a_recognizer_of_one_s_own_takes_the_place_of_the_built_in() -> None:
    detector = Detector(["US_SSN"], recognizers=[own("US_SSN", "never", 0.9)])

    assert found("ssn 219-09-9999 never", detector) == [("never", "US_SSN")]


def test_a_threshold_of_its_own_counts_for_an_entity() -> None:
    recognizers = [own("ONE", "one", 0.3), own("TWO", "two", 0.6)]
    detector = Detector(recognizers=recognizers, thresholds={"ONE": 0.2, "TWO": 0.7})

    assert found("one two", detector) == [("one", "ONE")]


@pytest.mark.parametrize(
    ("allow", "text"),
    [
        ("support@example.com", "SUPPORT@Example.com"),
        ("Support@Example.com", "support@example.com"),
        ("+1 (212) 555-0142", "+1 212 555 0142"),
        ("ｓｕｐｐｏｒｔ@example.com", "support@example.com"),
        ("jörg@müller.de", "jo\u0308rg@mu\u0308ller.de"),
    ],
)
def test_what_is_allowed_is_allowed_however_it_is_written(allow: str, text: str) -> None:
    detector = Detector(DEFAULT_ENTITIES, allow=[allow])

    assert found(f"to {text}, or to {EMAIL} and 101.23.4.5", detector) == [
        (EMAIL, "EMAIL_ADDRESS"),
        ("101.23.4.5", "IP_ADDRESS"),
    ]


def test_numbers_that_are_alike_are_not_allowed_together() -> None:
    assert found("10.12.34.5", Detector(["IP_ADDRESS"], allow=["101.23.4.5"])) != []


def test_what_is_allowed_is_no_finding() -> None:
    detector = Detector(["IP_ADDRESS"], allow=["10.9.9.9", "10.1.2%2e3"])

    assert found("10.9.9.9 10.1.2.4 10.1.2%2e3 10.1.2.3", detector) == [("10.1.2.4", "IP_ADDRESS")]


class Remote(EntityRecognizer):
    """A recognizer whose service is down."""

    def load(self) -> None: ...

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> Any:
        raise ConnectionError(text)


def test_a_recognizer_that_is_down_takes_no_other_with_it() -> None:
    remote = Remote(supported_entities=["X"], name="Remote")
    detector = Detector(["EMAIL_ADDRESS", "CREDIT_CARD"], recognizers=[remote])

    with pytest.raises(DetectionFailed, match="Remote failed with ConnectionError") as caught:
        detector.find(f"{EMAIL} 4111 1111 1111 1111")

    assert [f.entity for f in caught.value.findings] == ["EMAIL_ADDRESS", "CREDIT_CARD"]
    assert caught.value.__context__ is None
    assert "4111" not in str(caught.value)


def test_admits_a_text_without_what_the_working_recognizers_found() -> None:
    remote = Remote(supported_entities=["X"], name="Remote")
    policy = Redact("EMAIL_ADDRESS", recognizers=[remote], detector_down="admit")

    assert policy.replacer()(f"to {EMAIL}, so") == "to [EMAIL_ADDRESS], so"


def test_given_context_makes_surer() -> None:
    recognizer = PatternRecognizer("NINE", patterns=[Pattern("n", r"\d{9}", 0.1)], context=["form"])

    assert found("219099999", Detector(recognizers=[recognizer])) == []
    assert found("219099999", Detector(recognizers=[recognizer], context=["Form 27"])) == [
        ("219099999", "NINE")
    ]


class NameEngine(WordEngine):
    def process_text(self, text: str, language: str) -> NlpArtifacts:
        made = super().process_text(text, language)
        at = text.find("Ann")
        if at >= 0:
            made.entities = [SimpleNamespace(label_="PERSON", start_char=at, end_char=at + 3)]
            made.scores = [0.8]
        return made

    def get_supported_entities(self) -> list[str]:
        return ["PERSON"]


def test_names_are_found_with_an_engine_that_knows_them() -> None:
    detector = Detector(["PERSON", "IP_ADDRESS"], nlp_engine=NameEngine())

    assert found("Ann, 10.1.2.3", detector) == [("Ann", "PERSON"), ("10.1.2.3", "IP_ADDRESS")]


def test_a_recognizer_that_runs_out_of_time_fails_the_text() -> None:
    slow = own("SLOW", r"(?<!x)(a|aa)+$", 0.5)

    with pytest.raises(DetectionFailed, match="ran out of its time") as caught:
        Detector(recognizers=[slow], timeout=0.1).find("a" * 60 + "!")
    assert "aaa" not in str(caught.value)


def test_what_failed_is_tried_again() -> None:
    class Once(PatternRecognizer):
        fails = True

        def validate_result(self, pattern_text: str) -> bool:
            if self.fails:
                self.fails = False
                raise ValueError(pattern_text)
            return True

    detector = Detector(recognizers=[Once("X", patterns=[Pattern("x", "xx", 0.5)])])
    with pytest.raises(DetectionFailed, match="Once failed with ValueError"):
        detector.find("xx")
    assert found("xx", detector) == [("xx", "X")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 2}, "threshold is 2; give a score from 0 to 1"),
        ({"thresholds": {"URL": -1}}, "threshold is -1"),
        ({"timeout": 0}, "timeout is 0; give seconds"),
        ({"allow": "x"}, "a text was given where a list"),
        ({"context": "x"}, "a text was given where a list"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Detector(["URL"], **settings)


def test_an_entity_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no recognizer for PERSON; known are .*US_SSN"):
        Detector(["PERSON"])


@pytest.mark.parametrize("text", ["", " ", "x", "\n\t", "\ud800", "\U0010ffff" * 3, "\x00\x00"])
def test_odd_texts_hold_nothing(text: str) -> None:
    assert DEFAULT.find(text) == ()


def test_half_of_a_character_hides_nothing() -> None:
    assert found(f"\ud800 {EMAIL}") == [(EMAIL, "EMAIL_ADDRESS")]


@given(st.lists(st.sampled_from([EMAIL, "10.1.2.3", "ssn 219-09-9999", " ", "/"]) | st.text()))
def test_findings_lie_apart_in_order_inside_of_the_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    findings = DEFAULT.find(text)

    edges = [edge for finding in findings for edge in (finding.start, finding.end)]
    assert edges == sorted(edges)
    assert all(0 <= f.start < f.end <= len(text) for f in findings)
    assert all(0.4 <= f.score <= 1 for f in findings)


def test_a_text_that_comes_again_is_not_scanned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(["EMAIL_ADDRESS"])
    scanned: list[str] = []

    def analyze(text: str) -> tuple[Finding, ...]:
        scanned.append(text)
        return (Finding(0, 1, "X", 1.0),)

    monkeypatch.setattr(detector, "_analyze", analyze)
    monkeypatch.setattr(
        "lg_prod_nodes.detectors.detector._REMEMBERED", 4
    )  # two texts, with a finding each
    for text in ("1@a", "1@a", "2@a", "3@a", "1@a"):
        detector.find(text)

    assert scanned == ["1@a", "2@a", "3@a", "1@a"]


def test_knows_what_it_can_answer_at_once() -> None:
    detector = Detector(["EMAIL_ADDRESS"])
    long = f"{EMAIL} " * 1000

    assert detector.is_known("short")
    assert not detector.is_known(long)
    detector.find(long)
    assert detector.is_known(long)


def test_what_is_remembered_is_not_the_text() -> None:
    detector = Detector(["EMAIL_ADDRESS"])
    detector.find(f"I am {EMAIL}")

    assert "example" not in repr(vars(detector))


def test_many_threads_share_a_detector() -> None:
    detector = Detector(["EMAIL_ADDRESS"])
    texts = [f"{number}@example.com" for number in range(50)] * 4

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda text: found(text, detector), texts))

    assert results == [[(text, "EMAIL_ADDRESS")] for text in texts]


def test_policies_of_equal_entities_share_a_detector() -> None:
    assert detector_of(("US_SSN",), 0.4) is detector_of(("US_SSN",), 0.4)


def test_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(tldextract, "extract", refuse)  # it fetches a list, once a machine

    assert found(f"to {EMAIL}", Detector(ENTITIES, threshold=0.5)) != []


@pytest.mark.parametrize("name", ["presidio-analyzer", "decision_process"])
def test_logs_nothing_of_a_text(caplog: pytest.LogCaptureFixture, name: str) -> None:
    DEFAULT.open()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger=name)

    Detector(DEFAULT_ENTITIES).find(f"my ssn is 219099999, {EMAIL}, DE89370400440532013001")

    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).error("of the text: 219099999")
    assert not [word for word in ("219099999", "ann", "DE89") if word in caplog.text]


def test_nothing_is_logged_while_presidio_is_loaded_and_searches() -> None:
    program = (
        "import logging; logging.basicConfig(level='DEBUG'); from lg_prod_nodes import Redact; "
        "print(Redact().detector.find('219099999, ann@example.com, DE89370400440532013001'))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "EMAIL_ADDRESS" in ran.stdout
    assert "presidio" not in ran.stderr
    assert not [word for word in ("219099999", "ann@", "DE89") if word in ran.stderr]


def test_presidio_is_loaded_when_it_is_first_needed() -> None:
    program = (
        "import sys, lg_prod_nodes as it; it.Redact(); it.ContentFilter(['x']); "
        "print('presidio_analyzer' in sys.modules, 'spacy' in sys.modules)"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert output.stdout.split() == [b"False", b"False"]


def test_terms_are_found_by_category() -> None:
    detector = Detector(recognizers=term_recognizers({"DRUGS": ["meth"], "ARMS": ["pipe bomb"]}))

    assert found("Meth or a PIPE BOMB, no method", detector) == [
        ("Meth", "DRUGS"),
        ("PIPE BOMB", "ARMS"),
    ]


@pytest.mark.parametrize("text", ["ＭＥＴＨ", "m\u200beth", "mеth", "m%65th", "m&#101;th"])
def test_terms_are_found_however_they_are_spelled(text: str) -> None:
    detector = Detector(recognizers=term_recognizers({"DRUGS": ["meth"]}))

    assert found(f"some {text}!", detector) == [(text, "DRUGS")]


@pytest.mark.parametrize("term", ["Ｐｉｐｅ bomb", "pipe\u200b  bomb", "C++", "наркотик", "100%25"])
def test_terms_of_any_spelling_are_found(term: str) -> None:
    detector = Detector(recognizers=term_recognizers({"X": [term]}))

    assert found(f"a {term}, b", detector) == [(term, "X")]


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("炸弹", "请告诉我如何制作炸弹呢"),
        ("爆弾", "爆弾の作り方"),
        ("ระเบิด", "วิธีทำระเบิดแบบง่าย"),
        ("폭탄", "폭탄을 만드는 법"),
        ("pipe bomb", "请做pipe bomb吧"),
        ("pipe bomb", "pipe bomb을 만드는"),
        ("قنبلة", "كيف أصنع القنبلة"),
        ("قنبلة", "وبالقنبلة هذه"),
        ("פצצה", "איך בונים את הפצצה"),
        ("café", "the cafe\u0301, please"),
        ("cafe\u0301", "the café, please"),
        ("Straße", "die STRASSE dort"),
        ("コカイン", "コカインを"),
    ],
)
def test_terms_are_found_beside_any_letters(term: str, text: str) -> None:
    detector = Detector(recognizers=term_recognizers({"X": [term]}))

    assert [entity for _, entity in found(text, detector)] == ["X"]


@pytest.mark.parametrize(
    ("term", "text"), [("meth", "method 方meths"), ("bomb", "abomb bombé bomb1"), ("ano", "año")]
)
def test_terms_are_not_found_inside_of_words(term: str, text: str) -> None:
    assert found(text, Detector(recognizers=term_recognizers({"X": [term]}))) == []


def test_entities_have_the_names_of_langchain_too() -> None:
    names = ["email", "credit_card", "ip", "mac_address", "url"]
    text = f"{EMAIL} 4111 1111 1111 1111 10.1.2.3 00:1A:2B:3C:4D:5E https://example.com"

    assert [entity for _, entity in found(text, Detector(names))] == [
        "EMAIL_ADDRESS",
        "CREDIT_CARD",
        "IP_ADDRESS",
        "MAC_ADDRESS",
        "URL",
    ]
    policy = Redact("email", "ip", strategies={"ip": "mask"}, thresholds={"email": 0.5})
    assert policy.replacer()(f"{EMAIL} at 10.1.2.3") == "[EMAIL_ADDRESS] at ****.2.3"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EMAIL", "Did you mean EMAIL_ADDRESS?"),
        ("credit_cards", "Did you mean CREDIT_CARD?"),
        ("PHONE", "Did you mean PHONE_NUMBER?"),
        ("person", "Did you mean PERSON?"),
        ("PERSON", "PERSON needs nlp_engine='spacy:...'"),
        ("SSN", "Did you mean US_SSN?"),
        ("ZZZZ", "known are ABA_ROUTING_NUMBER, "),
    ],
)
def test_an_unknown_entity_is_refused_with_the_name_that_was_meant(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no recognizer for {name}") as refused:
        Detector([name])

    assert hint in str(refused.value)
    assert "  " not in str(refused.value)
