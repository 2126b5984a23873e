from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.exceptions import ModelRefusalError
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import Field
from tests.conftest import FakeClock
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, notes, one, said

from lg_prod_nodes import (
    CallRejected,
    CircuitBreaker,
    CircuitOpen,
    CircuitStore,
    ConfigurationError,
    Production,
    RateLimitExceeded,
    Run,
    StoreUnavailable,
    as_middleware,
    by_user,
    guard,
    harden,
    is_transient,
)

HELLO = {"messages": [("user", "hi")]}


class Dependency:
    """What is called: answers, or raises what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    def __call__(self, state: Any) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return {"log": ["served"]}


class Provider(FakeModel):
    """A model whose provider answers, or raises what it is told to."""

    errors: list[Exception] = Field(default_factory=list)

    def _generate(self, *args: Any, **options: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return super()._generate(*args, **options)


def limited(retry_after: float) -> Exception:
    error = Exception("slow down")
    vars(error).update(status_code=429, retry_after=retry_after)
    return error


async def outcomes(run: Runner, graph: Any, number: int) -> list[str]:
    """How as many runs end."""
    names = []
    for _ in range(number):
        try:
            await run(graph, {"log": []})
            names.append("served")
        except Exception as error:
            names.append(type(error).__name__)
    return names


def guarded(node: Any, policy: CircuitBreaker, clock: FakeClock, **options: Any) -> Any:
    return harden(one(node, **options), nodes={"node": [policy]}, clock=clock).compile()


async def test_opens_probes_and_closes(run: Runner, clock: FakeClock) -> None:
    service = Dependency()
    graph = guarded(service, CircuitBreaker(minimum=3, open_for=30.0), clock)
    service.error = ConnectionError()

    assert await outcomes(run, graph, 5) == ["ConnectionError"] * 3 + ["CircuitOpen"] * 2
    clock.advance(30.0)
    assert await outcomes(run, graph, 2) == ["ConnectionError", "CircuitOpen"]
    clock.advance(30.0)
    service.error = None
    assert await outcomes(run, graph, 3) == ["served"] * 3
    assert service.calls == 7


async def test_a_policy_that_fails_further_in_opens_no_circuit(
    run: Runner, clock: FakeClock
) -> None:
    service = Dependency()
    graph = guarded(service, CircuitBreaker(minimum=1), clock)
    service.error = StoreUnavailable("a budget's database is gone")

    assert await outcomes(run, graph, 3) == ["StoreUnavailable"] * 3


async def test_says_what_is_open_and_until_when(run: Runner, clock: FakeClock) -> None:
    service = Dependency()
    service.error = TimeoutError()
    graph = guarded(service, CircuitBreaker(minimum=1, open_for=30.0), clock)
    first, second = Run(), Run()

    with pytest.raises(TimeoutError):
        await run(graph, {"log": []}, control=first)
    clock.advance(10.0)
    with pytest.raises(CircuitOpen, match="circuit open for node; next probe in") as refusal:
        await run(graph, {"log": []}, control=second)

    assert (refusal.value.circuit, refusal.value.retry_after) == ("node", 20.0)
    assert first.report.events["circuit_opened"] == 1
    assert (second.report.events["call_rejected"], second.report.outcome) == (1, "rejected")


@pytest.mark.parametrize(
    "error",
    [ValueError(), PermissionError(), ModelRefusalError(), CallRejected("no", policy="Mine")],
)
async def test_what_the_provider_is_not_to_blame_for_does_not_count(
    run: Runner, clock: FakeClock, error: Any
) -> None:
    service = Dependency()
    service.error = error
    graph = guarded(service, CircuitBreaker(minimum=1), clock)

    assert await outcomes(run, graph, 3) == [type(error).__name__] * 3


async def test_interrupts_do_not_count(run: Runner, clock: FakeClock) -> None:
    policy, saver = CircuitBreaker(minimum=1), InMemorySaver()
    asking = one(lambda state: {"text": interrupt("how?")})
    graph = harden(asking, nodes={"node": [policy]}, clock=clock).compile(saver)

    await run(graph, {"log": []}, THREAD)
    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


async def test_classes_of_one_s_own_count(run: Runner, clock: FakeClock) -> None:
    service = Dependency()
    service.error = ValueError()
    policy = CircuitBreaker(minimum=1, classify={ValueError: "transient"})

    assert await outcomes(run, guarded(service, policy, clock), 2) == ["ValueError", "CircuitOpen"]


async def test_each_key_has_a_circuit_of_its_own(run: Runner, clock: FakeClock) -> None:
    service = Dependency()
    graph = guarded(service, CircuitBreaker(minimum=1, by=by_user), clock)
    ada, bob = ({"configurable": {"user_id": name}} for name in ("ada", "bob"))
    service.error = ConnectionError()
    with pytest.raises(ConnectionError):
        await run(graph, {"log": []}, ada)
    service.error = None

    with pytest.raises(CircuitOpen):
        await run(graph, {"log": []}, ada)
    assert (await run(graph, {"log": []}, bob))["log"] == ["served"]


async def test_models_are_met_by_name_wherever_they_are_called(
    run: Runner, clock: FakeClock
) -> None:
    down, up = Provider(model_name="down"), Provider(model_name="up")
    down.errors += [ConnectionError(), ConnectionError()]
    builder = one(asks(down), "first")
    graph = harden(builder, [CircuitBreaker(minimum=1)], clock=clock).compile()
    other = harden(one(asks(up)), [CircuitBreaker(minimum=1)], clock=clock).compile()

    with pytest.raises(ConnectionError):
        await run(graph, HELLO)
    with pytest.raises(CircuitOpen, match="circuit open for down"):
        await run(graph, HELLO)
    assert said(await run(other, HELLO)) == ["hi", "hello there"]


async def test_answers_in_the_model_s_stead(run: Runner, clock: FakeClock) -> None:
    model = Provider()
    model.errors.append(ConnectionError())
    policy = CircuitBreaker(minimum=1, reply="The model is down.")
    graph = harden(one(asks(model)), [policy], clock=clock).compile()

    with pytest.raises(ConnectionError):
        await run(graph, HELLO)
    assert said(await run(graph, HELLO)) == ["hi", "The model is down."]


async def test_a_limit_delays_the_next_attempt_and_opens_nothing(
    run: Runner, clock: FakeClock
) -> None:
    model = Provider()
    model.errors.append(limited(4.0))
    retry = RetryPolicy(initial_interval=0, jitter=False, retry_on=is_transient)
    policy = CircuitBreaker(minimum=1, max_wait=5.0)
    graph = harden(one(asks(model), retry_policy=retry), [policy], clock=clock).compile()
    told = Run()

    assert said(await run(graph, HELLO, control=told)) == ["hi", "hello there"]
    assert clock.slept == [4.0]
    facts = told.report.events
    assert (facts["provider_limited"], facts["call_delayed"], facts["circuit_opened"]) == (1, 1, 0)


async def test_a_limit_that_takes_too_long_is_passed_on(run: Runner, clock: FakeClock) -> None:
    service = Dependency()
    service.error = limited(60.0)
    graph = guarded(service, CircuitBreaker(max_wait=5.0), clock)

    with pytest.raises(Exception, match="slow down"):
        await run(graph, {"log": []})
    with pytest.raises(
        RateLimitExceeded, match=r"rate limit exceeded \(requested by node\); retry in"
    ) as refusal:
        await run(graph, {"log": []})
    assert refusal.value.retry_after == 60.0


async def test_workers_share_it(run: Runner, clock: FakeClock, dsn: str) -> None:
    service = Dependency()
    service.error = ConnectionError()
    stores = [CircuitStore(dsn) for _ in range(2)]
    mine, other = (guarded(service, CircuitBreaker(minimum=2, store=s), clock) for s in stores)

    assert await outcomes(run, mine, 1) + await outcomes(run, other, 1) == ["ConnectionError"] * 2
    assert await outcomes(run, mine, 1) + await outcomes(run, other, 1) == ["CircuitOpen"] * 2
    clock.advance(30.0)
    assert await outcomes(run, mine, 1) + await outcomes(run, other, 1) == [
        "ConnectionError",
        "CircuitOpen",
    ]
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("store_down", "seen"), [("admit", "served"), ("raise", "StoreUnavailable")]
)
async def test_a_store_that_is_down(
    run: Runner, clock: FakeClock, store_down: Any, seen: str
) -> None:
    store = CircuitStore("postgresql://127.0.0.1:1/app", timeout=0.2)
    policy = CircuitBreaker(store=store, store_down=store_down)

    assert await outcomes(run, guarded(Dependency(), policy, clock), 1) == [seen]
    store.close()


async def test_a_store_that_goes_down_meanwhile_takes_nothing_from_the_result(
    run: Runner, clock: FakeClock
) -> None:
    class Going(CircuitStore):
        changes = 0

        def _change(self, name: str, step: Any) -> Any:
            Going.changes += 1
            if Going.changes % 2 == 0:
                raise StoreUnavailable("gone")
            return super()._change(name, step)

    policy = CircuitBreaker(store=Going(), store_down="raise")
    assert await outcomes(run, guarded(Dependency(), policy, clock), 2) == ["served", "served"]


async def test_a_cancelled_call_says_nothing_and_gives_its_probe_up_to_the_next_round(
    clock: FakeClock,
) -> None:
    service, started = Dependency(), asyncio.Event()
    service.error = ConnectionError()

    async def node(state: Any) -> Any:
        started.set()
        return service(state) if service.error else await asyncio.Event().wait()

    graph = guarded(node, CircuitBreaker(minimum=1), clock)
    with pytest.raises(ConnectionError):
        await graph.ainvoke({"log": []})
    clock.advance(30.0)
    service.error = None
    started.clear()
    task = asyncio.create_task(graph.ainvoke({"log": []}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(CircuitOpen):
        await graph.ainvoke({"log": []})


def test_decorates_a_node_and_an_agent(clock: FakeClock) -> None:
    assert guard(CircuitBreaker())(notes("x"))({})["log"] == ["x"]
    assert as_middleware(CircuitBreaker()).name == "CircuitBreaker"


async def in_production(dsn: str, breaker: CircuitBreaker, **options: Any) -> str:
    """How a run ends whose node fails."""
    service = Dependency()
    service.error = ConnectionError()
    async with Production(one(service), nodes={"node": [breaker]}, postgres=dsn, **options) as app:
        try:
            await app.ainvoke({"log": []}, {"configurable": {"thread_id": uuid4().hex}})
        except Exception as error:
            return type(error).__name__
    raise AssertionError


async def test_without_a_store_circuits_are_in_the_database_of_production(dsn: str) -> None:
    breaker = CircuitBreaker(minimum=1)
    assert await in_production(dsn, breaker) == "ConnectionError"
    assert await in_production(dsn, CircuitBreaker(minimum=1)) == "CircuitOpen"
    assert await in_production(dsn, breaker) == "CircuitOpen"
    own = CircuitBreaker(minimum=1, store="memory://")
    assert await in_production(dsn, own) == "ConnectionError"

    alone = harden(one(notes(1)), nodes={"node": [breaker]}).compile()
    assert (await alone.ainvoke({"log": []}))["log"] == [1]  # back in memory


async def test_nodes_of_one_name_in_two_graphs_have_circuits_of_their_own(dsn: str) -> None:
    breaker = CircuitBreaker(minimum=1, store=dsn)
    assert await in_production(dsn, breaker, name="desk") == "ConnectionError"
    assert await in_production(dsn, breaker, name="shop") == "ConnectionError"
    assert await in_production(dsn, breaker, name="desk") == "CircuitOpen"

    shared = CircuitBreaker(minimum=1, store=dsn, by=lambda call: "the search")
    assert await in_production(dsn, shared, name="desk") == "ConnectionError"
    assert await in_production(dsn, shared, name="shop") == "CircuitOpen"
    breaker.store_in_use.close()
    shared.store_in_use.close()


@pytest.mark.parametrize(
    "settings",
    [
        *({setting: 0} for setting in ("ratio", "minimum", "probes", "window", "open_for")),
        {"max_wait": -1},
        {"store_down": "x"},
        {"counts": ("flaky",)},
        {"counts": ("transient", "refused")},
        {"store": "mysql://"},
        {"store": 3.5},
        {"by": "user"},
        {"name": ""},
        {"reply": 3},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"give|choose|leave it out"):
        CircuitBreaker(**settings)
