"""The report beside a result, and the limits of it by name."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from langgraph.runtime import RunControl
from tests.policies.conftest import notes, one

import lg_prod_nodes
from lg_prod_nodes import ConfigurationError, RateLimit, Run, harden, reported

EMPTY: Any = {"log": []}


def limited(*limits: RateLimit) -> Any:
    return harden(one(notes("ran")), limits).compile()


async def test_one_call_gives_the_result_and_the_report() -> None:
    graph = reported(limited(RateLimit("3/hour")))

    result, report = graph.invoke(EMPTY)
    assert (result["log"], report.outcome, report.limits["RateLimit"].remaining) == (
        ["ran"],
        "ok",
        2,
    )
    result, report = await graph.ainvoke(EMPTY)
    assert (result["log"], report.outcome, report.limits["RateLimit"].remaining) == (
        ["ran"],
        "ok",
        1,
    )


def test_a_run_that_the_caller_passes_is_used() -> None:
    run, control = Run(), RunControl()
    graph = reported(limited(RateLimit("3/hour")))

    assert graph.invoke(EMPTY, control=run)[1] is run.report
    assert graph.invoke(EMPTY, control=control)[1].outcome == "ok"


def test_a_graph_has_to_be_compiled() -> None:
    builder: Any = one(notes("ran"))

    with pytest.raises(ConfigurationError, match="was given a StateGraph; give a compiled graph"):
        reported(builder)


def test_limits_have_names_and_keep_their_order() -> None:
    graph = limited(RateLimit("9/second;5/hour"), RateLimit("7/day", name="daily"))
    limits = reported(graph).invoke(EMPTY)[1].limits

    assert [state.limit for state in limits] == ["9 per second", "5 per hour", "7 per day"]
    assert limits["daily"] is limits[2]
    assert limits["RateLimit", "5 per hour"] is limits[1]
    assert limits[:2] == [limits[0], limits[1]]
    assert "daily" in limits
    assert "weekly" not in limits
    assert limits[0] in limits


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RateLimit", r"'RateLimit' names 2 limits; .*limits\['RateLimit', '5 per hour'\]"),
        ("weekly", r"'weekly' names 0 limits; .*limits\['RateLimit', '9 per second'\]"),
    ],
)
def test_a_name_of_none_or_several_limits_says_which_there_are(name: str, says: str) -> None:
    limits = reported(limited(RateLimit("9/second;5/hour"))).invoke(EMPTY)[1].limits

    with pytest.raises(KeyError, match=says):
        limits[name]


def test_the_package_knows_its_version() -> None:
    assert lg_prod_nodes.__version__ == version("lg-prod-nodes")
    with pytest.raises(AttributeError):
        _ = lg_prod_nodes.__no_such_name__
