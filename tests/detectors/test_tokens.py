from __future__ import annotations

from lg_prod_nodes.detectors.reading.words import WordEngine

ENGINE = WordEngine()


def test_words_and_marks_keep_their_places() -> None:
    text = "My SSN: 12-3, Ångström"

    made = ENGINE.process_text(text, "en")

    words = ["My", "SSN", ":", "12", "-", "3", ",", "Ångström"]
    assert list(made.tokens) == words
    assert [
        text[at : at + len(word)] for at, word in zip(made.tokens_indices, words, strict=True)
    ] == words
    assert made.lemmas == [word.lower() for word in words]
    assert made.entities == []


def test_texts_of_a_batch_stand_alone() -> None:
    batch = ENGINE.process_batch(["one two", "three"], "en")

    assert [(text, list(made.tokens)) for text, made in batch] == [
        ("one two", ["one", "two"]),
        ("three", ["three"]),
    ]


def test_stop_words_and_marks_say_nothing() -> None:
    assert ENGINE.is_stopword("The", "en")
    assert not ENGINE.is_stopword("card", "en")
    assert ENGINE.is_punct("-", "en")
    assert not ENGINE.is_punct("card", "en")


def test_is_ready_without_a_model() -> None:
    ENGINE.load()

    assert ENGINE.is_loaded()
    assert ENGINE.get_supported_entities() == []
    assert ENGINE.get_supported_languages() == ["en"]
