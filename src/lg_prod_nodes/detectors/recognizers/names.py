"""Names and places by a language model, loaded from disk and never from the network.

No pattern can tell a name from another word, but a spaCy pipeline, a transformer or GLiNER can. Each is wrapped as a
Presidio NLP engine, so callers need only `load_nlp_engine` and `name_recognizers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from lg_prod_nodes.core.errors import ConfigurationError

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer
    from presidio_analyzer.nlp_engine import NlpEngine

NAME_ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")
"""The entities that a model can find: people, places, organizations, and national, religious or political groups."""

_KINDS = ("spacy", "transformers", "gliner")


def load_nlp_engine(spec: str | NlpEngine, *, language: str = "en") -> NlpEngine:
    """The NLP engine of a model on this machine, loaded once per process.

    The engine splits texts into words as without a model, so patterns and context words give the same findings either
    way. The model only adds names and places. An engine that you pass is used as is, with its own words and lemmas.

    Args:
        spec: `"spacy:<package or path>"`, `"transformers:<path or hub name>"`, `"gliner:<path or hub name>"`, or a
            loaded NLP engine. A hub name refers to the model's copy in the local Hugging Face cache.
        language: The language of the texts, such as `"en"`.

    Raises:
        ConfigurationError: The spec is invalid, the extra or the model is not installed, or the model cannot be loaded,
            finds no names or is for another language. Nothing is ever downloaded.
    """
    if not isinstance(spec, str):
        return _ready(spec, language)
    kind, _, name = spec.partition(":")
    if kind not in _KINDS or not name.strip():
        raise ConfigurationError(
            f"nlp_engine={spec!r} names no model; give '<kind>:<name or path>' with the kind one of "
            f"{', '.join(_KINDS)}, such as 'spacy:en_core_web_sm', or an NlpEngine that is loaded"
        )
    return _loaded(kind, name.strip(), language)


def name_recognizers(
    engine: NlpEngine, entities: Iterable[str] = (), *, language: str = "en"
) -> list[EntityRecognizer]:
    """The recognizers that turn an NLP engine's names and places into findings.

    Args:
        engine: The engine that processes the texts.
        entities: The wanted entities, of which only `NAME_ENTITIES` count. If empty, everything that the engine finds.
        language: The language of the texts.

    Raises:
        ConfigurationError: The engine cannot find a wanted name entity.
    """
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    found = _names_of(engine)
    wanted = list(entities) or found
    if missing := [entity for entity in NAME_ENTITIES if entity in wanted and entity not in found]:
        raise ConfigurationError(
            f"nlp_engine does not find {', '.join(missing)}; it finds {', '.join(found) or 'no names'}. "
            "Leave these entities out, or give a model that knows them"
        )
    names = [entity for entity in found if entity in wanted]
    if not names:
        return []
    return [SpacyRecognizer(language, supported_entities=names, name="NameRecognizer")]


@lru_cache(maxsize=8)
def _loaded(kind: str, name: str, language: str) -> NlpEngine:
    from lg_prod_nodes.detectors.recognizers.name_models import LOADERS

    engine = LOADERS[kind](name, language)
    if not _names_of(engine):
        raise ConfigurationError(
            f"the {kind} model {name!r} finds none of {', '.join(NAME_ENTITIES)}; "
            "give a model for named entities"
        )
    return engine


def _ready(engine: NlpEngine, language: str) -> NlpEngine:
    from presidio_analyzer.nlp_engine import NlpEngine

    if not isinstance(engine, NlpEngine):
        raise ConfigurationError(
            f"nlp_engine is {type(engine).__name__}; give a text such as 'spacy:en_core_web_sm' or an NlpEngine"
        )
    # By default, Presidio would load it at the first text and download what is missing.
    if not engine.is_loaded():
        raise ConfigurationError(
            f"{type(engine).__name__} is not loaded; call its load() before it is given"
        )
    if language not in (known := engine.get_supported_languages()):
        raise ConfigurationError(
            f"{type(engine).__name__} is for {', '.join(known)}, not for {language!r}"
        )
    return engine


def _names_of(engine: NlpEngine) -> list[str]:
    known = set(engine.get_supported_entities())
    return [entity for entity in NAME_ENTITIES if entity in known]
