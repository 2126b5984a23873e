"""Names and places by a language model: trained here, saved, and loaded from disk by the code that users run."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpEngine, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import UsSsnRecognizer
from presidio_analyzer.predefined_recognizers.ner import gliner_recognizer
from spacy.training import Example

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.recognizers.names import (
    NAME_ENTITIES,
    load_nlp_engine,
    name_recognizers,
)

FIRST = "Anna Boris Carla David Elena Farid Greta Hugo Ingrid James Karin Louis Maria Nadia"
LAST = "Smith Garcia Novak Rossi Larsen Dubois Haddad Tanaka Fischer Moreau Silva Petrov"
PEOPLE = [f"{first} {last}" for first in FIRST.split() for last in LAST.split()]
PLACES = (
    "Berlin Paris Madrid Oslo Vienna Lisbon Dublin Prague Warsaw Cairo Tokyo Lima Boston Zurich"
)
SENTENCES = [
    "<P> lives in <L>.",
    "My name is <P> and I come from <L>.",
    "Please call <P> about the order.",
    "The parcel for <P> went to <L> today.",
    "Yesterday <P> and <P> met in <L>.",
    "I spoke with <P> this morning.",
    "Could you ship it to <L> as soon as you can?",
    "Our office in <L> is closed on Monday.",
    "Thanks, <P>, that works.",
    "Did <P> pay the invoice?",
    "Is the weather in <L> good?",
    "Where is the invoice of <P>?",
    "We want to move from <L> to <L> next year.",
    "He asked <P> to fly to <L>.",
    "They sent <P> home from <L>.",
    "She works with <P> in the <L> office.",
    '{"customer": "<P>", "city": "<L>"}',
    '{"status": "open", "kind": "refund"}',
    "Send the report before noon.",
    "The order number is 12345.",
    "Reset my password, please.",
    "What is the status of the ticket?",
    "Could you open the door?",
    "Yesterday was a good day.",
    "We have not heard from them.",
    "Give the customer a refund of 20 dollars.",
]
OPENINGS = ["", "", "Last month ", "Today ", "On Friday ", "Then ", "As agreed, ", "Hello, "]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a spaCy model that knows people and places."""
    path = tmp_path_factory.mktemp("models") / "names"
    _trained(["PERSON", "GPE"]).to_disk(path)
    return path


def _trained(labels: list[str]) -> spacy.Language:
    rng = random.Random(7)
    spacy.util.fix_random_seed(7)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("ner")
    examples = [_example(pipeline, rng, labels) for _ in range(320)]
    optimizer = pipeline.initialize(lambda: examples)
    for _ in range(8):
        rng.shuffle(examples)
        for batch in spacy.util.minibatch(examples, 32):
            pipeline.update(batch, sgd=optimizer, drop=0.2)
    return pipeline


def _example(pipeline: spacy.Language, rng: random.Random, labels: list[str]) -> Example:
    text, spans = rng.choice(OPENINGS), []
    for part in rng.choice(SENTENCES).replace("<", "|<").replace(">", "|").split("|"):
        value = {"<P": rng.choice(PEOPLE), "<L": rng.choice(PLACES.split())}.get(part, part)
        if value != part:
            spans.append((len(text), len(text) + len(value), labels[part == "<L"]))
        text += value
    return Example.from_dict(pipeline.make_doc(text), {"entities": spans})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any use of the network fails the test."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def _analyzer(engine: NlpEngine, *own: Any, entities: tuple[str, ...] = ()) -> AnalyzerEngine:
    registry = RecognizerRegistry([*own, *name_recognizers(engine, entities)])
    return AnalyzerEngine(registry, nlp_engine=engine, supported_languages=["en"])


def _found(analyzer: AnalyzerEngine, text: str, threshold: float = 0.4) -> set[tuple[str, str]]:
    results = analyzer.analyze(text, language="en", score_threshold=threshold)
    return {(result.entity_type, text[result.start : result.end]) for result in results}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Last week Maria Novak drove to Lisbon.", {("PERSON", "Maria Novak"), ("LOCATION", "Lisbon")}),
        ("The refund of Hugo Petrov is on its way.", {("PERSON", "Hugo Petrov")}),
        ("Is there a branch in Zurich or in Oslo?", {("LOCATION", "Zurich"), ("LOCATION", "Oslo")}),
        ('{"city": "Lima", "seller": "Elena Rossi"}', {("PERSON", "Elena Rossi"), ("LOCATION", "Lima")}),
        ("There is nothing to see here.", set()),
    ],
)  # fmt: skip
def test_finds_names_and_places_in_sentences_that_the_model_has_not_seen(
    model: Path, text: str, names: set[tuple[str, str]]
) -> None:
    assert _found(_analyzer(load_nlp_engine(f"spacy:{model}")), text) == names


def test_finds_only_what_is_looked_for(model: Path) -> None:
    engine = load_nlp_engine(f"spacy:{model}")

    analyzer = _analyzer(engine, entities=("LOCATION", "US_SSN"))

    assert _found(analyzer, "Last week Maria Novak drove to Lisbon.") == {("LOCATION", "Lisbon")}


def test_names_count_up_to_their_score(model: Path) -> None:
    analyzer = _analyzer(load_nlp_engine(f"spacy:{model}"))
    text = "Last week Maria Novak drove home."

    assert _found(analyzer, text, 0.85) == {("PERSON", "Maria Novak")}
    assert _found(analyzer, text, 0.86) == set()


@pytest.mark.parametrize(
    "text",
    [
        "my ssn is 219099999",
        '{"ssn":"219099999","n":1}',
        "ssn=219099999",
        "219099999 is the number of it",
        "the social security number of Anna Smith: 219-09-9999",
        "My SSN (see below), which I renewed, is 219099999",
    ],
)
def test_patterns_find_the_same_as_without_a_model(model: Path, text: str) -> None:
    with_model = _analyzer(load_nlp_engine(f"spacy:{model}"), UsSsnRecognizer())
    without = _analyzer(WordEngine(), UsSsnRecognizer())

    def scores(analyzer: AnalyzerEngine) -> list[tuple[int, int, float]]:
        results = analyzer.analyze(text, language="en", entities=["US_SSN"])
        return [(result.start, result.end, result.score) for result in results]

    assert scores(with_model) == scores(without) != []


def test_texts_of_a_batch_have_their_names(model: Path) -> None:
    batch = ["", " ", "Last week Maria Novak drove home."]

    found = list(load_nlp_engine(f"spacy:{model}").process_batch(batch, "en"))

    assert [[name.text for name in made.entities] for _, made in found] == [[], [], ["Maria Novak"]]


def test_a_model_is_loaded_once(model: Path) -> None:
    assert load_nlp_engine(f"spacy:{model}") is load_nlp_engine(f"spacy: {model} ")


def test_a_model_may_lie_in_the_home_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.parent))

    engine = load_nlp_engine("spacy:~/names")

    assert engine.get_supported_languages() == ["en"]
    assert engine.get_supported_entities() == ["LOCATION", "PERSON"]


def test_rules_of_a_pipeline_name_places_too(tmp_path: Path) -> None:
    pipeline = spacy.blank("en")
    ruler: Any = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "FAC", "pattern": "Golden Gate Bridge"},
            {"label": "NORP", "pattern": "Norwegian"},
            {"label": "PRODUCT", "pattern": "Toaster"},
        ]
    )
    pipeline.to_disk(tmp_path / "rules")

    analyzer = _analyzer(load_nlp_engine(f"spacy:{tmp_path / 'rules'}"))

    text = "A Norwegian Toaster on the Golden Gate Bridge"
    assert _found(analyzer, text) == {("NRP", "Norwegian"), ("LOCATION", "Golden Gate Bridge")}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["en_core_web_sm", "/no/such/folder"])
def test_a_spacy_model_that_is_missing_is_an_error_at_once(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"python -m spacy download {name}"):
        load_nlp_engine(f"spacy:{name}")


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is there but cannot be loaded") as raised:
        load_nlp_engine(f"spacy:{tmp_path}")

    assert isinstance(raised.value.__cause__, OSError)


def test_a_model_that_finds_no_names_is_an_error(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path)

    with pytest.raises(ConfigurationError, match="finds none of PERSON, LOCATION"):
        load_nlp_engine(f"spacy:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("en_core_web_sm", "one of spacy, transformers, gliner, such as 'spacy:en_core_web_sm'"),
        ("stanza:en", "'stanza:en' names no model"),
        ("spacy:", "'spacy:' names no model"),
        ("gliner: ", "'gliner: ' names no model"),
        (None, "nlp_engine is NoneType"),
    ],
)
def test_a_spec_that_names_no_model_is_an_error(spec: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load_nlp_engine(spec)


def test_a_model_for_another_language_is_an_error(model: Path) -> None:
    with pytest.raises(ConfigurationError, match="is for 'en', not for 'de'"):
        load_nlp_engine(f"spacy:{model}", language="de")


def test_a_model_for_many_languages_serves_each(tmp_path: Path) -> None:
    pipeline = spacy.blank("xx")
    ruler: Any = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PER", "pattern": "Zoë"}])
    pipeline.to_disk(tmp_path)

    engine = load_nlp_engine(f"spacy:{tmp_path}", language="nl")

    assert [name.text for name in engine.process_text("Hoi Zoë", "nl").entities] == ["Zoë"]
    assert engine.get_supported_languages() == ["nl"]


def test_an_engine_that_is_loaded_is_taken_as_it_is(model: Path) -> None:
    engine = SpacyNlpEngine([{"lang_code": "en", "model_name": str(model)}])
    engine.load()

    assert load_nlp_engine(engine) is engine
    assert ("LOCATION", "Lisbon") in _found(_analyzer(engine), "Last week we drove to Lisbon.")
    with pytest.raises(ConfigurationError, match="SpacyNlpEngine is for en, not for 'de'"):
        load_nlp_engine(engine, language="de")


@pytest.mark.usefixtures("offline")
def test_an_engine_that_would_load_later_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"call its load\(\)"):
        load_nlp_engine(SpacyNlpEngine())


def test_names_that_an_engine_does_not_find_are_an_error(model: Path) -> None:
    engine = load_nlp_engine(f"spacy:{model}")

    with pytest.raises(ConfigurationError, match="does not find NRP; it finds PERSON, LOCATION"):
        name_recognizers(engine, ["PERSON", "NRP"])
    with pytest.raises(ConfigurationError, match="it finds no names"):
        name_recognizers(WordEngine(), ["PERSON"])


def test_without_names_to_find_there_is_no_recognizer(model: Path) -> None:
    assert name_recognizers(load_nlp_engine(f"spacy:{model}"), ["US_SSN"]) == []
    assert name_recognizers(WordEngine()) == []


# The libraries below bring torch along, so that stand-ins take their place here: the loading, the names of the
# models, the mapping and Presidio's recognizer are real.


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Hugging Face cache that holds `acme/names` and nothing else."""

    def snapshot_download(name: str, *, local_files_only: bool = False) -> str:
        assert local_files_only
        if name != "acme/names":
            raise FileNotFoundError(name)
        return str(tmp_path)

    module: Any = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return tmp_path


def _word(text: str, word: str) -> dict[str, Any]:
    start = text.index(word)
    return {"start": start, "end": start + len(word), "score": 0.97}


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch, hub: Path) -> Callable[[dict[str, str]], None]:
    """A stand-in for the library, with a model that labels the words that it is told of."""

    def install(labels: dict[str, str]) -> None:
        def from_pretrained(folder: Path, **options: Any) -> Any:
            assert options == {"local_files_only": True, "trust_remote_code": False}
            if not (folder / "config.json").exists():
                raise OSError("no config.json")
            tags = dict(enumerate(["O", *(f"I-{label}" for label in labels.values())]))
            return SimpleNamespace(config=SimpleNamespace(id2label=tags))

        def pipeline(task: str, *, model: Any, tokenizer: Any, **options: Any) -> Any:
            assert (task, options) == (
                "token-classification",
                {"aggregation_strategy": "max", "stride": 14},
            )

            def tag(text: str) -> list[dict[str, Any]]:
                if "crash" in text:
                    raise RuntimeError("the model fails")
                return [
                    {"entity_group": label, **_word(text, word)}
                    for word, label in labels.items()
                    if word in text
                ]

            return type("Tag", (), {"model": model, "__call__": staticmethod(tag)})()

        module: Any = ModuleType("transformers")
        module.AutoModelForTokenClassification = SimpleNamespace(from_pretrained=from_pretrained)
        module.AutoTokenizer = SimpleNamespace(from_pretrained=from_pretrained)
        module.pipeline = pipeline
        monkeypatch.setitem(sys.modules, "transformers", module)

    return install


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What one test loads by a stand-in is not there for the next."""
    from lg_prod_nodes.detectors.recognizers import names

    yield
    names._loaded.cache_clear()


@pytest.mark.usefixtures("offline")
def test_a_transformer_finds_names_with_its_own_scores(
    transformers: Callable[[dict[str, str]], None], hub: Path
) -> None:
    transformers({"Ana": "PER", "Oslo": "LOC", "Acme": "ORG", "ISO 9": "MISC"})
    (hub / "config.json").touch()
    engine = load_nlp_engine("transformers:acme/names")
    analyzer = _analyzer(engine, UsSsnRecognizer())

    text = 'Ana of Acme, Oslo, ISO 9: {"ssn":"219099999"}'

    names = {("PERSON", "Ana"), ("LOCATION", "Oslo"), ("ORGANIZATION", "Acme")}
    assert _found(analyzer, text) == {*names, ("US_SSN", "219099999")}
    assert _found(analyzer, text, 0.96) == names
    assert _found(analyzer, text, 0.98) == set()


def test_a_transformer_that_fails_lets_no_text_pass(
    transformers: Callable[[dict[str, str]], None], hub: Path
) -> None:
    transformers({"Ana": "PER"})
    (hub / "config.json").touch()
    analyzer = _analyzer(load_nlp_engine(f"transformers:{hub}"))

    with pytest.raises(RuntimeError, match="the model fails"):
        analyzer.analyze("Ana says crash", language="en")


@pytest.mark.usefixtures("offline")
def test_a_transformer_that_is_not_whole_or_knows_no_names_is_an_error(
    transformers: Callable[[dict[str, str]], None], hub: Path
) -> None:
    transformers({"Ana": "MISC"})

    with pytest.raises(ConfigurationError, match=r"cannot be loaded \(OSError\)"):
        load_nlp_engine("transformers:acme/names")
    (hub / "config.json").touch()
    with pytest.raises(ConfigurationError, match="finds none of PERSON"):
        load_nlp_engine("transformers:acme/names")


@pytest.fixture
def gliner(monkeypatch: pytest.MonkeyPatch, hub: Path) -> list[list[str]]:
    """A stand-in for the library; the labels that its model is asked for."""
    asked: list[list[str]] = []

    class GLiNER:
        @classmethod
        def from_pretrained(cls, folder: str, **options: Any) -> GLiNER:
            assert options.pop("local_files_only")
            if not (Path(folder) / "gliner_config.json").exists():
                raise FileNotFoundError("gliner_config.json")
            return cls()

        def predict_entities(self, text: str, labels: list[str], **options: Any) -> Any:
            asked.append(labels)
            known = {"Ana": "person", "Oslo": "location", "219": "US_SSN"}
            return [
                {"label": label, **_word(text, word)}
                for word, label in known.items()
                if label in labels and word in text
            ]

    monkeypatch.setitem(sys.modules, "gliner", ModuleType("gliner"))
    monkeypatch.setattr(gliner_recognizer, "GLiNER", GLiNER)
    return asked


@pytest.mark.usefixtures("offline")
def test_gliner_is_asked_for_names_alone(gliner: list[list[str]], hub: Path) -> None:
    (hub / "gliner_config.json").touch()
    engine = load_nlp_engine("gliner:acme/names")
    analyzer = _analyzer(engine, UsSsnRecognizer())

    names = {("PERSON", "Ana"), ("LOCATION", "Oslo")}

    assert _found(analyzer, "Ana has 219 friends in Oslo") == names
    assert _found(analyzer, "Ana has 219 friends in Oslo", 0.98) == set()
    assert _found(analyzer, " ") == set()
    assert "US_SSN" not in gliner[0]
    assert len(gliner) == 2
    assert set(NAME_ENTITIES) == set(engine.get_supported_entities())


@pytest.mark.usefixtures("offline", "gliner")
def test_a_gliner_model_that_is_not_whole_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be loaded \(FileNotFoundError\)"):
        load_nlp_engine("gliner:acme/names")


@pytest.mark.usefixtures("offline", "gliner")
@pytest.mark.parametrize("kind", ["transformers", "gliner"])
def test_a_model_that_is_not_in_the_cache_is_an_error_at_once(
    transformers: Callable[[dict[str, str]], None], kind: str
) -> None:
    transformers({})

    with pytest.raises(ConfigurationError, match="run `hf download acme/other`"):
        load_nlp_engine(f"{kind}:acme/other")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ["transformers", "gliner"])
def test_an_extra_that_is_missing_is_an_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)

    with pytest.raises(ConfigurationError, match=rf"pip install 'lg-prod-nodes\[{kind}\]'"):
        load_nlp_engine(f"{kind}:acme/names")
