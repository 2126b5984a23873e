from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes.detectors.findings import Finding, apart

findings = st.lists(
    st.builds(
        lambda start, length, entity, score: Finding(start, start + length, entity, score),
        st.integers(0, 20),
        st.integers(1, 8),
        st.sampled_from("AB"),
        st.sampled_from([0.4, 0.5, 1.0]),
    ),
    max_size=8,
)


@given(findings)
def test_each_place_belongs_to_the_surest_then_the_longest(given_: list[Finding]) -> None:
    pieces = apart(given_)

    for at in range(30):
        here = [f for f in given_ if f.start <= at < f.end]
        owners = [p for p in pieces if p.start <= at < p.end]
        assert len(owners) == bool(here)
        if here:
            best = min(here, key=lambda f: (-f.score, f.start - f.end, f.start, f.entity))
            assert (owners[0].entity, owners[0].score) == (best.entity, best.score)


@given(findings)
def test_they_lie_in_order_and_apart_coming_apart_changes_nothing(given_: list[Finding]) -> None:
    pieces = apart(given_)

    edges = [edge for piece in pieces for edge in (piece.start, piece.end)]
    assert edges == sorted(edges)
    assert apart(pieces) == pieces


def test_what_no_other_overlaps_stays_whole() -> None:
    long, short = Finding(0, 9, "A", 0.5), Finding(3, 5, "B", 0.9)

    assert apart([short, long]) == (Finding(0, 3, "A", 0.5), short, Finding(5, 9, "A", 0.5))
    assert apart([Finding(0, 3, "A", 1.0), Finding(3, 5, "A", 1.0)]) == (
        Finding(0, 3, "A", 1.0),
        Finding(3, 5, "A", 1.0),
    )
