from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.policies.conftest import THREAD, Runner, TravellingClock, notes, one, said, saved

from lg_prod_nodes import (
    ConfigurationError,
    LimitStore,
    RateLimit,
    RateLimitExceeded,
    Redact,
    Run,
    by_user,
    harden,
)


def user(name: str) -> dict[str, Any]:
    return {"configurable": {"user_id": name, "thread_id": name}}


def ran(result: Any) -> list[Any]:
    return list(result["log"])


async def test_refuses_what_is_over_the_limit_until_the_window_reopens(
    run: Runner, clock: TravellingClock
) -> None:
    graph = harden(one(notes("ran")), [RateLimit("2/minute")], clock=clock).compile()
    await run(graph, {"text": "1"})
    clock.advance(20)
    await run(graph, {"text": "2"})

    with pytest.raises(RateLimitExceeded) as refused:
        await run(graph, {"text": "3"})

    assert refused.value.limit == "2 per minute"
    assert refused.value.retry_after == pytest.approx(40)
    assert refused.value.policy == "RateLimit"
    clock.advance(40.1)
    assert ran(await run(graph, {"text": "4"})) == ["ran"]


async def test_a_refused_run_leaves_nothing_in_its_thread(run: Runner) -> None:
    saver = InMemorySaver()
    graph = harden(one(notes("ran")), [RateLimit("1/hour")]).compile(saver)
    await run(graph, {"text": "first"}, THREAD)
    before = saved(saver)

    with pytest.raises(RateLimitExceeded):
        await run(graph, {"text": "second"}, THREAD)

    assert saved(saver) == before


@pytest.mark.parametrize("checkpointer", [True, False])
@pytest.mark.parametrize(
    "reply", ["Slow down.", lambda refused: {"messages": [("ai", "Slow down.")]}]
)
async def test_answers_instead_of_raising_and_the_thread_stays_usable(
    run: Runner, clock: TravellingClock, reply: Any, checkpointer: bool
) -> None:
    builder = one(lambda state: {"messages": [("ai", "served")]})
    limited = harden(builder, [RateLimit("1/minute", reply=reply)], clock=clock)
    graph = limited.compile(InMemorySaver() if checkpointer else None)
    told = Run()

    await run(graph, {"messages": [("user", "1")]}, THREAD)
    refused = await run(graph, {"messages": [("user", "2")]}, THREAD, control=told)
    clock.advance(61)
    later = await run(graph, {"messages": [("user", "3")]}, THREAD)

    assert said(refused)[-2:] == ["2", "Slow down."]
    assert said(later)[-2:] == ["3", "served"]
    assert told.report.outcome == "rejected"
    if checkpointer:
        assert said(later) == ["1", "served", "2", "Slow down.", "3", "served"]
        assert graph.get_state(THREAD).next == ()


def test_a_reply_without_a_thread_fails_as_a_run_does() -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", reply="Slow down.")])
    app = graph.compile(InMemorySaver())
    app.invoke({"text": "1"}, THREAD)

    with pytest.raises(ValueError, match="thread_id"):
        app.invoke({"text": "2"})


@pytest.mark.parametrize("mode", ["updates", "messages", ["values", "updates"]])
def test_a_reply_shows_in_every_stream(mode: Any) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", reply="Slow down.")]).compile()
    graph.invoke({"text": "1"})

    assert "Slow down." in repr(list(graph.stream({"text": "2"}, stream_mode=mode)))


def test_a_reply_is_told_what_was_refused() -> None:
    limit = RateLimit("1/hour", reply=lambda refused: {"log": [refused.limit]})
    graph = harden(one(notes("ran")), [limit]).compile()
    graph.invoke({"log": []})

    assert ran(graph.invoke({"log": []})) == ["1 per hour"]


def test_what_lands_beside_a_reply_is_redacted() -> None:
    policies = [RateLimit("1/hour", reply="Slow down."), Redact("EMAIL_ADDRESS")]
    saver = InMemorySaver()
    graph = harden(one(notes("ran")), policies).compile(saver)
    graph.invoke({"text": "x"}, THREAD)

    graph.invoke({"messages": [("user", "I am ann@example.com")]}, THREAD)

    assert "ann@example.com" not in saved(saver)


async def test_waits_for_room(run: Runner, clock: TravellingClock) -> None:
    limit = RateLimit("2/second", max_wait=1.5)
    graph = harden(one(notes("ran")), [limit], clock=clock).compile()
    await run(graph, {"text": "1"})
    await run(graph, {"text": "2"})
    told = Run()

    assert ran(await run(graph, {"text": "3"}, control=told)) == ["ran"]
    assert sum(clock.slept) == pytest.approx(1, abs=0.01)
    assert told.report.events["call_delayed"] == 1


async def test_does_not_begin_a_wait_that_would_be_in_vain(
    run: Runner, clock: TravellingClock
) -> None:
    limit = RateLimit("1/minute", max_wait=59.0)
    graph = harden(one(notes("ran")), [limit], clock=clock).compile()
    await run(graph, {"text": "1"})

    with pytest.raises(RateLimitExceeded):
        await run(graph, {"text": "2"})
    assert clock.slept == []


def test_a_wait_as_long_as_the_window_is_enough(clock: TravellingClock) -> None:
    limit = RateLimit("1/second", max_wait=1.0)
    graph = harden(one(notes("ran")), [limit], clock=clock).compile()
    graph.invoke({"text": "1"})

    assert ran(graph.invoke({"text": "2"})) == ["ran"]


def test_tells_what_is_left_of_each_limit() -> None:
    graph = harden(one(notes("ran")), [RateLimit("3/minute;5/hour")]).compile()
    told = Run()

    graph.invoke({"text": "1"})
    graph.invoke({"text": "2"}, control=told)

    left = {limit.limit: limit.remaining for limit in told.report.limits}
    assert left == {"3 per minute": 1, "5 per hour": 3}


def test_of_several_limits_all_must_have_room(clock: TravellingClock) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/second;2/hour")], clock=clock).compile()
    refusals = []

    for _ in range(3):
        refusal = _refusal(graph)
        refusals.append(refusal and refusal.limit)
        clock.advance(1.1)

    assert refusals == [None, None, "2 per hour"]


def test_of_several_limits_the_last_to_reopen_says_when_to_try_again(
    clock: TravellingClock,
) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/second;1/hour")], clock=clock).compile()
    graph.invoke({"text": "1"})

    refusal = _refusal(graph)

    assert refusal is not None
    assert refusal.retry_after == pytest.approx(3600)


def _refusal(graph: Any) -> RateLimitExceeded | None:
    try:
        graph.invoke({"text": "x"})
    except RateLimitExceeded as refusal:
        return refusal
    return None


async def test_counts_each_user_alone(run: Runner) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", by=by_user)]).compile()

    await run(graph, {"text": "1"}, user("ada"))
    await run(graph, {"text": "1"}, user("bob"))

    with pytest.raises(RateLimitExceeded):
        await run(graph, {"text": "2"}, user("ada"))


def test_counts_by_any_function_of_the_call() -> None:
    limit = RateLimit("1/hour", by=lambda call: call.input["text"])
    graph = harden(one(notes("ran")), [limit]).compile()

    graph.invoke({"text": "a"})
    graph.invoke({"text": "b"})

    with pytest.raises(RateLimitExceeded):
        graph.invoke({"text": "a"})


def test_concurrent_runs_never_pass_the_limit() -> None:
    graph = harden(one(notes("ran")), [RateLimit("10/hour")]).compile()

    async def together() -> list[Any]:
        runs = [graph.ainvoke({"text": "x"}) for _ in range(30)]
        return await asyncio.gather(*runs, return_exceptions=True)

    results = asyncio.run(together())

    assert sum(isinstance(result, RateLimitExceeded) for result in results) == 20


def test_limits_of_the_same_rate_are_told_apart() -> None:
    limits = [RateLimit("3/hour", by=by_user), RateLimit("3/hour"), RateLimit("3/hour", name="all")]
    graph = harden(one(notes("ran")), limits).compile()
    told = Run()
    graph.invoke({"text": "1"}, user("ada"))
    graph.invoke({"text": "2"}, user("bob"), control=told)

    assert [(limit.policy, limit.remaining) for limit in told.report.limits] == [
        ("RateLimit", 2),
        ("RateLimit", 1),
        ("all", 1),
    ]
    assert {(limit.quota, limit.window, limit.limit) for limit in told.report.limits} == {
        (3, 3600, "3 per hour")
    }


def test_a_refusal_says_how_the_limits_stand() -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour;5/day")]).compile()
    graph.invoke({"text": "1"})

    refusal = _refusal(graph)

    assert refusal is not None
    assert [limit.remaining for limit in refusal.limits] == [0, 4]
    assert pickle.loads(pickle.dumps(refusal)).limits == refusal.limits


PLANS = {"free": "1/hour", "pro": "3/hour", "own": None}


async def test_each_plan_has_a_rate_of_its_own(run: Runner) -> None:
    limit = RateLimit(lambda call: PLANS[call.config["configurable"]["plan"]], by=by_user)
    graph = harden(one(notes("ran")), [limit]).compile()
    passed = {}

    for plan in PLANS:
        config = {"configurable": {"user_id": plan, "plan": plan}}
        results = [await _passes(run, graph, config) for _ in range(5)]
        passed[plan] = sum(results)

    assert passed == {"free": 1, "pro": 3, "own": 5}


async def _passes(run: Runner, graph: Any, config: Any) -> bool:
    try:
        return bool(await run(graph, {"text": "x"}, config))
    except RateLimitExceeded:
        return False


def test_a_rate_that_changes_counts_from_the_next_call() -> None:
    rate = ["1/hour"]
    graph = harden(one(notes("ran")), [RateLimit(lambda call: rate[0])]).compile()
    graph.invoke({"text": "1"})
    assert _refusal(graph)
    rate[0] = "2/hour"

    assert [_refusal(graph) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("given", ["often", 3, "0/second", ["1/hour"]])
def test_a_rate_that_cannot_be_read_is_refused_with_what_was_given(given: Any) -> None:
    graph = harden(one(notes("ran")), [RateLimit(lambda call: given)]).compile()

    with pytest.raises(ConfigurationError) as refused:
        graph.invoke({"text": "1"})
    assert str(given) in str(refused.value)


@pytest.mark.parametrize("max_wait", [0.0, 5.0])
async def test_a_shadow_tells_what_it_would_refuse(
    run: Runner, clock: TravellingClock, max_wait: float
) -> None:
    limit = RateLimit("1/second", shadow=True, max_wait=max_wait, reply="Slow down.")
    graph = harden(one(notes("ran")), [limit], clock=clock).compile()
    told = [Run(), Run()]

    for one_run in told:
        assert ran(await run(graph, {"text": "1"}, control=one_run)) == ["ran"]

    assert [one_run.report.events["call_would_be_rejected"] for one_run in told] == [0, 1]
    assert told[1].report.outcome == "ok"
    assert told[1].report.limits[0].remaining == 0
    assert clock.slept == []


async def test_a_shadow_stops_nobody_while_its_store_is_down(run: Runner) -> None:
    store = LimitStore("valkey://127.0.0.1:1", timeout=0.2)
    graph = harden(one(notes("ran")), [RateLimit("1/hour", shadow=True, store=store)]).compile()
    told = Run()

    assert ran(await run(graph, {"text": "1"}, control=told)) == ["ran"]
    assert told.report.events["store_unavailable"] == 1
    store.close()


def test_a_key_that_spells_like_nobody_counts_alone() -> None:
    keys = iter([None, "*", "", None])
    limit = RateLimit("1/hour", by=lambda call: next(keys), anonymous="share")
    graph = harden(one(notes("ran")), [limit]).compile()

    assert [_refusal(graph) is None for _ in range(4)] == [True, True, True, False]
