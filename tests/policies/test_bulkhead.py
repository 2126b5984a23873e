from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    Runner,
    State,
    TravellingClock,
    fails,
    notes,
    one,
    said,
)

from lg_prod_nodes import (
    Bulkhead,
    Busy,
    Call,
    ConfigurationError,
    Handler,
    Policy,
    Run,
    StoreUnavailable,
    by_user,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.accounts.store import Account, AccountStore, Balance


@pytest.fixture
def store() -> AccountStore:
    return AccountStore()


def held(store: AccountStore, key: str = "Bulkhead|LangGraph|*") -> int:
    """How many places are taken."""
    balance: Balance = drive(store.balance(Account(key, 1), blocking=True))
    assert balance.spent == 0
    return balance.reserved


def user(name: str) -> Any:
    return {"configurable": {"user_id": name}}


async def together(graph: Any, number: int) -> list[Any]:
    runs = (graph.ainvoke({"log": []}) for _ in range(number))
    return await asyncio.gather(*runs, return_exceptions=True)


async def slow(state: State) -> Any:
    await asyncio.sleep(0)
    return {"log": ["ran"]}


async def test_lets_so_many_through_at_once_and_refuses_the_others(store: AccountStore) -> None:
    graph = harden(one(slow), [Bulkhead(3, store=store)]).compile()

    results = await together(graph, 8)

    assert sum(isinstance(result, Busy) for result in results) == 5
    refusal = next(result for result in results if isinstance(result, Busy))
    assert (refusal.limit, refusal.policy, refusal.retry_after) == (3, "Bulkhead", None)
    assert held(store) == 0
    assert not any(isinstance(result, Busy) for result in await together(graph, 3))


def test_threads_at_once_never_pass_the_limit(store: AccountStore) -> None:
    going_on, go_on = [Event() for _ in range(2)], Event()

    def waits(state: State) -> Any:
        next(event for event in going_on if not event.is_set()).set()
        go_on.wait(30)
        return {"log": ["ran"]}

    graph = harden(one(waits), [Bulkhead(2, store=store)]).compile()
    with ThreadPoolExecutor(2) as pool:
        runs = []
        for event in going_on:
            runs.append(pool.submit(graph.invoke, {"log": []}))
            assert event.wait(30)
        with pytest.raises(Busy):
            graph.invoke({"log": []})
        go_on.set()
        assert [run.result()["log"] for run in runs] == [["ran"]] * 2
    assert held(store) == 0


def ended_by_error(state: State) -> Any:
    raise ValueError


def ended_by_interrupt(state: State) -> Any:
    interrupt("how?")


@pytest.mark.parametrize("node", [notes("ran"), ended_by_error, ended_by_interrupt])
async def test_a_place_is_given_back_however_a_run_ends(
    run: Runner, store: AccountStore, node: Callable[[Any], Any]
) -> None:
    places: list[int] = []

    def looks(state: State) -> Any:
        places.append(held(store))
        return node(state)

    graph = harden(one(looks), [Bulkhead(1, store=store)]).compile(InMemorySaver())
    with suppress(ValueError):
        await run(graph, {"text": "1"}, THREAD)

    assert places == [1]
    assert held(store) == 0


async def test_a_cancelled_run_gives_its_place_back(store: AccountStore) -> None:
    begun = asyncio.Event()

    async def hangs(state: State) -> Any:
        begun.set()
        await asyncio.Event().wait()

    graph = harden(one(hangs), [Bulkhead(1, store=store)]).compile()
    task = asyncio.create_task(graph.ainvoke({"log": []}))
    await begun.wait()
    assert held(store) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert held(store) == 0


def two() -> StateGraph[Any]:
    return one(notes("1"), "first").add_node("second", notes("2")).add_edge("first", "second")


def test_an_abandoned_stream_gives_its_place_back(store: AccountStore) -> None:
    graph = harden(two(), [Bulkhead(1, store=store)]).compile()

    stream = graph.stream({"log": []}, stream_mode="updates")
    next(stream)
    assert held(store) == 1
    stream.close()
    assert held(store) == 0
    for _ in graph.stream({"log": []}, stream_mode="updates"):
        break
    gc.collect()
    assert held(store) == 0


@pytest.mark.parametrize("stream_mode", ["messages", "values", ["updates", "custom"]])
@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_client_that_leaves_ends_its_nodes_before_its_place_is_given_back(
    store: AccountStore, stream_mode: Any, nodes: int
) -> None:
    """Starlette cancels the scope of a response, and so its task at each await."""
    begun, ends = asyncio.Event(), []

    async def waits(state: State) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(held(store))

    builder = StateGraph(State)
    for number in range(nodes):
        builder.add_node(f"waits{number}", waits).add_edge(START, f"waits{number}")
    graph = harden(builder, [Bulkhead(1, store=store)]).compile()
    told = Run()

    async def read() -> None:
        async for _ in graph.astream({"text": "1"}, stream_mode=stream_mode, control=told):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await begun.wait()
        group.cancel_scope.cancel()

    assert ends == [1] * nodes
    assert held(store) == 0
    assert told.report.outcome == "cancelled"


@pytest.mark.parametrize("at_node", [True, False])
async def test_a_synchronous_node_keeps_its_place_until_its_thread_ends(
    store: AccountStore, at_node: bool
) -> None:
    begun, ends, gone, told = asyncio.Event(), Event(), Event(), Run()
    loop = asyncio.get_running_loop()

    def waits(state: State) -> None:
        loop.call_soon_threadsafe(begun.set)
        ends.wait()

    bulkhead = Bulkhead(1, store=store)
    placed: Any = {"nodes": {"node": [bulkhead]}} if at_node else {"policies": [bulkhead]}
    graph = harden(one(waits), **placed).compile()
    key = "Bulkhead|LangGraph/node|*" if at_node else "Bulkhead|LangGraph|*"
    task = asyncio.create_task(graph.ainvoke({"text": "1"}, control=told))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert held(store, key) == 1
    assert told.threads.then(None, gone.set)
    ends.set()
    assert await asyncio.to_thread(gone.wait, 20)
    assert held(store, key) == 0


async def test_a_place_of_a_node_does_not_wait_for_the_threads_of_others(
    store: AccountStore,
) -> None:
    """Two nodes side by side: one ends while the other one is still in its thread."""
    ended = Event()

    def waits(state: State) -> None:
        assert ended.wait(20)

    def ends(state: State) -> None:
        pass

    class Notes(Policy):
        kinds = frozenset({"node"})

        async def wrap(self, call: Call, handler: Handler) -> Any:
            try:
                return await handler(call)
            finally:
                if held(store, "Bulkhead|LangGraph/ends|*") == 0:
                    ended.set()

    builder = one(waits, "waits").add_node("ends", ends).add_edge(START, "ends")
    graph = harden(builder, nodes={"ends": [Notes(), Bulkhead(1, store=store)]}).compile()
    await graph.ainvoke({"text": "1"})


async def test_an_abandoned_asynchronous_stream_gives_its_place_back(store: AccountStore) -> None:
    graph = harden(two(), [Bulkhead(1, store=store)]).compile()

    stream = graph.astream({"log": []}, stream_mode="updates")
    await anext(stream)
    assert held(store) == 1
    await stream.aclose()
    assert held(store) == 0


async def test_a_resumed_run_holds_a_place_too(run: Runner, store: AccountStore) -> None:
    def asks(state: State) -> Any:
        return {"text": f"{interrupt('how?')} {held(store)}"}

    graph = harden(one(asks), [Bulkhead(1, store=store, reply="Busy.")]).compile(InMemorySaver())
    await run(graph, {"text": "1"}, THREAD)
    taken = drive(store.reserve(Account("Bulkhead|LangGraph|*", 1), 1, blocking=True))
    with pytest.raises(Busy):
        await run(graph, Command(resume="so"), THREAD)
    drive(store.settle(taken, 0, blocking=True))

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so 1"
    assert held(store) == 0


async def test_who_comes_first_is_served_first(store: AccountStore, clock: TravellingClock) -> None:
    order: list[str] = []

    async def notes_order(state: State) -> Any:
        order.append(state["text"])
        for _ in range(5):
            await asyncio.sleep(0)

    policy = Bulkhead(2, store=store, max_wait=60.0)
    graph = harden(one(notes_order), [policy], clock=clock).compile()
    told = [Run() for _ in range(8)]
    await asyncio.gather(
        *(graph.ainvoke({"text": str(at)}, control=run) for at, run in enumerate(told))
    )

    assert order == [str(at) for at in range(8)]
    assert [run.report.events["call_delayed"] for run in told] == [0] * 2 + [1] * 6
    assert held(store) == 0
    assert not store._lines


def test_waits_no_longer_than_it_may(store: AccountStore, clock: TravellingClock) -> None:
    taken = drive(store.reserve(Account("Bulkhead|LangGraph|*", 1), 1, blocking=True))
    graph = harden(one(notes("ran")), [Bulkhead(1, store=store, max_wait=0.5)], clock=clock)

    with pytest.raises(Busy):
        graph.compile().invoke({"log": []})

    assert sum(clock.slept) == pytest.approx(0.5)
    drive(store.settle(taken, 0, blocking=True))
    assert graph.compile().invoke({"log": []})["log"] == ["ran"]


@pytest.mark.parametrize("patience", [0.0, 0.5])
async def test_who_comes_later_does_not_overtake_those_who_wait(
    store: AccountStore, clock: TravellingClock, patience: float
) -> None:
    account = Account("Bulkhead|LangGraph|*", 1)
    policy = Bulkhead(1, store=store, max_wait=patience)
    graph = harden(one(notes("ran")), [policy], clock=clock).compile()
    with store.line(account), pytest.raises(Busy):
        await graph.ainvoke({"log": []})

    assert (await graph.ainvoke({"log": []}))["log"] == ["ran"]


async def test_answers_instead_of_raising(run: Runner, store: AccountStore) -> None:
    policy = Bulkhead(1, store=store, reply=lambda busy: f"{busy.limit} at once.")
    graph = harden(one(notes("ran")), [policy]).compile(InMemorySaver())
    drive(store.reserve(Account("Bulkhead|LangGraph|*", 1), 1, blocking=True))
    told = Run()

    result = await run(graph, {"messages": [("user", "hi")]}, THREAD, control=told)

    assert said(result) == ["hi", "1 at once."]
    assert told.report.outcome == "rejected"


async def test_counts_each_user_alone(store: AccountStore) -> None:
    graph = harden(one(slow), [Bulkhead(1, by=by_user, anonymous="share", store=store)]).compile()
    users = ("ada", "ada", "bob", "*", None)
    runs = (graph.ainvoke({"log": []}, user(name) if name else None) for name in users)

    results = await asyncio.gather(*runs, return_exceptions=True)

    assert [isinstance(result, Busy) for result in results] == [False, True, False, False, False]


async def test_counts_the_calls_of_the_node_that_it_is_given_for(store: AccountStore) -> None:
    places: list[int] = []

    async def work(state: State) -> Any:
        places.append(held(store, "Bulkhead|LangGraph/work|*"))
        return await slow(state)

    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])
    replies = Bulkhead(2, store=store, reply=lambda busy: {"log": ["busy"]})
    graph = harden(builder, nodes={"work": [replies]}).compile()

    assert (await graph.ainvoke({"log": []}))["log"] == ["ran", "ran", "busy"]
    assert sorted(places) == [1, 2]
    assert held(store, "Bulkhead|LangGraph/work|*") == 0


async def test_each_try_of_a_node_takes_a_place(run: Runner, store: AccountStore) -> None:
    builder = one(fails, retry_policy=AT_ONCE)
    graph = harden(builder, nodes={"node": [Bulkhead(1, store=store)]}).compile()

    with pytest.raises(ValueError, match="secret"):
        await run(graph, {"text": "1"})

    assert held(store, "Bulkhead|LangGraph/node|*") == 0


async def test_a_subgraph_has_places_of_its_own(run: Runner, store: AccountStore) -> None:
    policies = [Bulkhead(1, store=store)]
    inner = harden(one(notes("ran")), policies).compile(name="inner")
    graph = harden(one(inner), policies).compile(name="outer")

    assert (await run(graph, {"log": []}))["log"] == ["ran"]


async def test_a_command_to_the_parent_gives_the_place_back(
    run: Runner, store: AccountStore
) -> None:
    def leaves(state: State) -> Any:
        return Command(goto="after", graph=Command.PARENT)

    inner = harden(one(leaves), [Bulkhead(1, store=store)]).compile(name="inner")
    graph = one(inner, destinations=("after",)).add_node("after", notes("after")).compile()

    assert (await run(graph, {"log": []}))["log"] == ["after"]
    assert held(store, "Bulkhead|inner|*") == 0


@pytest.mark.parametrize(("choice", "facts"), [("raise", 1), ("admit", 1)])
async def test_a_store_that_is_down_does_what_was_chosen(
    run: Runner, choice: Any, facts: int
) -> None:
    down = AccountStore("valkey://127.0.0.1:1", timeout=5)
    graph = harden(one(notes("ran")), [Bulkhead(1, store=down, store_down=choice)]).compile()
    told = Run()

    if choice == "admit":
        assert (await run(graph, {"log": []}, control=told))["log"] == ["ran"]
    else:
        with pytest.raises(StoreUnavailable, match="valkey"):
            await run(graph, {"log": []}, control=told)
    assert told.report.events["store_unavailable"] == facts


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"limit": 1.5}, "limit is 1.5"),
        ({"max_wait": -1.0}, "max_wait is -1.0"),
        ({"max_wait": float("nan")}, "max_wait is nan"),
        ({"by": "user"}, "by is 'user'"),
        ({"store": "ftp://somewhere"}, "ftp://"),
        ({"store": 7}, "memory://"),
        ({"reply": 3}, "reply is 3"),
        ({"lease": 0}, "lease is 0"),
        ({"store_down": "ignore"}, "'raise' or 'admit'"),
    ],
)
def test_settings_that_cannot_work_are_refused_while_building(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Bulkhead(**{"limit": 1, **settings})


def test_the_store_s_password_does_not_show() -> None:
    assert "hunter2" not in repr(Bulkhead(1, store="valkey://ann:hunter2@localhost:1"))
