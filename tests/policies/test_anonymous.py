"""Calls for which a policy's key gives nothing do not share a key unless told to."""

from __future__ import annotations

import pickle
import secrets
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, notes, one

from lg_prod_nodes import (
    AnonymousCall,
    Bulkhead,
    CircuitBreaker,
    ClaimedUserWarning,
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
from lg_prod_nodes.core import keys

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


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a LangGraph Server, where nobody has been warned yet."""
    monkeypatch.setitem(sys.modules, "langgraph_api.worker", ModuleType("langgraph_api.worker"))
    keys._warn_of_claims.cache_clear()
    yield
    keys._warn_of_claims.cache_clear()


NOBODY = SimpleNamespace(identity="", is_authenticated=False)  # as the server passes it


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("by", [by_user, by_tenant])
@pytest.mark.parametrize("user", [{}, {"langgraph_auth_user": NOBODY}])
def test_a_user_that_a_client_of_a_server_chose_is_warned_of_once(by: Any, user: Any) -> None:
    builder = one(lambda state: None)
    graph = harden(builder, [RateLimit("9/hour", by=by, anonymous="share")]).compile()
    named = {"configurable": {"user_id": "mallory", "tenant_id": "acme", **user}}
    if by is by_tenant and user:  # the authenticated user's tenant counts, and nobody has none
        graph.invoke(HI, named)
        return
    with pytest.warns(ClaimedUserWarning, match="authenticates nobody"):
        graph.invoke(HI, named)
    graph.invoke(HI, named)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    "config",
    [
        {"configurable": {"user_id": "x", "langgraph_auth_user_id": "ada"}},
        {"configurable": {"langgraph_auth_user": SimpleNamespace(identity="ada")}},
        {},
    ],
)
def test_an_authenticated_user_and_nobody_are_not_warned_of(config: Any) -> None:
    limit = RateLimit("9/hour", by=by_user, anonymous="share")
    harden(one(lambda state: None), [limit]).compile().invoke(HI, config)


@pytest.mark.usefixtures("served")
def test_who_does_not_count_by_user_is_not_warned() -> None:
    graph = harden(one(lambda state: None), [RateLimit("9/hour")]).compile()
    graph.invoke(HI, {"configurable": {"user_id": "mallory"}})


def test_a_service_of_one_s_own_is_not_warned() -> None:
    keys._warn_of_claims.cache_clear()
    graph = harden(one(lambda state: None), [RateLimit("9/hour", by=by_user)]).compile()
    graph.invoke(HI, {"configurable": {"user_id": "ada"}})
