"""What a caller may try to run without being counted, and what an honest caller must still get for free."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt
from tests.policies.conftest import THREAD, FakeModel, Runner, State, fails, notes, one

from lg_prod_nodes import (
    BudgetExceeded,
    CallRejected,
    LimitStore,
    Policy,
    RateLimit,
    RateLimitExceeded,
    TokenBudget,
    harden,
)

TWICE = "2/hour"
MANY = 12
HI: Any = {"log": ["hi"]}


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


class Counts:
    """A node that counts its executions, and ends each as it is told to."""

    def __init__(self, end: Any = None) -> None:
        self.times, self.end = 0, end or notes("ran")

    def __call__(self, state: State) -> Any:
        self.times += 1
        return self.end(state)


def asks(state: State) -> Any:
    return {"text": interrupt("ok?")}


def limited(node: Any, text: str = TWICE, **options: Any) -> Any:
    return harden(one(node), [RateLimit(text)]).compile(InMemorySaver(), **options)


def at_node(node: Any, text: str = TWICE) -> Any:
    return harden(one(node), nodes={"node": [RateLimit(text)]}).compile(InMemorySaver())


async def often(run: Runner, graph: Any, input: Any, config: Any, times: int = MANY) -> None:
    for _ in range(times):
        with suppress(CallRejected, ValueError):
            await run(graph, input, config)


@pytest.mark.parametrize("where", ["top", "configurable", "metadata"])
@pytest.mark.parametrize("saver", [None, InMemorySaver()])
async def test_a_run_id_that_is_repeated_pays_for_each_run(
    run: Runner, where: str, saver: Any
) -> None:
    counts = Counts()
    graph = harden(one(counts), [RateLimit(TWICE)]).compile(saver)
    run_id = "0e9e5154-fa59-4c41-bd86-7f1abee47549"
    for number in range(MANY):
        config: Any = thread(f"{where} {number} {id(run)}")
        if where == "top":
            config["run_id"] = run_id
        else:
            config.setdefault(where, {})["run_id"] = run_id
        await often(run, graph, HI, config, 1)

    assert counts.times == 2


@pytest.mark.parametrize("as_node", ["__start__", "__input__", None, "first"])
async def test_running_on_from_an_update_is_counted(run: Runner, as_node: str | None) -> None:
    counts = Counts()
    builder = one(counts).add_node("first", notes("first")).add_edge("first", "node")
    graph = harden(builder, [RateLimit(TWICE)]).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    for _ in range(MANY):
        graph.update_state(THREAD, HI, as_node=as_node)
        await often(run, graph, None, THREAD, 1)

    assert counts.times <= 2


async def test_running_on_from_a_copy_of_a_checkpoint_is_counted(run: Runner) -> None:
    counts = Counts()
    graph = limited(counts)
    await run(graph, HI, THREAD)
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("node",))
    for _ in range(MANY):
        graph.update_state(before, None, as_node="__copy__")
        await often(run, graph, None, THREAD, 1)

    assert counts.times == 2


async def test_an_update_that_crashes_is_counted_once(run: Runner) -> None:
    counts = Counts(fails)
    graph = limited(counts)
    graph.update_state(THREAD, HI, as_node="__start__")
    await often(run, graph, None, THREAD, 2)
    counts.end = notes("ran")

    assert (await run(graph, None, THREAD))["log"] == ["hi", "ran"]
    await run(graph, HI, THREAD)
    with pytest.raises(RateLimitExceeded):
        await run(graph, HI, THREAD)


@pytest.mark.parametrize("answer", [1, {"0" * 32: 1}])
async def test_an_answer_to_no_question_is_counted(run: Runner, answer: Any) -> None:
    counts = Counts()
    graph = limited(counts)
    for number in range(MANY):
        await often(run, graph, Command(resume=answer), thread(str(number)), 1)

    assert counts.times <= 2


@pytest.mark.parametrize("way", [None, Command(resume={"0" * 32: 1}), Command(resume={})])
@pytest.mark.parametrize("harden_at", [limited, at_node])
async def test_steps_that_wait_for_a_person_are_counted_each_time_they_are_repeated(
    run: Runner, harden_at: Any, way: Any
) -> None:
    counts = Counts(asks)
    graph = harden_at(counts)
    await run(graph, HI, THREAD)
    await often(run, graph, way, THREAD)

    assert counts.times == 2


async def test_a_repetition_by_the_run_s_id_in_the_metadata_is_counted(run: Runner) -> None:
    counts = Counts(asks)
    graph = limited(counts)
    await often(run, graph, HI, {**THREAD, "metadata": {"run_id": "job 1"}})

    assert counts.times == 2


@pytest.mark.parametrize("place", ["checkpoint_id", "checkpoint_map"])
async def test_going_back_to_a_checkpoint_is_counted_however_it_is_named(
    run: Runner, place: str
) -> None:
    counts = Counts()
    graph = limited(counts)
    await run(graph, HI, THREAD)
    before = next(s.config for s in graph.get_state_history(THREAD) if s.next == ("node",))
    named = before["configurable"]["checkpoint_id"]
    there = {place: named if place == "checkpoint_id" else {"": named}, "checkpoint_ns": ""}
    await often(run, graph, None, {"configurable": {**THREAD["configurable"], **there}})

    assert counts.times == 2


@pytest.mark.parametrize("harden_at", [limited, at_node])
async def test_a_run_that_fails_for_ever_is_not_free_for_ever(run: Runner, harden_at: Any) -> None:
    counts = Counts(fails)
    graph = harden_at(counts)
    await often(run, graph, HI, THREAD, 1)
    await often(run, graph, None, THREAD, 50)

    assert counts.times <= 1 + 3 + 1


async def test_a_run_that_fails_is_tried_again_for_free(run: Runner) -> None:
    counts = Counts(fails)
    graph = limited(counts, "1/hour")
    await often(run, graph, HI, THREAD, 1)
    await often(run, graph, None, THREAD, 2)
    counts.end = notes("ran")

    assert (await run(graph, None, THREAD))["log"] == ["hi", "ran"]
    assert counts.times == 4


async def test_a_run_that_is_delivered_twice_is_counted_once(run: Runner) -> None:
    counts = Counts(fails)
    graph = limited(counts, "1/hour")
    job: Any = {**THREAD, "metadata": {"run_id": "job 1"}}
    await often(run, graph, HI, job, 1)
    counts.end = notes("ran")

    for _ in range(2):
        assert (await run(graph, HI, job))["log"] == ["hi", "ran"]
    assert counts.times == 2
    with pytest.raises(RateLimitExceeded):
        await run(graph, HI, {**THREAD, "metadata": {"run_id": "job 2"}})


async def test_a_conversation_of_one_run_answers_as_often_as_it_likes(run: Runner) -> None:
    def converses(state: State) -> Any:
        return {"log": [interrupt(number) for number in range(8)]}

    graph = limited(converses, "1/hour")
    await run(graph, HI, THREAD)
    for number in range(8):
        await run(graph, Command(resume=number), THREAD)

    assert graph.get_state(THREAD).values["log"] == ["hi", *range(8)]


async def test_a_question_of_a_subgraph_is_answered_for_free(run: Runner) -> None:
    inner = one(asks).compile()
    graph = limited(inner, "1/hour")
    await run(graph, {"text": "1"}, THREAD)

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


def test_a_workflow_resumes_and_repeats_its_failures_for_free() -> None:
    times = 0

    @task
    def works() -> str:
        nonlocal times
        times += 1
        if times == 1:
            raise ValueError
        return "worked"

    @entrypoint(checkpointer=InMemorySaver())
    def flow(given: str) -> str:
        return works().result() + interrupt("and?")

    graph = harden(flow, [RateLimit("1/hour")])
    with pytest.raises(ValueError):  # noqa: PT011
        graph.invoke("x", THREAD)
    graph.invoke(None, THREAD)

    assert graph.invoke(Command(resume="!"), THREAD) == "worked!"


async def test_other_workers_know_what_is_repeated(run: Runner, dsn: str) -> None:
    saver, counts = InMemorySaver(), Counts(fails)
    with LimitStore(dsn) as store:

        def worker() -> Any:
            return harden(one(counts), [RateLimit("1/hour", store=store)]).compile(saver)

        await often(run, worker(), HI, THREAD, 1)
        for _ in range(MANY):
            await often(run, worker(), None, THREAD, 1)

    assert counts.times == 1 + 3


@pytest.mark.parametrize("reply", [None, "Slow down."])
async def test_a_refused_resumption_leaves_the_thread_as_it_was(
    run: Runner, reply: str | None
) -> None:
    graph = harden(one(asks), [RateLimit("1/hour", reply=reply)]).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    with pytest.raises(RateLimitExceeded):
        await run(graph, None, THREAD)

    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"


async def test_an_update_that_is_refused_gets_its_reply(run: Runner) -> None:
    counts = Counts()
    graph = harden(one(counts), [RateLimit("1/hour", reply="Slow down.")]).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    graph.update_state(THREAD, HI, as_node="__start__")
    result = await run(graph, None, THREAD)

    assert [message.text for message in result["messages"]] == ["Slow down."]
    assert counts.times == 1


class Allows(Policy):
    """Lets resumed runs pass, and refuses all others, as a policy of one's own may."""

    kinds = frozenset({"run"})

    async def wrap(self, call: Any, handler: Any) -> Any:
        if call.resumed:
            return await handler(call)
        raise CallRejected("closed", policy="Allows")


async def test_a_policy_of_one_s_own_is_not_told_that_new_work_is_resumed(run: Runner) -> None:
    counts = Counts()
    graph = harden(one(counts), [Allows()]).compile(InMemorySaver())
    graph.update_state(THREAD, HI, as_node="__start__")
    for input in (None, Command(resume=1)):
        with pytest.raises(CallRejected):
            await run(graph, input, thread("2"))
    with pytest.raises(CallRejected):
        await run(graph, None, THREAD)

    assert counts.times == 0


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("end", [asks, fails])
async def test_a_budget_pays_for_each_repetition_of_a_node(
    run: Runner, model: FakeModel, ask: bool, end: Any
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        return end(state)

    policy = TokenBudget("50", max_output=10, ask=ask)
    graph = harden(one(node), [policy]).compile(InMemorySaver())
    await often(run, graph, HI, THREAD, 1)
    await often(run, graph, None, THREAD, 30)

    assert len(model.asked) * 7 <= 50 + 7 * (2 if ask else 0)
    with pytest.raises(BudgetExceeded):
        await run(graph, None, THREAD)


async def test_a_budget_that_counts_once_pays_for_steps_that_nobody_answered(
    run: Runner, model: FakeModel
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        return asks(state)

    policy = TokenBudget("50", max_output=10, counting="once")
    graph = harden(one(node), [policy]).compile(InMemorySaver())
    await run(graph, HI, THREAD)
    await often(run, graph, None, THREAD, 30)

    assert len(model.asked) * 7 <= 50
    with suppress(BudgetExceeded):
        await run(graph, Command(resume="so"), THREAD)
