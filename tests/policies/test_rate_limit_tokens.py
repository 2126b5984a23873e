"""Limits on what model calls spend."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from tests.policies.conftest import AT_ONCE, THREAD, FakeModel, Runner, TravellingClock, asks, one

from lg_prod_nodes import (
    ConfigurationError,
    LimitStore,
    RateLimit,
    RateLimitExceeded,
    Run,
    by_tokens,
    harden,
)
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.usage import CallRequest, MeteredCall, Usage, estimated_tokens
from lg_prod_nodes.stores.limits.store import parse_limits

HELLO = {"messages": [("user", "hello " * 20)]}
ESTIMATE = estimated_tokens([HumanMessage("hello " * 20)])  # of a call that spends 7


def left(run: Run) -> list[int]:
    return [limit.remaining for limit in run.report.limits]


async def test_a_model_call_counts_what_it_spent(run: Runner, model: FakeModel) -> None:
    graph = harden(one(asks(model)), [RateLimit("100/minute", cost=by_tokens)]).compile()
    told = Run()

    await run(graph, HELLO, control=told)
    await run(graph, HELLO, control=told)

    assert ESTIMATE > 7
    assert left(told) == [100 - 2 * 7]


async def test_a_model_is_not_called_where_its_tokens_have_no_room(
    run: Runner, model: FakeModel, clock: TravellingClock
) -> None:
    limit = RateLimit(f"{ESTIMATE + 6}/minute", cost=by_tokens)
    graph = harden(one(asks(model)), [limit], clock=clock).compile()
    await run(graph, HELLO)

    with pytest.raises(RateLimitExceeded) as refused:
        await run(graph, HELLO)

    assert len(model.asked) == 1
    assert refused.value.retry_after == pytest.approx(60)
    clock.advance(60.1)
    await run(graph, HELLO)


def test_a_call_that_is_larger_than_the_limit_says_so(model: FakeModel) -> None:
    graph = harden(one(asks(model)), [RateLimit("5/minute", cost=by_tokens)]).compile()

    with pytest.raises(
        RateLimitExceeded, match=r"costs more than the rate limit ever allows \(5 per minute\)"
    ) as refused:
        graph.invoke(HELLO)

    assert refused.value.retry_after is None
    assert model.asked == []


def test_a_refused_model_answers_with_a_reply(model: FakeModel) -> None:
    limit = RateLimit("5/minute", cost=by_tokens, reply="Too long.")
    graph = harden(one(asks(model)), [limit]).compile()

    assert graph.invoke(HELLO)["messages"][-1].text == "Too long."


def test_the_models_of_all_nodes_count_together(model: FakeModel) -> None:
    builder = one(asks(model), "first").add_node("second", asks(model)).add_edge("first", "second")
    told = Run()

    harden(builder, [RateLimit("100/minute", cost=by_tokens)]).compile().invoke(HELLO, control=told)

    assert left(told) == [100 - 2 * 7]


def test_each_try_counts_for_it_is_spent_each_time(model: FakeModel) -> None:
    tries = []

    def node(state: Any) -> Any:
        tries.append(model.invoke(state["messages"]))
        if len(tries) < 3:
            raise ValueError("again")

    builder, told = one(node, retry_policy=AT_ONCE), Run()
    graph = harden(builder, [RateLimit("100/minute", cost=by_tokens)]).compile()
    graph.invoke(HELLO, control=told)

    assert left(told) == [100 - 3 * 7]


def test_a_call_after_a_resumption_counts_for_it_is_spent_again(model: FakeModel) -> None:
    def node(state: Any) -> Any:
        model.invoke(state["messages"])
        return {"text": interrupt("how?")}

    told = Run()
    limit = RateLimit("100/minute", cost=by_tokens)
    graph = harden(one(node), [limit]).compile(InMemorySaver())
    graph.invoke(HELLO, THREAD)
    graph.invoke(Command(resume="so"), THREAD, control=told)

    assert left(told) == [100 - 2 * 7]


def call_of(max_output_tokens: int | None = None, *, blocking: bool = True) -> Call:
    return Call(
        kind="model",
        name="gpt",
        input=[HumanMessage("hello " * 20)],
        run=Run(),
        blocking=blocking,
        request=CallRequest(max_output_tokens),
    )


def spend(call: Call, input_tokens: int, output_tokens: int = 0) -> None:
    assert call.request is not None
    usage = Usage(calls=1, input_tokens=input_tokens, output_tokens=output_tokens)
    call.request.note(MeteredCall("1", "gpt", "answered", usage, 0.1))


def test_tokens_are_estimated_before_a_call_and_known_after_it() -> None:
    call = call_of(max_output_tokens=500)

    assert by_tokens(call) == ESTIMATE + 500
    spend(call, 40, 2)
    assert by_tokens(call) == 42


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_call_that_spent_more_is_counted_beyond_the_limit(blocking: bool) -> None:
    limit = RateLimit("100/minute", cost=by_tokens, store=LimitStore())

    async def handler(call: Call) -> str:
        spend(call, 400)
        return "said"

    call = call_of(blocking=blocking)
    assert await limit.wrap(call, handler) == "said"
    with pytest.raises(RateLimitExceeded):
        await limit.wrap(call_of(blocking=blocking), handler)
    assert left(call.run) == [0]


async def test_a_call_that_failed_unanswered_keeps_its_estimate() -> None:
    limit = RateLimit("100/minute", cost=by_tokens)

    async def handler(call: Call) -> str:
        raise ValueError("no answer")

    call = call_of(blocking=True)
    with pytest.raises(ValueError, match="no answer"):
        await limit.wrap(call, handler)
    assert left(call.run) == [100 - ESTIMATE]


class Bursts:
    """A model without a maximum whose calls overlap: each begins before another has ended."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit, self.served = limit, 0

    async def call(self, depth: int) -> None:
        async def handler(call: Call) -> str:
            self.served += 1
            if depth > 1:
                with suppress(RateLimitExceeded):
                    await self.call(depth - 1)
            spend(call, ESTIMATE, 300)
            return "said"

        await self.limit.wrap(call_of(), handler)


@pytest.mark.parametrize(("quota", "at_once"), [(1000, 1), (10_000, 3)])
async def test_a_burst_of_models_without_a_maximum_does_not_pass(quota: int, at_once: int) -> None:
    burst = Bursts(RateLimit(f"{quota}/minute", cost=by_tokens))
    await burst.call(20)

    assert burst.served == at_once


async def test_a_model_without_a_maximum_uses_all_of_its_limit_call_by_call(
    run: Runner, model: FakeModel
) -> None:
    graph = harden(one(asks(model)), [RateLimit("100/minute", cost=by_tokens)]).compile()
    served = (100 - ESTIMATE - 1) // 7 + 1
    for _ in range(served):
        await run(graph, HELLO)
    with pytest.raises(RateLimitExceeded) as refused:
        await run(graph, HELLO)

    assert len(model.asked) == served
    assert 0 < (refused.value.retry_after or 0) <= 60


async def test_an_answer_that_is_yet_to_be_read_keeps_all_that_it_may_cost() -> None:
    limit = RateLimit("9000/minute", cost=by_tokens)

    async def handler(call: Call) -> Any:
        return object.__new__(ChatModelStream)

    call = call_of()
    await limit.wrap(call, handler)
    assert left(call.run) == [9000 - ESTIMATE - 4096]


@pytest.mark.parametrize("cost", [1, 40])
async def test_what_a_cancelled_caller_was_to_take_is_given_back(dsn: str, cost: int) -> None:
    limits = parse_limits("100/hour")
    with LimitStore(dsn, timeout=30) as store, psycopg.connect(dsn) as other:
        await store.acquire(limits, "ada", blocking=False)
        other.execute("LOCK TABLE lg_prod_nodes_limit_entries IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.create_task(store.acquire(limits, "ada", cost=cost, blocking=False))
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while other.execute(query).fetchone() == (0,):
            await asyncio.sleep(0)
            other.execute("SELECT pg_stat_clear_snapshot()")
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        other.rollback()
        async with asyncio.timeout(20):
            remaining = 0
            while remaining != 99:
                seen = await store.adjust(limits, "ada", by=0, since=0.0, blocking=False)
                remaining = seen.tightest.remaining


def test_a_call_may_count_by_any_function_of_it() -> None:
    limit = RateLimit("10/minute", cost=lambda call: len(call.input["log"]))
    graph = harden(one(lambda state: None), [limit]).compile()
    told = Run()

    graph.invoke({"log": ["a"] * 6}, control=told)
    graph.invoke({"log": []}, control=told)

    assert left(told) == [4]
    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": ["a"] * 5})


@pytest.mark.parametrize("cost", [-1, 1.5, "2", None])
def test_a_cost_that_is_no_whole_number_is_refused(cost: Any) -> None:
    graph = harden(one(lambda state: None), [RateLimit("9/minute", cost=lambda _: cost)]).compile()

    with pytest.raises(ConfigurationError, match=r"cost gave .*whole number"):
        graph.invoke({"log": []})
