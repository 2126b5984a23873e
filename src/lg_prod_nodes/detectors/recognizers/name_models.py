"""The models behind `load_nlp_engine`. Each is located on disk first, so that no library downloads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, cast

from presidio_analyzer.nlp_engine import (
    NerModelConfiguration,
    NlpArtifacts,
    NlpEngine,
    SpacyNlpEngine,
)

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.detectors.reading.words import WordEngine

# Presidio's mapping, plus the labels from its own configuration files.
_ENTITIES: Mapping[str, str] = {
    **(NerModelConfiguration().model_to_presidio_entity_mapping or {}),
    "FAC": "LOCATION",
    "FACILITY": "LOCATION",
    "ORGANIZATION": "ORGANIZATION",
    "VENDOR": "ORGANIZATION",
}

# GLiNER takes its labels in plain words.
_GLINER_LABELS: Mapping[str, str] = {
    "person": "PERSON",
    "name": "PERSON",
    "location": "LOCATION",
    "organization": "ORGANIZATION",
    "nationality": "NRP",
    "religion": "NRP",
    "political group": "NRP",
}

_TAG_PREFIX = re.compile(r"^[BIELSU]-")


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a text: the attributes of a spaCy span that Presidio reads, and a score."""

    text: str
    label_: str
    start_char: int
    end_char: int
    score: float


class NameEngine(WordEngine):
    """The words of a text, split as without a model, plus the names that a model finds.

    The model's own tokens are ignored. spaCy treats `"ssn":"219099999"` as one word, and other pipelines provide no
    lemmas, so context words would find less with a model than without.
    """

    def __init__(
        self, find: Callable[[str], Iterable[Name]], entities: Iterable[str], *, language: str
    ) -> None:
        self._find = find
        self._entities = sorted(set(entities))
        self._language = language

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The words and names of a text."""
        made = super().process_text(text, language)
        names = list(self._find(text)) if text.strip() else []
        made.entities = cast(Any, names)
        made.scores = [name.score for name in names]
        return made

    def get_supported_entities(self) -> list[str]:
        """The entities that the model can find."""
        return self._entities

    def get_supported_languages(self) -> list[str]:
        """The model's only language."""
        return [self._language]


def spacy_engine(name: str, language: str) -> NlpEngine:
    """An engine that finds names with a spaCy pipeline, given as an installed package or a folder.

    Raises:
        ConfigurationError: The pipeline is missing, cannot be loaded, or is for another language.
    """
    from spacy.util import is_package

    path = Path(name).expanduser()
    if not (is_package(name) or path.exists()):
        raise ConfigurationError(
            f"no spaCy model {name!r}, neither an installed package nor a path; "
            f"run `python -m spacy download {name}`, or give the path of a model"
        )
    place = name if is_package(name) else str(path)
    engine = SpacyNlpEngine([{"lang_code": language, "model_name": place}])
    with _loading("spacy", name):
        engine.load()
    pipeline = engine.get_nlp(language)
    if pipeline.lang not in (language, "xx"):  # xx: a model for many languages
        raise ConfigurationError(
            f"the spaCy model {name!r} is for {pipeline.lang!r}, not for {language!r}"
        )
    labels = _span_labels(pipeline)
    engine.ner_model_configuration = NerModelConfiguration(
        model_to_presidio_entity_mapping=_entities_of(labels),
        labels_to_ignore=sorted(labels - _ENTITIES.keys()),
    )

    def find(text: str) -> Iterator[Name]:
        made = engine.process_text(text, language)
        for span, score in zip(made.entities, made.scores, strict=True):
            yield Name(span.text, span.label_, span.start_char, span.end_char, score)

    return NameEngine(find, _entities_of(labels).values(), language=language)


def transformers_engine(name: str, language: str) -> NlpEngine:
    """An engine that finds names with a token classification model of the transformers library.

    If such a model fails, Presidio's own engine logs the error and treats the text as one without names. This engine
    raises the error to the caller.

    Raises:
        ConfigurationError: The extra or the model is missing, or the model cannot be loaded.
    """
    transformers = _package("transformers", extra="transformers")
    folder = _folder("transformers", name)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    settings = NerModelConfiguration()
    with _loading("transformers", name):
        tag = transformers.pipeline(
            "token-classification",
            model=transformers.AutoModelForTokenClassification.from_pretrained(folder, **local),
            tokenizer=transformers.AutoTokenizer.from_pretrained(folder, **local),
            aggregation_strategy=settings.aggregation_strategy,
            stride=settings.stride,
        )
    labels = {_TAG_PREFIX.sub("", label) for label in tag.model.config.id2label.values()}
    entities = _entities_of(labels)
    one_at_a_time = Lock()  # threads that share a tokenizer get "Already borrowed"

    def find(text: str) -> Iterator[Name]:
        with one_at_a_time:
            found = tag(text)
        for each in found:
            if entity := entities.get(each["entity_group"]):
                start, end = each["start"], each["end"]
                yield Name(text[start:end], entity, start, end, float(each["score"]))

    return NameEngine(find, entities.values(), language=language)


def gliner_engine(name: str, language: str) -> NlpEngine:
    """An engine that finds names with GLiNER, through Presidio's recognizer.

    That recognizer would look for every entity of the analyzer, including cards and addresses. Here it looks for names
    only.

    Raises:
        ConfigurationError: The extra or the model is missing, or the model cannot be loaded.
    """
    from presidio_analyzer.predefined_recognizers import GLiNERRecognizer

    _package("gliner", extra="gliner")
    folder = _folder("gliner", name)
    with _loading("gliner", name):
        recognizer = GLiNERRecognizer(
            entity_mapping=dict(_GLINER_LABELS),
            model_name=str(folder),
            supported_language=language,
            local_files_only=True,
        )
    one_at_a_time = Lock()

    def find(text: str) -> Iterator[Name]:
        with one_at_a_time:
            found = recognizer.analyze(text, recognizer.supported_entities)
        for each in found:
            span = text[each.start : each.end]
            yield Name(span, each.entity_type, each.start, each.end, float(each.score))

    return NameEngine(find, _GLINER_LABELS.values(), language=language)


LOADERS: Mapping[str, Callable[[str, str], NlpEngine]] = {
    "spacy": spacy_engine,
    "transformers": transformers_engine,
    "gliner": gliner_engine,
}


def _entities_of(labels: Iterable[str]) -> dict[str, str]:
    return {label: _ENTITIES[label] for label in labels if label in _ENTITIES}


def _span_labels(pipeline: Any) -> set[str]:
    """The labels of the span-naming components in a spaCy pipeline."""
    return {
        label
        for component, labels in pipeline.pipe_labels.items()
        if "doc.ents" in pipeline.get_pipe_meta(component).assigns
        for label in labels
    }


def _package(name: str, *, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"{name} is not installed; run `pip install 'lg-prod-nodes[{extra}]'`"
        ) from error


def _folder(kind: str, name: str) -> Path:
    """The folder of a model: the given one, or the one in the local Hugging Face cache."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    hub = _package("huggingface_hub", extra=kind)
    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no {kind} model {name!r}, neither a folder nor in the local Hugging Face cache; "
            f"run `hf download {name}`, or give the path of a folder"
        ) from error


@contextmanager
def _loading(kind: str, name: str) -> Generator[None]:
    try:
        yield
    except Exception as error:
        raise ConfigurationError(
            f"the {kind} model {name!r} is there but cannot be loaded ({type(error).__name__}); "
            "see the cause, and whether all of its files and packages are installed"
        ) from error
