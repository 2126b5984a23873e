"""The decision about a thread's line, apart from where it is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lg_prod_nodes.stores.threads.line import Claim, Line, Strategy, ask, end, is_due, release

ALIVE = {"a": 4.0, "b": 2.0}
ONE, TWO, THREE = (Claim(id, f"run-{id}", worker) for id, worker in ("1a", "2b", "3a"))


def asked(line: Line, claim: Claim, strategy: Strategy = "enqueue", most: int = 10) -> Line:
    return ask(line, claim, strategy, ALIVE, most=most)[0]


def standing(line: Line, claim: Claim, strategy: Strategy = "enqueue", most: int = 10) -> str:
    return ask(line, claim, strategy, ALIVE, most=most)[1].state


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_free_thread_goes_to_whoever_asks(strategy: Strategy) -> None:
    line, given = ask(Line(), ONE, strategy, {}, most=0)
    assert (line, given.state) == (Line(ONE), "held")


def test_a_busy_thread_refuses_those_who_do_not_wait() -> None:
    held = Line(ONE)
    assert standing(held, TWO, "reject") == "busy"
    assert asked(held, TWO, "reject") == held


def test_whoever_waits_comes_first_once_the_thread_is_free() -> None:
    line = asked(asked(Line(ONE), TWO), THREE)
    line = release(line, ONE.id, cleaned=True)

    assert standing(line, THREE) == "waiting"
    assert not is_due(line, THREE.id)
    assert is_due(line, TWO.id)
    assert asked(line, TWO) == Line(TWO, (THREE,))


def test_a_run_that_does_not_wait_does_not_overtake_those_who_do() -> None:
    assert standing(Line(None, (TWO,)), ONE, "reject") == "busy"


def test_no_more_wait_than_may() -> None:
    line = asked(Line(ONE), TWO, most=1)
    assert standing(line, THREE, most=1) == "busy"


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_newer_run_ends_all_before_it(strategy: Strategy) -> None:
    line = asked(asked(Line(ONE), TWO), THREE, strategy)

    assert line.holder == replace(ONE, end=strategy)
    assert standing(line, TWO) == "ended"
    assert standing(release(line, ONE.id, cleaned=True), THREE) == "held"
    assert release(line, ONE.id, cleaned=True).ended == ((ONE.id, strategy),)


def test_asking_again_ends_nobody_who_came_later() -> None:
    line = asked(Line(ONE), TWO, "interrupt")
    line = asked(line, THREE)
    assert asked(line, TWO, "interrupt") == line


def test_a_rollback_replaces_an_interrupt_and_nothing_replaces_a_rollback() -> None:
    line = end(Line(ONE), "interrupt")
    assert end(line, "rollback").holder == replace(ONE, end="rollback")
    assert end(end(line, "rollback"), "cancel") == end(line, "rollback")


def test_a_cancelled_run_is_the_only_one_asked() -> None:
    line = end(Line(ONE, (TWO, THREE)), "cancel", run=TWO.run)
    assert [claim.end for claim in line.claims] == [None, "cancel", None]


def test_a_dead_worker_s_thread_is_free_and_its_run_is_cleaned_up_after() -> None:
    line, given = ask(Line(ONE, (TWO,)), TWO, "enqueue", {"b": 2.0}, most=10)
    assert given.state == "held"
    assert line == Line(TWO, (), ((ONE.id, "interrupt"),))


def test_a_dead_worker_leaves_the_line() -> None:
    line, given = ask(Line(ONE, (TWO, THREE)), THREE, "enqueue", {"a": 2.0}, most=10)
    assert line == Line(ONE, (THREE,))
    assert given.ahead == 1


def test_whoever_waits_asks_again_when_the_next_worker_ahead_may_be_dead() -> None:
    _, given = ask(Line(ONE, (TWO,)), THREE, "enqueue", ALIVE, most=10)
    assert given.again == pytest.approx(2.01)


def test_what_the_dead_left_stays_until_somebody_has_cleaned_up() -> None:
    line = Line(TWO, (), ((ONE.id, "rollback"),))
    assert release(line, TWO.id, cleaned=False) == Line(None, (), ((ONE.id, "rollback"),))
    assert release(line, TWO.id, cleaned=True) == Line()


def test_a_cancelled_holder_is_cleaned_up_after() -> None:
    line = release(Line(ONE), ONE.id, cleaned=True, finished=False)
    assert line.ended == ((ONE.id, "interrupt"),)


claims = st.builds(
    Claim, st.text("0123", min_size=1, max_size=1), st.just("r"), st.sampled_from("ab")
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), claims, st.sampled_from(get_args(Strategy)), st.integers(0, 3)),
        st.tuples(st.just("leave"), claims, st.booleans()),
        st.tuples(st.just("end"), st.sampled_from(["cancel", "interrupt", "rollback"])),
        st.tuples(st.just("alive"), st.sets(st.sampled_from("ab"))),
    ),
    max_size=40,
)


@given(steps)
def test_a_line_is_always_fair_and_every_step_may_be_repeated(
    taken: list[tuple[object, ...]],
) -> None:
    line, alive = Line(), {"a": 4.0, "b": 4.0}
    for step in taken:
        before = line
        match step:
            case ("ask", Claim() as claim, strategy, int(most)):
                line, given = ask(line, claim, strategy, alive, most=most)  # type: ignore[arg-type]
                again, repeated = ask(line, claim, strategy, alive, most=most)  # type: ignore[arg-type]
                held = given.state == "held"
                assert held == (line.holder is not None and line.holder.id == claim.id)
                if given.state in ("held", "waiting"):
                    assert (again, repeated) == (line, given)
                if held and (before.holder is None or before.holder.id != claim.id):
                    first = [
                        c.id
                        for c in before.waiting
                        if c.worker in {*alive, claim.worker} and not c.end
                    ]
                    assert first[:1] in ([], [claim.id]) or strategy in ("interrupt", "rollback")
            case ("leave", Claim() as claim, bool(cleaned)):
                line = release(line, claim.id, cleaned=cleaned)
                assert line.find(claim.id) is None
                assert release(line, claim.id, cleaned=cleaned) == line
            case ("end", how):
                line = end(line, how)  # type: ignore[arg-type]
                assert all(claim.end for claim in line.claims)
            case ("alive", set() as workers):
                alive = dict.fromkeys(workers, 4.0)
        ids = [claim.id for claim in line.claims]
        assert len(ids) == len(set(ids))
        assert Line.of(str(line)) == line
