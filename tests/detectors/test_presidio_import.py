"""What is put off while Presidio is imported, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

START = """
import json, sys
from lg_prod_nodes.detectors import Detector
detector = Detector(["EMAIL_ADDRESS", "US_SSN", "URL", "DATE_TIME"])
found = [f.entity for f in detector.find("ann@example.com")]
heavy = ("spacy", "thinc", "numpy", "transformers", "langchain", "azure.identity", "azure.core", "cryptography")
loaded = [name for name in heavy if name in sys.modules]
"""


def run(program: str) -> Any:
    made = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", program],
        capture_output=True,
        check=False,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_finds_without_spacy() -> None:
    found, loaded, finders = run(
        START + "print(json.dumps([found, loaded, [type(f).__name__ for f in sys.meta_path]]))"
    )

    assert found == ["EMAIL_ADDRESS"]
    assert loaded == []
    assert "_Finder" not in finders


def test_what_is_put_off_is_there_when_it_is_used() -> None:
    name, is_there, is_missing = run(
        START
        + """
from presidio_analyzer.llm_utils import azure_auth_helper
from presidio_analyzer.predefined_recognizers.third_party import ahds_recognizer
made = azure_auth_helper.DefaultAzureCredential()
print(json.dumps([
    type(made).__module__.partition(".")[0],
    azure_auth_helper.AZURE_IDENTITY_AVAILABLE,
    ahds_recognizer.DeidentificationClient is None,
]))
"""
    )

    assert (name, is_there, is_missing) == ("azure", True, True)


def test_presidio_s_own_nlp_engines_still_work() -> None:
    words, is_doc, is_pipe, has_factory, names = run(
        START
        + """
from presidio_analyzer.nlp_engine import SpacyNlpEngine, huggingface_token_pipe, spacy_nlp_engine
from presidio_analyzer.predefined_recognizers import SpacyRecognizer
import spacy
assert type(spacy).__name__ == "module"
engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
assert not spacy_nlp_engine.spacy.util.is_package("no-such-model")
engine.nlp = {"en": spacy.blank("en")}
made = engine.process_text("hello there", "en")
print(json.dumps([
    [token.text for token in made.tokens],
    isinstance(made.tokens, spacy_nlp_engine.Doc),
    issubclass(huggingface_token_pipe.HuggingFaceTokenPipe, spacy.pipeline.Pipe),
    spacy.Language.has_factory(huggingface_token_pipe.FACTORY_NAME),
    [name for name, module in sys.modules.items() if type(module).__name__ == "_Later"],
]))
"""
    )

    assert words == ["hello", "there"]
    assert is_doc
    assert is_pipe
    assert has_factory
    assert names == []


@pytest.mark.parametrize(
    "first",
    [
        "import spacy",
        "import presidio_analyzer",
        "import thinc.api",
        "import spacy, presidio_analyzer",
    ],
)
def test_what_the_user_has_imported_is_used(first: str) -> None:
    same, found = run(
        first
        + START
        + """
from presidio_analyzer.nlp_engine import spacy_nlp_engine
import spacy.tokens
print(json.dumps([spacy_nlp_engine.spacy.tokens.Doc is spacy.tokens.Doc, found]))
"""
    )

    assert same
    assert found == ["EMAIL_ADDRESS"]


def test_recognizers_and_findings_can_be_pickled() -> None:
    assert run(
        START
        + """
import pickle
from presidio_analyzer import PatternRecognizer
own = PatternRecognizer("X", deny_list=["x"])
print(json.dumps([
    pickle.loads(pickle.dumps(own)).supported_entities,
    [f.entity for f in pickle.loads(pickle.dumps(detector.find("ann@example.com")))],
]))
"""
    ) == [["X"], ["EMAIL_ADDRESS"]]


OFFLINE = """
import socket
def refuse(*_, **__):
    raise AssertionError("the network is asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
"""
OWN = """
from presidio_analyzer.predefined_recognizers import EmailRecognizer
class Strict(EmailRecognizer):
    def validate_result(self, pattern_text):
        return super().validate_result(pattern_text)
"""
TEXT = "ann@example.com bob@example.co.uk cleo@example.nosuchend"


@pytest.mark.parametrize("first", ["", OWN])
@pytest.mark.parametrize("name", ["EmailRecognizer", "Strict"])
def test_presidio_s_e_mail_recognizer_asks_no_network(first: str, name: str) -> None:
    by_detector, by_engine, is_tldextract = run(
        OFFLINE
        + first
        + START
        + OWN
        + f"""
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from lg_prod_nodes.detectors.reading.words import WordEngine
import tldextract
made = {name}()
engine = AnalyzerEngine(
    registry=RecognizerRegistry(recognizers=[made]), nlp_engine=WordEngine(), supported_languages=["en"]
)
print(json.dumps([
    [{TEXT!r}[f.start : f.end] for f in Detector(recognizers=[made]).find({TEXT!r})],
    [{TEXT!r}[r.start : r.end] for r in engine.analyze({TEXT!r}, language="en")],
    tldextract.extract.__module__ == "tldextract.tldextract",
]))
"""
    )

    assert by_detector == by_engine == ["ann@example.com", "bob@example.co.uk"]
    assert is_tldextract


def test_presidio_can_still_load_its_own_recognizers() -> None:
    program = (
        "from lg_prod_nodes.detectors import Detector\n"
        "from lg_prod_nodes.detectors.recognizers.catalogue import ENTITIES\n"
        "Detector(ENTITIES).open()\n"
        "from presidio_analyzer import EntityRecognizer, RecognizerRegistry\n"
        "registry = RecognizerRegistry()\n"
        "registry.load_predefined_recognizers()\n"
        "print(*{type(each).__module__.partition('.')[0] for each in registry.recognizers})\n"
        "def named(cls): return [cls.__name__, *(n for c in cls.__subclasses__() for n in named(c))]\n"
        "names = named(EntityRecognizer)\n"
        "print(*{n for n in names if names.count(n) > 1 and n != 'LocalRecognizer'})"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert output.stdout.decode().splitlines() == ["presidio_analyzer", ""]
