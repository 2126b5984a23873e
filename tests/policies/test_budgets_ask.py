"""A budget that asks a person for more."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from tests.policies.conftest import (
    THREAD,
    FakeModel,
    Runner,
    State,
    TravellingClock,
    asks,
    one,
    said,
)
from tests.policies.test_budgets import HI, SPENT, WANTED, budget, hardened, stands

from lg_prod_nodes import BudgetExceeded, Run
from lg_prod_nodes.stores.accounts.store import AccountStore, Balance


@pytest.fixture
def store() -> AccountStore:
    return AccountStore()


def asked(graph: Any) -> list[Any]:
    return [paused.value for paused in graph.get_state(THREAD).interrupts]


@pytest.mark.parametrize("answer", [30, 30.0, {"grant": 30}])
async def test_goes_on_with_what_a_person_grants(
    run: Runner, model: FakeModel, store: AccountStore, answer: Any
) -> None:
    graph = hardened(one(asks(model)), budget("10", store, ask=True)).compile(InMemorySaver())
    told = Run()
    await run(graph, HI, THREAD, control=told)

    assert asked(graph) == [
        {
            "policy": "TokenBudget",
            "budget": "budget of 10 tokens",
            "needed": WANTED,
            "available": 10,
        }
    ]
    assert told.report.outcome == "interrupt"
    assert model.asked == []
    assert said(await run(graph, Command(resume=answer), THREAD)) == ["hi", "hello there"]
    assert stands(store) == Balance(spent=SPENT, granted=30)


@pytest.mark.parametrize("answer", ["no", 0, -5, False, True, {"grant": "all"}, float("nan")])
async def test_any_other_answer_refuses(
    run: Runner, model: FakeModel, store: AccountStore, answer: Any
) -> None:
    graph = hardened(one(asks(model)), budget("10", store, ask=True)).compile(InMemorySaver())
    await run(graph, HI, THREAD)

    with pytest.raises(BudgetExceeded):
        await run(graph, Command(resume=answer), THREAD)
    assert stands(store) == Balance()


async def test_a_refusal_by_a_person_is_answered(run: Runner, model: FakeModel) -> None:
    policy = budget("10", ask=True, reply="Enough.")
    graph = hardened(one(asks(model)), policy).compile(InMemorySaver())
    await run(graph, HI, THREAD)

    assert said(await run(graph, Command(resume="no"), THREAD)) == ["hi", "Enough."]


async def test_asks_again_where_too_little_was_granted(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    graph = hardened(one(asks(model)), budget("10", store, ask=True)).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    await run(graph, Command(resume=1), THREAD)

    assert [question["available"] for question in asked(graph)] == [11]
    assert said(await run(graph, Command(resume=20), THREAD)) == ["hi", "hello there"]
    assert stands(store) == Balance(spent=SPENT, granted=21)


def asks_a_person_too(model: FakeModel, seen: list[Any]) -> Any:
    def node(state: State) -> Any:
        first = model.invoke("hi")
        seen.append(interrupt("your own?"))
        return {"text": str(seen[-1]), "messages": [first, model.invoke("hi")]}

    return node


async def test_the_node_s_own_questions_keep_their_answers(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    seen: list[Any] = []
    graph = hardened(one(asks_a_person_too(model, seen)), budget("10", store, ask=True))
    app = graph.compile(InMemorySaver())
    await run(app, HI, THREAD)
    await run(app, Command(resume=1000), THREAD)
    assert asked(app) == ["your own?"]
    result = await run(app, Command(resume="mine"), THREAD)

    assert result["text"] == "mine"
    assert stands(store) == Balance(spent=3 * SPENT, granted=1000)  # the first call ran twice


async def test_an_answer_that_is_not_needed_any_more_does_not_answer_the_node_s_own_question(
    run: Runner, model: FakeModel, clock: TravellingClock
) -> None:
    """The person answers on the next day, when there is room again."""
    seen: list[Any] = []
    other = one(asks(model))
    store = AccountStore()
    policy = budget(f"{WANTED}/day", store, ask=True)
    hardened_other = hardened(other, policy, clock=clock).compile()
    await run(hardened_other, HI)
    app = hardened(one(asks_a_person_too(model, seen)), policy, clock=clock).compile(
        InMemorySaver()
    )
    await run(app, HI, THREAD)
    assert asked(app)[0]["policy"] == "TokenBudget"
    clock.advance(86_400)
    await run(app, Command(resume=1000), THREAD)

    assert asked(app) == ["your own?"]
    assert (await run(app, Command(resume="mine"), THREAD))["text"] == "mine"


async def test_nodes_side_by_side_ask_each_for_itself(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, asks(model)).add_edge(START, name)
    graph = hardened(builder, budget("10", store, ask=True)).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    paused = graph.get_state(THREAD).interrupts
    assert len(paused) == 2

    result = await run(graph, Command(resume={paused[0].id: 40, paused[1].id: 50}), THREAD)
    assert said(result) == ["hi", "hello there", "hello there"]
    assert stands(store) == Balance(spent=2 * SPENT, granted=90)


@pytest.mark.parametrize("counting", ["once", "each"])
async def test_a_call_that_was_let_through_does_not_ask_when_it_is_repeated(
    run: Runner, model: FakeModel, store: AccountStore, counting: Any
) -> None:
    policy = budget(str(WANTED + SPENT), store, ask=True, counting=counting)
    graph = hardened(one(asks_a_person_too(model, [])), policy).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    await run(hardened(one(asks(model)), policy).compile(), HI)
    assert asked(graph) == ["your own?"]
    await run(graph, Command(resume="mine"), THREAD)
    assert asked(graph)[0]["policy"] == "TokenBudget"
    await run(graph, Command(resume=1000), THREAD)

    assert graph.get_state(THREAD).values["text"] == "mine"
    assert stands(store).granted == 1000
