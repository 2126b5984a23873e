"""Names and places by a language model, loaded from disk and never from the network.

No pattern tells a name from another word. A spaCy pipeline, a transformer or GLiNER can; each is an NLP engine of
Presidio's here, so that whoever looks for names needs to know no more than `load_nlp_engine` and `name_recognizers`.
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
"""What a model can find: people, places, organizations, and nationalities, religious or political groups."""

_KINDS = ("spacy", "transformers", "gliner")


def load_nlp_engine(spec: str | NlpEngine, *, language: str = "en") -> NlpEngine:
    """The NLP engine of a model on this machine, loaded once for each process.

    The engine splits a text into the words that are used without a model, so that patterns and their context words
    find the same with and without it; the model adds names and places. An engine that is given ready is taken as
    it is, with its own words and lemmas.

    Args:
        spec: `"spacy:<package or path>"`, `"transformers:<path or hub name>"`, `"gliner:<path or hub name>"`, or an
            NLP engine that is loaded. A hub name stands for what the local Hugging Face cache holds of it.
        language: The language of the texts, as in `"en"`.

    Raises:
        ConfigurationError: The spec is none of these, the extra or the model is not installed, the model cannot be
            loaded or finds no names, or it is one for another language. Nothing is ever downloaded.
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
    """The recognizers that read names and places from what an NLP engine found.

    Args:
        engine: The engine that goes through the texts.
        entities: What is looked for; of these, `NAME_ENTITIES` count here. All that the engine finds, if none.
        language: The language of the texts.

    Raises:
        ConfigurationError: The engine cannot find a name entity that is looked for.
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
    # Left to itself, Presidio would load it at the first text, and download what is missing.
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
