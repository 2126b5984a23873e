"""Retries that cannot multiply an outage, and one owner of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.runnables import RunnableLambda
from tests.conftest import FakeClock
from tests.policies.conftest import AT_ONCE, FakeModel, asks, notes, one

from lg_prod_nodes import (
    CaptureErrors,
    ConfigurationError,
    Deadline,
    RetriesWarning,
    RetryBudget,
    harden,
)


@given(
    st.floats(0.0, 1.0),
    st.floats(0.0, 3.0),
    st.lists(st.floats(0.0, 2.0), max_size=200),
)
def test_retries_add_no_more_than_their_share(ratio: float, per_second: float, gaps: Any) -> None:
    clock = FakeClock()
    budget = RetryBudget(ratio, min_per_second=per_second, clock=clock)
    retried = 0
    for gap in gaps:  # of an outage: each call fails, and each retry too
        clock.advance(gap)
        while budget(ConnectionError()):
            retried += 1
    saved = max(10 * per_second, 1 + ratio) if per_second else 0.0
    assert retried <= ratio * len(gaps) + per_second * clock.now() + saved + 1e-6


def test_a_rare_failure_is_retried() -> None:
    clock = FakeClock()
    budget = RetryBudget(0.0, clock=clock)
    for _ in range(100):
        clock.advance(1.0)
        assert budget(TimeoutError())


def test_what_is_not_transient_is_not_retried_and_costs_nothing() -> None:
    budget = RetryBudget(0.0, min_per_second=0.1, clock=FakeClock())
    assert not budget(ValueError())
    assert budget(TimeoutError())
    assert not budget(TimeoutError())
    assert RetryBudget(classify={ValueError: "transient"})(ValueError())


def test_it_is_asked_once_an_attempt_whoever_asks() -> None:
    tries: list[int] = []

    def down(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError

    budget = RetryBudget(0.0, min_per_second=0.2, clock=FakeClock())  # two are saved up
    retry = AT_ONCE._replace(retry_on=budget, max_attempts=10)
    policies = [CaptureErrors(then={"bad_input": "end"}), Deadline(600.0)]
    graph = harden(one(down, retry_policy=retry), policies).compile()
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []})
    assert len(tries) == 3


@pytest.mark.parametrize(
    "settings", [{"ratio": 2.0}, {"ratio": -1}, {"min_per_second": -1}], ids=str
)
def test_settings_that_cannot_work_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="give"):
        RetryBudget(**settings)


class Persistent(FakeModel):
    max_retries: int = 2


MODEL = Persistent()


def asks_a_global(state: Any) -> Any:
    return {"messages": [MODEL.invoke("hi")]}


async def asks_it_asynchronously(state: Any) -> Any:
    return {"messages": [await MODEL.ainvoke("hi")]}


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        (asks(Persistent()), "the model's max_retries=2"),
        (asks_a_global, "the model's max_retries=2"),
        (asks_it_asynchronously, "the model's max_retries=2"),
        (RunnableLambda(notes("x")).with_retry(), r"with_retry\(\)"),
        (RunnableLambda(notes("x")) | Persistent().with_retry(), r"with_retry\(\)"),
    ],
    ids=range(5),
)
def test_a_second_layer_of_retries_is_warned_of(node: Any, layer: str) -> None:
    with pytest.warns(RetriesWarning, match=f"node 'node'.*RetryPolicy and by {layer}"):
        harden(one(node, retry_policy=AT_ONCE)).compile()


def test_and_in_an_agent() -> None:
    agent = create_agent(Persistent(), [], middleware=[ModelRetryMiddleware()])
    with pytest.warns(RetriesWarning, match="node 'model'.*ModelRetryMiddleware"):
        harden(agent)


@pytest.mark.parametrize(
    ("node", "options"),
    [
        (asks(Persistent()), {}),
        (asks(FakeModel()), {"retry_policy": AT_ONCE}),
        (asks(Persistent(max_retries=0)), {"retry_policy": AT_ONCE}),
        (notes("x"), {"retry_policy": AT_ONCE}),
    ],
    ids=range(4),
)
def test_one_layer_is_not(node: Any, options: Any) -> None:
    harden(one(node, **options)).compile()
