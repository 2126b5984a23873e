from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    TravellingClock,
    asks,
    one,
    said,
)

from lg_prod_nodes import (
    BudgetExceeded,
    ConfigurationError,
    CostBudget,
    Policy,
    Run,
    StoreUnavailable,
    TokenBudget,
    Usage,
    as_middleware,
    as_node,
    by_user,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.keys import by_run
from lg_prod_nodes.core.usage import CallRequest, estimated_tokens
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Balance

HI: Any = {"messages": [HumanMessage("hi", id="1")]}
WANTED = estimated_tokens(HI["messages"]) + 16  # and the most that an answer may have
SPENT = 7  # what `FakeModel` says that it spends


@pytest.fixture
def store() -> AccountStore:
    return AccountStore()


def budget(text: str, store: AccountStore | str = "memory://", **settings: Any) -> TokenBudget:
    return TokenBudget(text, store=store, **{"max_output": 16, **settings})


def hardened(graph: Any, *policies: Policy, **options: Any) -> Any:
    return harden(graph, policies, **options)


def stands(store: AccountStore, key: str = "TokenBudget||*") -> Balance:
    balance: Balance = drive(store.balance(Account(key, 0), blocking=True))
    return balance


def user(name: str) -> Any:
    return {"configurable": {"user_id": name, "thread_id": name}}


async def test_reserves_before_a_call_and_settles_to_what_was_spent(
    run: Runner, store: AccountStore
) -> None:
    during: list[Balance] = []

    class Looks(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            during.append(stands(store))
            return super()._generate(*args, **options)

    told = Run()
    graph = hardened(one(asks(Looks())), budget("100", store)).compile()
    await run(graph, HI, control=told)

    assert during == [Balance(reserved=WANTED)]
    assert stands(store) == Balance(spent=SPENT)
    assert told.report.budgets == {"TokenBudget": 100 - SPENT}
    assert told.report.events["budget_checked"] == told.report.events["budget_settled"] == 1


async def test_refuses_what_has_no_room_until_the_period_ends(
    run: Runner, clock: TravellingClock, model: FakeModel
) -> None:
    clock.advance(-clock.time() % 86_400 + 3600)  # one o'clock, UTC
    policy = budget(f"{WANTED + SPENT}/day")
    graph = hardened(one(asks(model)), policy, clock=clock).compile()
    await run(graph, HI)
    await run(graph, HI)

    with pytest.raises(
        BudgetExceeded, match=f"daily budget of {WANTED + SPENT} tokens exhausted; resets in 23 h"
    ) as error:
        await run(graph, HI)

    refusal = error.value
    assert (refusal.policy, refusal.available) == ("TokenBudget", WANTED - SPENT)
    assert refusal.retry_after == pytest.approx(23 * 3600)
    assert len(model.asked) == 2
    clock.advance(23 * 3600)
    assert said(await run(graph, HI))[-1] == "hello there"


def test_says_no_time_where_waiting_does_not_help(clock: TravellingClock, model: FakeModel) -> None:
    for text in ("10", "10/day"):
        graph = hardened(one(asks(model)), budget(text), clock=clock).compile()
        with pytest.raises(BudgetExceeded) as error:
            graph.invoke(HI)
        assert error.value.retry_after is None


async def test_a_model_that_is_told_how_much_to_say_needs_no_more(model: FakeModel) -> None:
    class Told(Policy):
        kinds = frozenset({"model"})

        async def wrap(self, call: Any, handler: Any) -> Any:
            return await handler(call.replace(request=CallRequest(3)))

    enough = str(WANTED - 16 + 3)
    graph = harden(one(asks(model)), [Told(), budget(enough)]).compile()

    assert said(await graph.ainvoke(HI))[-1] == "hello there"
    with pytest.raises(BudgetExceeded):
        await graph.ainvoke(HI)


@pytest.mark.parametrize(
    "small", [TokenBudget("1000/day"), CostBudget("0.001/day", reply="Enough.")]
)
async def test_a_budget_for_no_answer_of_a_length_that_nobody_told_says_what_to_do(
    run: Runner, model: FakeModel, small: Policy
) -> None:
    with pytest.raises(ConfigurationError, match=r"told no max_tokens.*give .*Budget max_output"):
        await run(hardened(one(asks(model)), small).compile(), HI)
    assert model.asked == []


async def test_a_small_budget_serves_models_that_are_told_how_much_to_say() -> None:
    class Brief(FakeModel):
        max_tokens: int = 16

    graph = hardened(one(asks(Brief())), TokenBudget(str(WANTED))).compile()
    assert said(await graph.ainvoke(HI))[-1] == "hello there"
    with pytest.raises(BudgetExceeded):
        await graph.ainvoke(HI)


@pytest.mark.parametrize("reply", ["Enough.", lambda refused: f"{refused.available:.0f}."])
async def test_answers_in_the_model_s_stead(run: Runner, model: FakeModel, reply: Any) -> None:
    graph = hardened(one(asks(model)), budget("10", reply=reply)).compile()

    assert said(await run(graph, HI))[-1] in ("Enough.", "10.")
    assert model.asked == []


def test_a_reply_shows_in_a_stream_of_messages(model: FakeModel) -> None:
    graph = hardened(one(asks(model)), budget("10", reply="Enough.")).compile()

    assert "Enough." in repr(list(graph.stream(HI, stream_mode="messages")))


async def test_counts_each_user_alone(run: Runner, model: FakeModel, store: AccountStore) -> None:
    graph = hardened(one(asks(model)), budget("21", store, by=by_user, anonymous="share")).compile()
    await run(graph, HI, user("ada"))
    await run(graph, HI, user("bob"))
    await run(graph, HI)

    with pytest.raises(BudgetExceeded):
        await run(graph, HI, user("ada"))
    assert stands(store, "TokenBudget||=ada").spent == stands(store).spent == SPENT


async def test_counts_each_run_alone(run: Runner, model: FakeModel) -> None:
    builder = one(asks(model)).add_node("again", asks(model)).add_edge("node", "again")
    enough = hardened(builder, budget("60", by=by_run)).compile()
    for _ in range(3):
        await run(enough, HI)

    with pytest.raises(BudgetExceeded):
        await run(hardened(builder, budget(str(WANTED + 1), by=by_run)).compile(), HI)


class Fails:
    """A node that calls a model, and fails after that so many times."""

    def __init__(self, model: FakeModel, times: int) -> None:
        self.model, self.times = model, times

    def __call__(self, state: State) -> Any:
        answer = self.model.invoke(state["messages"])
        self.times -= 1
        if self.times >= 0:
            raise ValueError
        return {"messages": [answer]}


@pytest.mark.parametrize(("counting", "executions"), [("once", 1), ("each", 3)])
async def test_the_tries_of_a_node_are_charged_as_was_chosen(
    run: Runner, model: FakeModel, store: AccountStore, counting: Any, executions: int
) -> None:
    builder = one(Fails(model, 2), retry_policy=AT_ONCE)
    graph = hardened(builder, budget("100", store, counting=counting)).compile()
    await run(graph, HI)

    assert len(model.asked) == 3
    assert stands(store) == Balance(spent=executions * SPENT)


@pytest.mark.parametrize(("counting", "executions"), [("once", 1), ("each", 2)])
async def test_a_crashed_task_that_runs_again_is_charged_as_was_chosen(
    run: Runner, model: FakeModel, store: AccountStore, counting: Any, executions: int
) -> None:
    policy = budget("100", store, counting=counting)
    graph = hardened(one(Fails(model, 1)), policy).compile(InMemorySaver())
    with pytest.raises(ValueError):  # noqa: PT011
        await run(graph, HI, THREAD)
    await run(graph, None, THREAD)

    assert len(model.asked) == 2
    assert stands(store) == Balance(spent=executions * SPENT)


@pytest.mark.parametrize(("counting", "calls"), [("once", 2), ("each", 3)])
async def test_resuming_is_charged_as_was_chosen(
    run: Runner, model: FakeModel, store: AccountStore, counting: Any, calls: int
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        return {"text": interrupt("how?"), "messages": [model.invoke("hi there")]}

    policy = budget("100", store, counting=counting)
    graph = hardened(one(node), policy).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    assert stands(store) == Balance(spent=SPENT)
    await run(graph, Command(resume="so"), THREAD)

    assert len(model.asked) == 3
    assert stands(store) == Balance(spent=calls * SPENT)


async def test_a_fork_is_charged_and_resets_nothing(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    policy = budget(str(WANTED + SPENT), store)
    graph = hardened(one(asks(model)), policy).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("node",))
    fork = graph.update_state(before, {"text": "forked"})
    await run(graph, None, fork)

    assert stands(store) == Balance(spent=2 * SPENT)
    with pytest.raises(BudgetExceeded):
        await run(graph, None, before)


async def test_each_send_is_charged(run: Runner, model: FakeModel, store: AccountStore) -> None:
    builder = StateGraph(State).add_node("work", asks(model))
    builder.add_conditional_edges(START, lambda state: [Send("work", HI)] * 3, ["work"])
    await run(hardened(builder, budget("100", store)).compile(), HI)

    assert stands(store) == Balance(spent=3 * SPENT)


async def test_models_of_subgraphs_and_tools_are_charged(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    @tool
    def look(word: str) -> str:
        """Look up."""
        return str(model.invoke(word).content)

    def node(state: State) -> Any:
        look.invoke({"word": "x"})
        return None

    inner = one(node).compile()
    await run(hardened(one(inner), budget("100", store)).compile(), HI)

    assert stands(store) == Balance(spent=SPENT)


async def test_a_call_that_fails_gives_its_reservation_back(
    run: Runner, store: AccountStore
) -> None:
    class Broken(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            raise ValueError

    graph = hardened(one(asks(Broken())), budget("100", store)).compile()
    with pytest.raises(ValueError):  # noqa: PT011
        await run(graph, HI)

    assert stands(store) == Balance()


async def test_what_the_provider_bills_is_charged_by_default(store: AccountStore) -> None:
    assert budget("100", store).counting == "each"


async def test_a_try_that_spends_nothing_leaves_what_an_earlier_one_spent(
    run: Runner, store: AccountStore
) -> None:
    class BreaksDown(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            if self.asked:
                raise ValueError
            return super()._generate(*args, **options)

    builder = one(Fails(BreaksDown(), 3), retry_policy=AT_ONCE)
    with pytest.raises(ValueError):  # noqa: PT011
        await run(hardened(builder, budget("100", store)).compile(), HI)

    assert stands(store) == Balance(spent=SPENT)


async def test_a_cancelled_call_gives_its_reservation_back(store: AccountStore) -> None:
    begun = asyncio.Event()

    class Hangs(FakeModel):
        async def _agenerate(self, *args: Any, **options: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    async def node(state: State) -> Any:
        await Hangs().ainvoke("hi")

    graph = hardened(one(node), budget("100", store)).compile()
    task = asyncio.create_task(graph.ainvoke(HI))
    await begun.wait()
    assert stands(store).reserved
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert stands(store) == Balance()


@pytest.mark.parametrize("ends", [True, False])
async def test_a_stream_is_charged_as_far_as_it_came(
    run: Runner, model: FakeModel, store: AccountStore, ends: bool
) -> None:
    def node(state: State) -> Any:
        for _ in model.stream("hi"):
            if not ends:
                break

    await run(hardened(one(node), budget("100", store)).compile(), HI)

    assert stands(store) == Balance(spent=SPENT)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_stream_of_events_is_charged_all_that_was_reserved(
    run: Runner, model: FakeModel, store: AccountStore
) -> None:
    def node(state: State) -> Any:
        for _ in model.stream_events(state["messages"], version="v3"):
            pass

    await run(hardened(one(node), budget("100", store)).compile(), HI)

    assert stands(store) == Balance(spent=WANTED)


async def test_concurrent_calls_never_spend_more_than_there_is(
    model: FakeModel, store: AccountStore
) -> None:
    graph = hardened(one(asks(model)), budget(str(5 * WANTED), store, max_output=3)).compile()
    runs = (graph.ainvoke(HI) for _ in range(40))
    results = await asyncio.gather(*runs, return_exceptions=True)

    served = sum(not isinstance(result, BudgetExceeded) for result in results)
    assert 5 * WANTED // SPENT >= served >= 1
    assert stands(store) == Balance(spent=served * SPENT)


async def test_an_agent_stops_at_its_budget(run: Runner, store: AccountStore) -> None:
    @tool
    def look(word: str) -> str:
        """Look up."""
        return "found"

    calls = ({"name": "look", "args": {"word": "x"}, "id": "1", "type": "tool_call"},)
    agent = create_agent(FakeModel(calls=calls), [look])
    served = await run(hardened(agent, budget("200", store)), HI)
    assert said(served)[-1] == "hello there"
    assert stands(store) == Balance(spent=2 * SPENT)

    stopped = await run(hardened(agent, budget("25", reply="Enough.")), HI)
    assert said(stopped) == ["hi", "hello there", "found", "Enough."]


async def test_middleware_charges_the_agent_s_model(run: Runner, store: AccountStore) -> None:
    middleware = as_middleware(budget("10", store, reply="Enough."))

    assert said(await run(create_agent(FakeModel(), [], middleware=[middleware]), HI))[-1] == (
        "Enough."
    )


def test_a_prebuilt_node_lets_pass_while_there_is_room(store: AccountStore) -> None:
    gate = as_node(budget("100", store, reply="Enough."))
    assert one(gate).compile().invoke(HI)["messages"] == HI["messages"]
    drive(
        store.settle(
            drive(store.reserve(Account("TokenBudget||*", 100), 90, blocking=True)),
            90,
            blocking=True,
        )
    )

    assert said(one(gate).compile().invoke(HI))[-1] == "Enough."


def drain(graph: Any) -> None:
    while True:
        graph.invoke(HI)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30/second", 1),
        ("30/minute", 60),
        ("30 per hour", 3600),
        ("30/day", 86_400),
        ("30/week", 7 * 86_400),
        ("30/month", 31 * 86_400),
        ("30/year", 365 * 86_400),
    ],
)
def test_a_period_is_one_of_the_calendar(
    clock: TravellingClock, model: FakeModel, text: str, seconds: int
) -> None:
    clock.advance(1_830_297_600 - clock.time())  # Saturday, 1 January 2028, UTC
    if "week" in text:
        clock.advance(2 * 86_400)
    if "year" in text:
        seconds += 86_400
    graph = hardened(one(asks(model)), budget(text, max_output=10), clock=clock).compile()
    graph.invoke(HI)
    clock.advance(seconds / 2)
    graph.invoke(HI)
    with pytest.raises(BudgetExceeded) as error:
        drain(graph)

    assert error.value.retry_after == pytest.approx(seconds / 2)
    clock.advance(seconds / 2)
    graph.invoke(HI)


def paid(usage: Usage) -> Decimal:
    return Decimal(usage.input_tokens) * 2 / 100 + Decimal(usage.output_tokens) * 5 / 100


async def test_money_is_counted_by_a_price(run: Runner, store: AccountStore) -> None:
    policy = CostBudget(
        "1.00/day", store=store, max_output=16, price=lambda model, usage: paid(usage)
    )
    told = Run()
    graph = hardened(one(asks(FakeModel())), policy).compile()
    await run(graph, HI, control=told)

    assert told.report.budgets == {"CostBudget": pytest.approx(1 - 0.26)}
    with pytest.raises(BudgetExceeded, match=r"daily budget of 1\.00 US dollars") as error:
        await run(graph, HI)
    assert error.value.available == pytest.approx(0.74)


async def test_money_is_counted_by_the_providers_lists(run: Runner) -> None:
    told = Run()
    graph = hardened(one(asks(FakeModel())), CostBudget("0.01")).compile()
    await run(graph, HI, control=told)

    assert 0 < 0.01 - told.report.budgets["CostBudget"] < 0.0001


async def test_a_model_without_a_price_is_refused_or_counted_as_was_chosen(run: Runner) -> None:
    unknown = FakeModel(model_name="of-our-own")
    with pytest.raises(ConfigurationError, match="no price is known for the model of-our-own"):
        await run(hardened(one(asks(unknown)), CostBudget("1")).compile(), HI)
    assert unknown.asked == []

    told = Run()
    counted = CostBudget("1", unpriced=1000, max_output=16)
    await run(hardened(one(asks(unknown)), counted).compile(), HI, control=told)
    assert told.report.budgets == {"CostBudget": pytest.approx(1 - 0.007)}


async def test_a_price_that_fails_after_the_call_charges_what_was_reserved(
    run: Runner, store: AccountStore
) -> None:
    def fails(model: str, usage: Usage) -> Decimal:
        if usage.output_tokens == 4:  # what was spent, not what is expected
            raise LookupError
        return Decimal(usage.total_tokens)

    policy = CostBudget("100", store=store, max_output=16, price=fails)
    with pytest.raises(LookupError):
        await run(hardened(one(asks(FakeModel())), policy).compile(), HI)

    assert stands(store, "CostBudget||*") == Balance(spent=WANTED * 10**9)


@pytest.mark.parametrize("choice", ["raise", "admit"])
async def test_a_store_that_is_down_does_what_was_chosen(
    run: Runner, model: FakeModel, choice: Any
) -> None:
    down = AccountStore("valkey://127.0.0.1:1")
    graph = hardened(one(asks(model)), budget("100", down, store_down=choice)).compile()
    told = Run()

    if choice == "admit":
        assert said(await run(graph, HI, control=told))[-1] == "hello there"
    else:
        with pytest.raises(StoreUnavailable, match="valkey"):
            await run(graph, HI, control=told)
    assert told.report.events["store_unavailable"] == 1


async def test_a_store_that_goes_down_during_a_call_fails_no_call(
    run: Runner, store: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*args: Any, **options: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(store, "settle", fails)
    told = Run()
    graph = hardened(one(asks(FakeModel())), budget("100", store)).compile()

    assert said(await run(graph, HI, control=told))[-1] == "hello there"
    assert told.report.events["store_unavailable"] == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": ""}, "cannot read the budget ''"),
        ({"budget": "many/day"}, "per second, minute, hour, day, week"),
        ({"budget": "10/fortnight"}, "cannot read the budget '10/fortnight'"),
        ({"budget": "-10/day"}, "cannot read"),
        ({"budget": "0/day"}, "allows nothing at all"),
        ({"budget": "0.5/day"}, "cannot be counted"),
        ({"budget": "1" + "0" * 30}, "cannot be counted"),
        ({"budget": 10}, "cannot read the budget 10"),
        ({"by": "user"}, "by is 'user'"),
        ({"store": "ftp://somewhere"}, "ftp://"),
        ({"store": 7}, "memory://"),
        ({"max_output": -1}, "max_output is -1"),
        ({"counting": "twice"}, "'once' or 'each'"),
        ({"reply": 3}, "reply is 3"),
        ({"lease": 0}, "lease is 0"),
        ({"store_down": "ignore"}, "'raise' or 'admit'"),
    ],
)
def test_settings_that_cannot_work_are_refused_while_building(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        TokenBudget(**{"budget": "100/day", **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"price": 3}, "price is a int"),
        ({"unpriced": 0}, "unpriced is 0"),
        ({"unpriced": -1}, "-1"),
    ],
)
def test_prices_that_cannot_work_are_refused_while_building(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        CostBudget("1/day", **settings)


def test_the_store_s_password_does_not_show() -> None:
    assert "hunter2" not in repr(TokenBudget("1", store="valkey://ann:hunter2@localhost:1"))
