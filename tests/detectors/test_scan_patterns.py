# ruff: noqa: RUF001
from __future__ import annotations

import re

import pytest
import regex
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lg_prod_nodes.detectors.reading.words import WordEngine
from lg_prod_nodes.detectors.scan.deadline import Deadline, OutOfTime
from lg_prod_nodes.detectors.scan.patterns import Expression, View
from lg_prod_nodes.detectors.scan.prefilter import Prefilter

FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL
LETTERS = "abskiABSKI019_ .-@:é中ßſKıİ١１\u0301\u00a0\n\x1c\x85"

atoms = st.sampled_from(
    ["a", "b", "s", "k", "I", "0", "9", "é", ".", "@", "_", "-", "ſ", "K"]
) | st.sampled_from(
    [
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        r"\S",
        r"\.",
        r"[a-z]",
        r"[A-K]",
        r"[^a-s]",
        r"[0-9é]",
        r"[\w.]",
        r"[^\w]",
        r"[^\s@]",
        r"[a-é]",
    ]
)
edges = st.sampled_from([r"\b", r"\B", "^", "$", "(?=a)", "(?!b)", "(?<=a)", r"(?<!\w)", ""])
repeats = st.sampled_from(["", "", "", "?", "+", "*", "{2}", "{1,3}", "{2,}", "+?", "{1,40}"])


def grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({})".format, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?i:{})".format, inner),
        st.builds("(?>{})".format, inner),
        st.builds("({}){}\\1".format, st.just("a|b"), inner),
    )


def sequences(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    part = st.builds("{}{}".format, inner, repeats)
    return st.builds(
        "{}{}{}".format, edges, st.lists(part, min_size=1, max_size=4).map("".join), edges
    )


patterns = sequences(st.recursive(atoms, lambda inner: grouped(sequences(inner)), max_leaves=5))
texts = st.text(st.sampled_from(LETTERS), max_size=30) | st.text(max_size=20)


def compiles(pattern: str) -> bool:
    try:
        regex.compile(pattern)
    except regex.error:
        return False
    return True


def by_regex(pattern: str, flags: int, text: str) -> list[tuple[int, int]]:
    return [m.span() for m in regex.finditer(pattern, text, flags=flags) if m[0]]


def by_expression(pattern: str, flags: int, text: str) -> list[tuple[int, int]]:
    return list(Expression(pattern, flags).spans(View(text, WordEngine()), Deadline(60)))


@given(patterns, texts, st.sampled_from([FLAGS, re.DOTALL, 0]))
@example(r"\b1\b", "é1 1é 1", FLAGS)
@example(r"\b\w+\b", "été ١ a", FLAGS)
@example(r"\Ba", "éa a aa", 0)
def test_matches_where_regex_matches(pattern: str, text: str, flags: int) -> None:
    assume(compiles(pattern))

    assert by_expression(pattern, flags, text) == by_regex(pattern, flags, text)


@given(patterns, texts, st.sampled_from([FLAGS, re.DOTALL, 0]))
@example("[^é]1", "ü1", 0)
@example("é", "É", FLAGS)
@example("K", "k", FLAGS)
@example(r"(a|b)\1", "bb", 0)
def test_what_matches_is_never_filtered_out(pattern: str, text: str, flags: int) -> None:
    assume(compiles(pattern))
    prefilter = Prefilter([Expression(pattern, flags).ways])

    if by_regex(pattern, flags, text):
        assert prefilter.among(text).numbers == {0}


@pytest.mark.parametrize(
    "pattern",
    ["(?:foo){e<=1}", "[[:alpha:]]1", r"\p{Lu}1", "(?V1)[a--b]1", r"a\K1", "(?|(a)|(b))1", "a++1"],
)
@pytest.mark.parametrize("text", ["fo fxo a1 B1 b1 ab1 aa1", "é1", "{e<=1}", ""])
def test_what_only_the_regex_module_knows_is_left_to_it(pattern: str, text: str) -> None:
    assert by_expression(pattern, 0, text) == by_regex(pattern, 0, text)


def test_most_texts_are_ruled_out() -> None:
    prefilter = Prefilter([Expression(r"\b\d{3}-\d{4}\b", 0).ways, None])

    assert prefilter.among("nothing here").numbers == {1}
    assert prefilter.among("call 555-0142").numbers == {0, 1}


def test_an_expression_that_re2_does_not_take_is_always_run() -> None:
    assert Prefilter([("(",), ("a",)]).among("nothing").numbers == {0}


def test_expressions_that_are_too_much_for_re2_are_always_run() -> None:
    huge = "(?:" + "|".join(f"{prefix:04d}(?:ab|cd){{900}}x" for prefix in range(400)) + ")"

    assert Prefilter([(huge,)] * 9).among("nothing").numbers == set(range(9))


def test_a_search_that_runs_out_of_memory_rules_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefilter = Prefilter([("a",), ("b",)])
    monkeypatch.setattr(prefilter, "_set", type("Exhausted", (), {"Match": lambda *_: None})())

    assert prefilter.among("nothing").numbers == {0, 1}


def test_time_that_is_up_is_told() -> None:
    view = View("a" * 60 + "!", WordEngine())
    backtracking = Expression(r"(?<!x)(a|aa)+$", 0).spans(view, Deadline(0.05))

    with pytest.raises(OutOfTime):
        list(backtracking)


def test_a_deadline_counts_from_its_beginning() -> None:
    times = iter([10.0, 12.0, 15.0])
    deadline = Deadline(5, clock=lambda: next(times))

    assert deadline.left() == 3
    with pytest.raises(OutOfTime):
        deadline.left()
