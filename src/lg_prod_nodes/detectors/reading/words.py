"""The smallest NLP engine that supports Presidio's context words: lowercase words, no model, no download.

Presidio's own offline engine silently disables context words, because it provides no lemmas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

_TOKEN = re.compile(r"\w+|[^\w\s]")
STOP_WORDS = frozenset(
    _TOKEN.findall(
        "a an and are as at be but by for from had has have he her his i if in is it its me my no not of on or our"
        " she so that the their them they this to was we were what when which who will with you your"
    )
)
"""Words without meaning of their own."""


class WordEngine(NlpEngine):
    """Splits a text into words."""

    def load(self) -> None:
        """Do nothing: there is nothing to load."""

    def is_loaded(self) -> bool:
        """Always true."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The words, their positions, and their lowercase forms as lemmas."""
        found = list(_TOKEN.finditer(text))
        words = [match[0] for match in found]
        return NlpArtifacts(
            entities=[],
            tokens=cast(Any, words),  # Presidio reads only their text
            tokens_indices=[match.start() for match in found],
            lemmas=[word.lower() for word in words],
            nlp_engine=self,
            language=language,
        )

    def process_batch(
        self,
        texts: Iterable[str],
        language: str,
        batch_size: int = 1,
        n_process: int = 1,
        **kwargs: Any,
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """Process each text separately."""
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        """Whether a word has no meaning of its own."""
        return word.lower() in STOP_WORDS

    def is_punct(self, word: str, language: str) -> bool:
        """Whether a token is punctuation."""
        return not word.isalnum()

    def get_supported_entities(self) -> list[str]:
        """None: names and places need a model."""
        return []

    def get_supported_languages(self) -> list[str]:
        """English only."""
        return ["en"]
