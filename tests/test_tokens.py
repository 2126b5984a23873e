"""Estimates of tokens, the schemas that a model is given included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel
from tests.policies.conftest import FakeModel, one

from lg_prod_nodes import (
    Call,
    Policy,
    RateLimit,
    RateLimitExceeded,
    TokenBudget,
    TokenUsage,
    as_middleware,
    by_tokens,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.usage import estimated_tokens
from lg_prod_nodes.stores.accounts.store import Account, AccountStore

HI = HumanMessage("hi", id="1")
ASKED: Any = {"messages": [HI]}


@tool
def look_up(order: str) -> str:
    """Look up an order by its number, such as A-1001, and tell where its parcel is."""
    return order


class Answer(BaseModel):
    """An answer that names its sources."""

    text: str


SCHEMA = convert_to_openai_tool(look_up)
OF_SCHEMA = -(-len(json.dumps(SCHEMA)) // 4)
WANTED = estimated_tokens([HI]) + OF_SCHEMA


class Binds(FakeModel):
    """A model that is given schemas as those of providers are."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self.bind(tools=list(map(convert_to_openai_tool, tools)))


def reserved(store: AccountStore) -> int:
    """What a budget has reserved during a call, which fails nothing."""
    balance = drive(store.balance(Account("TokenBudget||*", 0), blocking=True))
    return balance.reserved


def graph(model: Any, *policies: Policy) -> Any:
    def node(state: Any) -> Any:
        return {"messages": [model.bind_tools([look_up]).invoke(state["messages"])]}

    return harden(one(node), policies).compile()


def test_a_schema_counts_by_its_length() -> None:
    assert estimated_tokens([HI], [SCHEMA]) == WANTED
    assert estimated_tokens("four", [SCHEMA, SCHEMA]) == 1 + -(-2 * len(json.dumps(SCHEMA)) // 4)


@pytest.mark.parametrize("given", [look_up, SCHEMA])
def test_a_tool_counts_as_its_schema(given: Any) -> None:
    assert estimated_tokens([], [given]) == OF_SCHEMA


def test_schemas_of_every_kind_count() -> None:
    written = len(json.dumps(convert_to_openai_tool(Answer)))
    assert estimated_tokens([], [Answer]) == -(-written // 4)
    assert estimated_tokens([], [object()]) > 0


def test_a_budget_reserves_for_the_tools_that_are_bound() -> None:
    store, during = AccountStore(), []

    class Looks(Binds):
        def _generate(self, *args: Any, **options: Any) -> Any:
            during.append(reserved(store))
            return super()._generate(*args, **options)

    budget = TokenBudget("1000", store=store, max_output=16)
    graph(Looks(), budget).invoke(ASKED)

    assert during == [WANTED + 16]


def test_a_rate_limit_by_tokens_counts_the_tools_that_are_bound() -> None:
    graph(Binds(), RateLimit(f"{WANTED + 1}/minute", cost=by_tokens)).invoke(ASKED)
    with pytest.raises(RateLimitExceeded):
        graph(Binds(), RateLimit(f"{WANTED}/minute", cost=by_tokens)).invoke(ASKED)


def test_a_call_whose_provider_tells_nothing_is_estimated_with_its_tools() -> None:
    usage = TokenUsage()
    graph(Binds(spends=False), usage).invoke(ASKED)

    (entry,) = usage.ledger.entries()
    assert entry.usage.input_tokens == WANTED


class Sees(Policy):
    """Keeps the calls of models."""

    kinds = frozenset({"model"})

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def wrap(self, call: Call, handler: Any) -> Any:
        self.calls.append(call)
        return await handler(call)


def test_answers_in_a_schema_and_older_functions_count_too() -> None:
    sees = Sees()

    def node(state: Any) -> Any:
        FakeModel().invoke("hi", response_format={"a": 1}, functions=[{"b": 2}])

    harden(one(node), [sees]).compile().invoke(ASKED)

    assert sees.calls[0].request.schemas == ({"b": 2}, {"a": 1})


def test_middleware_knows_the_tools_and_the_longest_answer() -> None:
    class Told(Binds):
        max_tokens: int = 77

    sees = Sees()
    create_agent(Told(), [look_up], middleware=[as_middleware(sees)]).invoke(ASKED)

    (call,) = sees.calls
    assert call.request.max_output_tokens == 77
    assert estimated_tokens([], call.request.schemas) == OF_SCHEMA
