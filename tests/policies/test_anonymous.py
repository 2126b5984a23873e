"""Calls for which a policy's key gives nothing do not share a key unless told to."""

from __future__ import annotations

import pickle
import secrets
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, notes, one

from lg_prod_nodes import (
    AnonymousCall,
    Bulkhead,
    CircuitBreaker,
    ConfigurationError,
    CostBudget,
    RateLimit,
    RateLimitExceeded,
    Redact,
    TokenBudget,
    Vault,
    by_node,
    by_tenant,
    by_thread,
    by_user,
    class_of,
    harden,
)

HI = {"messages": [("user", "hi to ann@example.com")]}


def policies(**settings: Any) -> list[Any]:
    return [
        RateLimit("9/hour", **settings),
        Bulkhead(9, **settings),
        TokenBudget("900000", **settings),
        CostBudget("900", unpriced=1, **settings),
        CircuitBreaker(**settings),
        Redact(
            "EMAIL_ADDRESS",
            strategy="tokenize",
            vault=Vault(key=secrets.token_bytes(32)),
            **settings,
        ),
    ]


ALL = range(len(policies()))


@pytest.mark.parametrize("which", ALL)
async def test_a_call_of_nobody_is_refused_by_what_counts_by_user(run: Runner, which: int) -> None:
    model = FakeModel()
    policy = policies(by=by_user)[which]
    graph = harden(one(asks(model)), [policy]).compile()

    with pytest.raises(AnonymousCall, match=r'configurable\["user_id"\]') as refused:
        await run(graph, HI)

    assert refused.value.policy == type(policy).__name__
    assert class_of(refused.value) == "critical"
    assert isinstance(refused.value, ConfigurationError)
    assert model.asked == []
    await run(graph, HI, {"configurable": {"user_id": "ada"}})


@pytest.mark.parametrize("which", ALL)
async def test_calls_of_nobody_share_a_key_when_told_to(run: Runner, which: int) -> None:
    graph = harden(one(asks(FakeModel())), [policies(by=by_user, anonymous="share")[which]])

    await run(graph.compile(), HI)


@pytest.mark.parametrize("which", ALL)
async def test_a_policy_that_counts_all_calls_together_asks_for_no_user(
    run: Runner, which: int
) -> None:
    await run(harden(one(asks(FakeModel())), [policies()[which]]).compile(), HI)


@pytest.mark.parametrize("which", ALL)
def test_only_the_two_ways_are_allowed(which: int) -> None:
    with pytest.raises(
        ConfigurationError, match="anonymous is 'ignore'; choose 'raise' or 'share'"
    ):
        policies(anonymous="ignore")[which]


@pytest.mark.parametrize(
    ("by", "says"),
    [
        (by_tenant, r'by=by_tenant, .*configurable\["tenant_id"\], .*metadata\["tenant_id"\]'),
        (by_thread, r"by=by_thread, .*thread_id"),
        (by_node, r"by=by_node, .*make it give a text"),
        (lambda call: None, r"by=<lambda>, .*anonymous='share'"),
    ],
)
def test_the_error_says_where_the_key_is_looked_for(by: Any, says: str) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", by=by)]).compile()

    with pytest.raises(AnonymousCall, match=says) as refused:
        graph.invoke({"log": []})
    sent = pickle.loads(pickle.dumps(refused.value))
    assert (str(sent), sent.policy) == (str(refused.value), "RateLimit")


def test_a_limit_that_only_shadows_never_raises() -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", by=by_user, shadow=True)]).compile()

    assert graph.invoke({"log": []})["log"] == graph.invoke({"log": []})["log"] == ["ran"]


def test_those_who_share_are_apart_from_every_user() -> None:
    limit = RateLimit("1/hour", by=by_user, anonymous="share")
    graph = harden(one(notes("ran")), [limit]).compile(InMemorySaver())
    graph.invoke({"log": []}, THREAD)
    named: Any = {"configurable": {**THREAD["configurable"], "user_id": "ada"}}
    graph.invoke({"log": []}, named)

    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []}, THREAD)
