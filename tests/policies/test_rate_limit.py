from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.policies.conftest import THREAD, Runner, TravellingClock, notes, one, said, saved

from lg_prod_nodes import RateLimit, RateLimitExceeded, Redact, Run, by_user, harden


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

    assert refused.value.limit == "2 per 1 minute"
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

    assert ran(graph.invoke({"log": []})) == ["1 per 1 hour"]


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
    assert told.report.facts["call_delayed"] == 1


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

    assert told.report.remaining == {"3 per 1 minute": 1, "5 per 1 hour": 3}


def test_of_several_limits_all_must_have_room(clock: TravellingClock) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/second;2/hour")], clock=clock).compile()
    refusals = []

    for _ in range(3):
        refusal = _refusal(graph)
        refusals.append(refusal and refusal.limit)
        clock.advance(1.1)

    assert refusals == [None, None, "2 per 1 hour"]


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
