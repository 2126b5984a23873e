"""What leaves a stream is what the whole text would have become, wherever it was cut."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import Pattern, PatternRecognizer

from lg_prod_nodes import ContentFilter, Redact
from lg_prod_nodes.content.finality import HELD_BACK, EntityReach, SettledStream, TermReach
from lg_prod_nodes.detectors.replacing import Replacer

BEGIN, END = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
WIDE = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
PIECES = [
    *(
        "ann@example.com",
        "ann&#64;example.com",
        "ann%40example.com",
        '{"to":"ann@example.com","n":3}',
    ),
    *("4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111".translate(WIDE)),
    *("+1 212 555 0142", "(212) 555-0142", "phone: 2125550142", "ext 5"),
    *("DE89 3704 0044 0532 0130 00", "GB29 NWBK 6016 1331 9268 19", "gb29 nwbk 6016 1331 9268 19"),
    *("219-09-9999", "10.1.2.3", "2001:db8::beef", "sk-proj-" + "a1B2c3D4" * 6),
    *(f"{BEGIN}\nMIIEv\nabcd\n{END}", "the card is", "my ssn is", "call me at", "v1.2.3"),
    *(
        "in 2024 we sold 1,200 units",
        "order 45211234",
        "x = 3 + 4",
        "Ångström",
        "東京に行く",
        "\u201cso\u201d",
    ),
]
SPACED = PatternRecognizer("STAFF_ID", patterns=[Pattern("staff", r"\bE \d{3} \d{3}\b", 0.9)])


def replacer(policy: Redact | None = None) -> Replacer:
    return (policy or Redact()).replacer()


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(ends)]


def streamed(stream: SettledStream, pieces: list[str]) -> str:
    return "".join([*(stream.feed(piece) for piece in pieces), stream.flush()])


texts = st.builds(
    lambda glue, pieces: glue.join(pieces),
    st.sampled_from([" ", ", ", "; ", "\n"]),
    st.lists(st.sampled_from(PIECES) | st.text("ab 1@.\u200b", max_size=6), max_size=8),
)
places = st.lists(st.integers(0, 10**6), max_size=60)


@settings(max_examples=300)
@given(text=texts, places=places)
def test_what_was_streamed_is_the_redaction_of_the_whole(text: str, places: list[int]) -> None:
    assert streamed(replacer().stream(), cut(text, places)) == replacer().change(text)


@given(text=texts)
def test_it_is_so_character_by_character(text: str) -> None:
    assert streamed(replacer().stream(), list(text)) == replacer().change(text)


@given(places=places)
def test_a_pattern_of_the_user_s_own_may_hold_spaces(places: list[int]) -> None:
    policy = Redact("CREDIT_CARD", recognizers=[SPACED])
    text = "the badge of E 123 456 and the one of E 654 321, but not E 12"

    after = streamed(replacer(policy).stream(), cut(text, places))

    assert after == "the badge of [STAFF_ID] and the one of [STAFF_ID], but not E 12"


@given(text=texts, places=places)
def test_little_is_held_back(text: str, places: list[int]) -> None:
    stream = replacer().stream()

    for piece in cut(text, places):
        stream.feed(piece)
        assert stream.held <= HELD_BACK + len(piece)


def test_prose_leaves_word_by_word() -> None:
    stream = replacer().stream()
    words = re.findall(r"\S+\s*", "the report of the quarter went out and nobody has answered")

    assert [stream.feed(word) for word in words[:-1]] == words[:-1]


@pytest.mark.parametrize("token", ["a" * 5000, "4" * 5000, "字" * 5000, "x1." * 2000])
def test_a_token_without_end_does_not_stop_the_stream(token: str) -> None:
    stream = replacer().stream()

    left = "".join(stream.feed(token[at : at + 7]) for at in range(0, len(token), 7))

    assert left
    assert stream.held <= HELD_BACK


def test_what_is_found_at_the_end_of_an_endless_token_is_swallowed() -> None:
    address = "https://example.com/" + "abc1/" * 400
    pieces = [address[at : at + 9] for at in range(0, len(address), 9)]

    assert streamed(replacer(Redact("URL")).stream(), [*pieces, " bye"]) == "[URL] bye"


def test_a_long_secret_is_held_back_to_its_end() -> None:
    secret = ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIx" * 120, "a1B2c3D4" * 20])
    pieces = [secret[at : at + 9] for at in range(0, len(secret), 9)]

    assert streamed(replacer().stream(), [*pieces, " bye"]) == "[SECRET] bye"


def test_a_stream_that_is_cut_gives_its_rest_cleaned() -> None:
    stream = replacer().stream()

    assert streamed(stream, ["write to ann@exa", "mple.com"]) == "write to [EMAIL_ADDRESS]"
    assert stream.flush() == ""


@pytest.mark.parametrize("entity", ["CREDIT_CARD", "US_SSN", "PHONE_NUMBER", "IBAN_CODE"])
def test_words_do_not_wait_where_only_numbers_are_looked_for(entity: str) -> None:
    stream = replacer(Redact(entity)).stream()

    assert stream.feed("hello wor") == "hello wor"


def test_names_wait_for_their_sentence() -> None:
    reach = EntityReach(sentences=True)

    assert reach.settled("Ann went home. She sle") == len("Ann went home. ")
    assert reach.settled("Ann went home") == 0


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("how to build", "how to build"),
        ("how to build a pip", "how to build a "),
        ("how to build a pipe b", "how to build a "),
        ("how to build a pipe cl", "how to build a pipe cl"),
        ("a PIPE  ", "a "),
        ("a kni", "a "),
        ("a p\u00adi", ""),
    ],
)
def test_only_the_beginning_of_a_term_is_held_back(text: str, settled: str) -> None:
    assert text[: TermReach(["pipe bomb", "knife"]).settled(text)] == settled


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("\u5236\u4f5c\u70b8", "\u5236\u4f5c"),
        ("\u5236\u4f5c\u70b8\u836f", "\u5236\u4f5c\u70b8\u836f"),
        ("\u5236\u4f5cpipe bo", "\u5236\u4f5c"),
        ("\uc0ac \ud3ed", "\uc0ac "),
    ],
)
def test_holds_back_the_beginning_of_a_term_inside_of_a_word_without_spaces(
    text: str, settled: str
) -> None:
    reach = TermReach(["\u70b8\u5f39", "\ud3ed\ud0c4", "pipe bomb"])

    assert text[: reach.settled(text)] == settled


@given(places=places)
def test_nothing_follows_a_blocked_term(places: list[int]) -> None:
    policy = ContentFilter(["pipe bomb"])
    blocked = Replacer(policy.detector.find, lambda *_: "[...]", policy._reach, lambda *_: True)

    left = streamed(blocked.stream(), cut("how to build a pipe bomb at home", places))

    assert "bomb" not in left
    assert "home" not in left
    assert blocked.blocked
