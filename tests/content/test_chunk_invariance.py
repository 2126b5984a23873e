"""What leaves a stream is what the whole text would have become: wherever it is cut, whatever is hidden in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from chunk_invariance import assert_chunk_invariant
from hypothesis import given, settings
from hypothesis import strategies as st

from lg_prod_nodes import ContentFilter, Redact
from lg_prod_nodes.content.invisible import INVISIBLE, visible
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.detectors.replacing import Replacer

REDACT = Redact()
SAMPLES = {
    "CREDIT_CARD": "the card 4111 1111 1111 1111 is",
    "EMAIL_ADDRESS": "write to ann@example.com now",
    "IBAN_CODE": "to DE89 3704 0044 0532 0130 00 ok",
    "IP_ADDRESS": "from 192.168.10.77 and 2001:db8::beef",
    "PHONE_NUMBER": "call +1 212 555 0142 today",
    "US_SSN": "my ssn is 219-09-9999 ok",
    "SECRET": 'password: "Tr0ub4dor&3" set',
}
RANGES = re.findall(r"(.)(?:-(.))?", INVISIBLE.pattern[1:-1])
ALL_INVISIBLE = [
    chr(c) for first, last in RANGES for c in range(ord(first), ord(last or first) + 1)
]


def whole(text: str) -> str:
    return rewrite(text, REDACT.replacer().change)


def streamed(pieces: Iterable[str]) -> Iterator[str]:
    stream = REDACT.replacer().stream()
    yield from map(stream.feed, pieces)
    yield stream.flush()


def test_all_code_points_that_show_nothing_are_known() -> None:
    assert len(ALL_INVISIBLE) == 4174  # Default_Ignorable_Code_Point of Unicode 16
    assert visible("a".join(ALL_INVISIBLE)) == "a" * 4173


@pytest.mark.parametrize("entity", SAMPLES)
def test_one_of_each_range_at_each_place_leaks_at_no_cut(entity: str) -> None:
    sample = SAMPLES[entity]

    for first, _ in RANGES:
        for at in range(1, len(sample)):
            text = sample[:at] + first + sample[at:]
            assert f"[{entity}]" in whole(text)
            assert_chunk_invariant(streamed, whole, text)


def test_each_code_point_that_shows_nothing_leaks_at_no_cut() -> None:
    samples = list(SAMPLES.values())

    for number, char in enumerate(ALL_INVISIBLE):
        sample = samples[number % len(samples)]
        at = 1 + number // len(samples) % (len(sample) - 1)
        text = sample[:at] + char + sample[at:]
        cuts = (at, at + 1, at + 2, at + 5)
        splits = [[text[:cut], text[cut:]] for cut in cuts if cut < len(text)]
        assert_chunk_invariant(streamed, whole, text, splits=splits)


HIDDEN = [
    *("\u200b", "\u00ad" * 40, "\u200b" * 700, "&#8203;", "&zwnj;", "%E2%80%8B", "\\u200b"),
    *("\u2065\ufe0f", "\u034f", "\u115f", "\U000e0041"),
]
BLANKS = ["\u00a0", "\u2003", "\u3000", "&nbsp;", "%20", " \u200b"]


def written_otherwise(char: str, how: int) -> str:
    """The same character as it is read, written in another way."""
    if char == " ":
        return BLANKS[how % len(BLANKS)]
    if not (char.isascii() and char.isalnum()):
        return char
    wide = chr(ord(char) + 0xFEE0)
    return [wide, f"&#{ord(char)};", f"%{ord(char):02x}", f"\\u{ord(char):04x}"][how % 4]


texts = st.lists(st.sampled_from(list(SAMPLES.values())), min_size=1, max_size=3, unique=True)
changes = st.lists(
    st.tuples(st.integers(0, 10**4), st.sampled_from(["hide", "write"]), st.integers(0, 99)),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(said=texts, changed=changes, cuts=st.lists(st.integers(1, 10**4), max_size=6))
def test_no_way_to_write_a_value_leaks_in_pieces(
    said: list[str], changed: list[tuple[int, str, int]], cuts: list[int]
) -> None:
    chars = list(" ".join(said))
    for place, how, which in changed:
        at = place % len(chars)
        hides = how == "hide"
        chars[at] = (
            HIDDEN[which % len(HIDDEN)] + chars[at]
            if hides
            else written_otherwise(chars[at], which)
        )
    text = "".join(chars)
    ends = sorted({0, len(text), *(cut % len(text) for cut in cuts)})

    pieces = [text[start:end] for start, end in pairwise(ends)]

    assert "".join(streamed(pieces)) == whole(text)
    assert "".join(streamed(text)) == whole(text)


@pytest.mark.parametrize("entity", ["CREDIT_CARD", "PHONE_NUMBER", "IBAN_CODE", "EMAIL_ADDRESS"])
@pytest.mark.parametrize("padding", [600, 5000])
def test_much_that_shows_nothing_does_not_push_a_value_out(entity: str, padding: int) -> None:
    sample = SAMPLES[entity]
    at = sample.index("@") if "@" in sample else sample.index(" ", 12) - 2

    left = "".join(streamed([sample[:at], "\u200b" * padding, sample[at:]]))

    assert visible(left) == visible(whole(sample))


def test_a_term_is_held_back_with_what_is_hidden_in_it() -> None:
    policy = ContentFilter(["pipe bomb"])
    text = "how to build a pi\u2065pe\u00a0b\u00adomb at home"

    for cut in range(1, len(text)):
        blocked = Replacer(policy.detector.find, lambda *_: "", policy._reach, lambda *_: True)
        stream = blocked.stream()
        left = stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush()
        assert "pi" not in left
        assert blocked.blocked


WORDS = "python3.11 torch2.4 cuda12.4 gcc13 ubuntu22.04 node20 pg16 redis7 k8s1.31 A-1001 B-1002 1.2k v2 x86_64 "


@pytest.mark.parametrize("entities", [(), *((name,) for name in SAMPLES)], ids=str)
def test_words_with_digits_leave_word_by_word(entities: tuple[str, ...]) -> None:
    stream = Redact(*entities).replacer().stream()
    fed = left = 0

    for word in re.findall(r"\S+\s*", WORDS * 3):
        fed += len(word)
        left += len(stream.feed(word))
        assert fed - left <= 24
