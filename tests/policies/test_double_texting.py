"""One run at a time on a thread, in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

import anyio
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from tests.conftest import FakeClock
from tests.policies.conftest import THREAD, State, notes, one, said

from lg_prod_nodes import (
    Busy,
    Call,
    ConfigurationError,
    Deadline,
    DeadlineExceeded,
    DoubleTexting,
    Handler,
    Metrics,
    Policy,
    Run,
    RunInterrupted,
    ThreadBusy,
    ThreadStore,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.threads.line import Strategy

SECONDS = 20
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Stage:
    """A graph of three nodes whose second one stands still for messages that say so."""

    def __init__(self, *policies: Any, strategy: Strategy = "reject", **settings: Any) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.areached, self.ago_on = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []
        self.store = ThreadStore()
        self.saver = InMemorySaver()
        settings = {"store": self.store} | settings
        self.policy = DoubleTexting(strategy, **settings)
        builder = (
            StateGraph(State).add_node("first", notes("first")).add_node("second", self.second())
        )
        builder.add_node("third", notes("third")).add_edge(START, "first")
        builder.add_edge("first", "second").add_edge("second", "third")
        self.graph = harden(builder, [*policies, self.policy]).compile(checkpointer=self.saver)

    def second(self) -> Any:
        from langchain_core.runnables import RunnableLambda

        def stands(state: Any) -> Any:
            if said(state)[-1] == "stand":
                self.reached.set()
                assert self.go_on.wait(SECONDS)
                self.ended.append("sync")
            return {"log": ["second"], "messages": [("ai", f"re {said(state)[-1]}")]}

        async def astands(state: Any) -> Any:
            if said(state)[-1] == "stand":
                self.areached.set()
                try:
                    await asyncio.wait_for(self.ago_on.wait(), SECONDS)
                except asyncio.CancelledError:
                    self.ended.append("cancelled")
                    raise
            return {"log": ["second"], "messages": [("ai", f"re {said(state)[-1]}")]}

        return RunnableLambda(stands, astands, name="second")

    @property
    def state(self) -> Any:
        return self.graph.get_state(THREAD)


def message(text: str) -> Any:
    return {"messages": [("user", text)]}


@dataclass
class Sync:
    """Runs in threads, as a threaded server has them."""

    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    async def begin(self, stage: Stage, text: str, **configurable: Any) -> Future[Any]:
        return self.threads.submit(stage.graph.invoke, message(text), given(configurable))

    async def stand(self, stage: Stage, **configurable: Any) -> Future[Any]:
        running = await self.begin(stage, "stand", **configurable)
        assert await asyncio.to_thread(stage.reached.wait, SECONDS)
        return running

    async def end(self, running: Future[Any]) -> Any:
        return await asyncio.wait_for(asyncio.wrap_future(running), SECONDS)

    def go_on(self, stage: Stage) -> None:
        stage.go_on.set()


@dataclass
class Async:
    """Runs in tasks of one event loop."""

    async def begin(self, stage: Stage, text: str, **configurable: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(stage.graph.ainvoke(message(text), given(configurable)))

    async def stand(self, stage: Stage, **configurable: Any) -> asyncio.Task[Any]:
        running = await self.begin(stage, "stand", **configurable)
        await asyncio.wait_for(stage.areached.wait(), SECONDS)
        return running

    async def end(self, running: asyncio.Task[Any]) -> Any:
        return await asyncio.wait_for(running, SECONDS)

    def go_on(self, stage: Stage) -> None:
        stage.ago_on.set()


Way = Sync | Async


def given(configurable: dict[str, Any]) -> RunnableConfig:
    return {"configurable": {**THREAD["configurable"], **configurable}}


@pytest.fixture(params=["sync", "async"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    if request.param == "async":
        yield Async()
        return
    with ThreadPoolExecutor(8) as threads:
        yield Sync(threads)


async def waiting(stage: Stage, runs: int) -> None:
    """Return when so many runs have the thread or wait for it."""
    for _ in range(2000):
        rows = stage.store._backend.beat("", 0.0).values()
        if any((row.line or "").count('"run"') == runs for row in rows):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nobody waits")


async def test_reject_refuses_a_second_run(way: Way) -> None:
    stage = Stage(strategy="reject")
    running = await way.stand(stage)

    with pytest.raises(ThreadBusy, match="thread is busy with another run") as refused:
        await way.end(await way.begin(stage, "hi"))
    way.go_on(stage)

    assert isinstance(refused.value, Busy)
    assert said(await way.end(running)) == ["stand", "re stand"]
    assert said(await way.end(await way.begin(stage, "hi")))[-1] == "re hi"


async def test_a_refused_run_may_be_answered_and_leaves_the_thread_alone(way: Way) -> None:
    stage = Stage(strategy="reject", reply="One moment.")
    running = await way.stand(stage)

    assert said(await way.end(await way.begin(stage, "hi"))) == ["hi", "One moment."]
    way.go_on(stage)

    await way.end(running)
    assert said(stage.state.values) == ["stand", "re stand"]


async def test_other_threads_are_free(way: Way) -> None:
    stage = Stage(strategy="reject")
    running = await way.stand(stage)
    assert said(await way.end(await way.begin(stage, "hi", thread_id="other"))) == ["hi", "re hi"]
    way.go_on(stage)
    await way.end(running)


async def test_enqueue_serves_in_order(way: Way) -> None:
    stage = Stage(strategy="enqueue")
    running = [await way.stand(stage)]
    for n, text in enumerate("abc"):
        running.append(await way.begin(stage, text))
        await waiting(stage, n + 2)
    way.go_on(stage)

    for each in running:
        await way.end(each)
    expected = [word for text in ("stand", *"abc") for word in (text, f"re {text}")]
    assert said(stage.state.values) == expected


async def test_no_more_wait_than_may(way: Way) -> None:
    stage = Stage(strategy="enqueue", max_queue=1)
    running = [await way.stand(stage), await way.begin(stage, "waits")]
    await waiting(stage, 2)
    with pytest.raises(ThreadBusy, match="busy with 2 other runs"):
        await way.end(await way.begin(stage, "too many"))
    way.go_on(stage)
    for each in running:
        await way.end(each)


async def test_a_run_waits_no_longer_than_it_may(way: Way) -> None:
    stage = Stage(strategy="enqueue", max_wait=0.05)
    running = await way.stand(stage)
    with pytest.raises(ThreadBusy):
        await way.end(await way.begin(stage, "impatient"))
    await waiting(stage, 1)
    way.go_on(stage)
    await way.end(running)


async def test_a_run_waits_no_longer_than_its_deadline(way: Way) -> None:
    stage = Stage(strategy="enqueue")
    late = Stage(Deadline(0.5), strategy="enqueue", store=stage.store)
    running = await way.stand(stage)
    with pytest.raises(DeadlineExceeded):
        await way.end(await way.begin(late, "late"))
    await waiting(stage, 1)
    way.go_on(stage)
    await way.end(running)


async def test_a_cancelled_run_leaves_the_line() -> None:
    stage, way = Stage(strategy="enqueue"), Async()
    running = await way.stand(stage)
    left = await way.begin(stage, "left")
    await waiting(stage, 2)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    await waiting(stage, 1)
    way.go_on(stage)
    await way.end(running)
    assert said(await way.end(await way.begin(stage, "next"))) == [
        "stand",
        "re stand",
        "next",
        "re next",
    ]


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_newer_run_stops_the_one_that_runs(way: Way, strategy: Strategy) -> None:
    stage = Stage(strategy=strategy)
    await way.end(await way.begin(stage, "before"))
    running = await way.stand(stage)
    result = await way.end(await way.begin(stage, "newer"))

    with pytest.raises(RunInterrupted) as stopped:
        await way.end(running)
    assert (stopped.value.action, stopped.value.started) == (strategy, True)
    stays = ["stand"] if strategy == "interrupt" else []
    expected = ["before", "re before", *stays, "newer", "re newer"]
    assert said(result) == said(stage.state.values) == expected
    way.go_on(stage)
    if isinstance(way, Async):
        assert stage.ended == ["cancelled"]
    else:  # it was abandoned, and goes on by itself
        await asyncio.to_thread(way.threads.shutdown)
    assert said(stage.state.values) == expected
    assert not stage.state.next


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_newer_run_ends_those_that_wait(way: Way, strategy: Strategy) -> None:
    stage = Stage(strategy="enqueue", allow=[strategy])
    running = await way.stand(stage)
    waits = await way.begin(stage, "waits")
    await waiting(stage, 2)
    result = await way.end(await way.begin(stage, "newer", multitask_strategy=strategy))

    with pytest.raises(RunInterrupted, match="it had not begun") as stopped:
        await way.end(waits)
    assert not stopped.value.started
    with pytest.raises(RunInterrupted):
        await way.end(running)
    assert "waits" not in said(result)
    way.go_on(stage)


async def test_a_rolled_back_run_leaves_no_checkpoint(way: Way) -> None:
    stage = Stage(strategy="rollback")
    await way.end(await way.begin(stage, "before"))
    checkpoints = len(list(stage.graph.get_state_history(THREAD)))
    running = await way.stand(stage)
    await way.end(await way.begin(stage, "newer"))
    with pytest.raises(RunInterrupted):
        await way.end(running)
    way.go_on(stage)

    history = list(stage.graph.get_state_history(THREAD))
    assert len(history) == 2 * checkpoints
    assert "stand" not in repr(stage.saver.storage) + repr(dict(stage.saver.writes))


def test_an_abandoned_node_writes_nothing_by_itself() -> None:
    store, saver, graphs = ThreadStore(), InMemorySaver(), list[Any]()
    reached, go_on, errors = threading.Event(), threading.Event(), list[BaseException]()
    ended = threading.Event()

    def node(state: Any) -> Any:
        if said(state)[-1] != "stand":
            return {"log": ["ran"]}
        reached.set()
        assert go_on.wait(SECONDS)
        try:
            graphs[0].update_state(THREAD, {"log": ["abandoned"]})
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            ended.set()

    policy = DoubleTexting("interrupt", store=store)
    graphs.append(harden(one(node), [policy]).compile(checkpointer=saver))
    with ThreadPoolExecutor() as threads:
        running = threads.submit(graphs[0].invoke, message("stand"), THREAD)
        assert reached.wait(SECONDS)
        graphs[0].invoke(message("newer"), THREAD)
        with pytest.raises(RunInterrupted):
            running.result(SECONDS)
        go_on.set()
        assert ended.wait(SECONDS)
    assert len(errors) == 1
    assert graphs[0].get_state(THREAD).values["log"] == ["ran"]


async def test_a_run_may_choose_a_strategy_that_is_allowed(way: Way) -> None:
    stage = Stage(strategy="enqueue", allow=["reject"])
    running = await way.stand(stage)
    with pytest.raises(ThreadBusy):
        await way.end(await way.begin(stage, "hi", multitask_strategy="reject"))
    with pytest.raises(ConfigurationError, match="choose among 'enqueue', 'reject'"):
        await way.end(await way.begin(stage, "hi", multitask_strategy="rollback"))
    way.go_on(stage)
    await way.end(running)


async def test_update_state_counts_as_a_run(way: Way) -> None:
    stage = Stage(strategy="reject")
    running = await way.stand(stage)
    if isinstance(way, Async):
        updating: Any = stage.graph.aupdate_state(THREAD, {"log": ["mine"]})
    else:
        updating = asyncio.to_thread(stage.graph.update_state, THREAD, {"log": ["mine"]})
    with pytest.raises(ThreadBusy):
        await updating
    way.go_on(stage)
    await way.end(running)
    stage.graph.update_state(THREAD, {"log": ["mine"]})
    assert stage.state.values["log"][-1] == "mine"


def test_a_thread_that_waits_for_a_person_is_not_busy() -> None:
    asks = one(lambda state: {"log": [interrupt("?")]})
    graph = harden(asks, [DoubleTexting("reject")]).compile(checkpointer=InMemorySaver())
    graph.invoke({}, THREAD)
    assert graph.invoke(Command(resume="yes"), THREAD)["log"] == ["yes"]


def test_a_subgraph_belongs_to_its_run() -> None:
    inner = one(notes("inner"), "inner").compile(checkpointer=True)
    graph = harden(one(inner), [DoubleTexting("reject")]).compile(checkpointer=InMemorySaver())
    assert graph.invoke({}, THREAD)["log"] == ["inner"]


def test_a_graph_that_is_called_in_a_node_belongs_to_its_run() -> None:
    policy, saver = DoubleTexting("reject"), InMemorySaver()
    inner = harden(one(notes("inner"), "inner"), [policy]).compile(checkpointer=saver)

    def node(state: Any) -> Any:
        inner.update_state(THREAD, {"log": ["updated"]})
        return {"log": inner.invoke({}, {"configurable": {"thread_id": "own"}})["log"]}

    graph = harden(one(node), [policy]).compile(checkpointer=saver)
    assert "inner" in graph.invoke({}, THREAD)["log"]


@pytest.mark.parametrize("config", [{}, THREAD])
def test_steps_aside_where_nothing_is_saved(config: RunnableConfig) -> None:
    store = ThreadStore()

    def node(state: Any) -> Any:
        assert not store._backend.beat("", 0.0)
        return {"log": ["ran"]}

    graph = harden(one(node), [DoubleTexting("reject", store=store)]).compile()
    assert graph.invoke({}, config)["log"] == ["ran"]


async def test_shadow_refuses_nobody(way: Way) -> None:
    stage = Stage(strategy="reject", shadow=True)
    running = await way.stand(stage)
    run = Run()
    if isinstance(way, Async):
        await stage.graph.ainvoke(message("hi"), THREAD, control=run)
    else:
        await asyncio.to_thread(stage.graph.invoke, message("hi"), THREAD, control=run)
    assert run.report.events["thread_busy"] == 1
    way.go_on(stage)
    await way.end(running)


def test_a_thread_is_free_however_its_run_ends() -> None:
    def node(state: Any) -> Any:
        raise ValueError("secret")

    store = ThreadStore()
    policy = DoubleTexting("reject", store=store)
    graph = harden(one(node), [policy]).compile(checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="secret"):
        graph.invoke({}, THREAD)
    assert not store._backend.beat("", 0.0)

    graph = harden(one(notes("x")), [policy]).compile(checkpointer=InMemorySaver())
    for _ in graph.stream({}, THREAD):
        break
    rows = store._backend.beat("", 0.0)
    assert '"holder":null' in (rows["thread-1"].line or '"holder":null')
    assert graph.invoke({}, THREAD)["log"][-1] == "x"
    assert not store._backend.beat("", 0.0)


@dataclass
class Talk:
    messages: Annotated[list[Any], add_messages] = field(default_factory=list)


def as_dict(state: Any) -> Any:
    return {"messages": state.messages} if isinstance(state, Talk) else state


def calling_tools(state: Any) -> Any:
    if said(state)[-1] != "use tools":
        return {"messages": [("ai", "done")]}
    calls = [{"name": "search", "args": {}, "id": id} for id in ("1", "2")]
    return {"messages": [AIMessage("", tool_calls=calls)]}


@pytest.mark.parametrize("how", ["message", "dataclass"])
async def test_unanswered_tool_calls_are_answered(how: str) -> None:
    reached, never = asyncio.Event(), asyncio.Event()

    async def slow(state: Any) -> Any:
        reached.set()
        await never.wait()

    async def fast(state: Any) -> Any:
        return {"messages": [ToolMessage("found", tool_call_id="1", name="search")]}

    def agent(state: Any) -> Any:
        return calling_tools(as_dict(state))

    def route(state: Any) -> list[str]:
        calls = getattr(as_dict(state)["messages"][-1], "tool_calls", None)
        return ["fast", "slow"] if calls else ["__end__"]

    builder = StateGraph(Talk if how == "dataclass" else State).add_node("agent", agent)
    builder.add_node("fast", fast).add_node("slow", slow).add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["fast", "slow", "__end__"])
    graph = harden(builder, [DoubleTexting("interrupt")]).compile(checkpointer=InMemorySaver())
    running = asyncio.create_task(graph.ainvoke(message("use tools"), THREAD))
    await asyncio.wait_for(reached.wait(), SECONDS)
    newer: Any = {
        "message": message("stop"),
        "dataclass": Talk(messages=[HumanMessage("stop")]),
    }[how]
    result = await asyncio.wait_for(graph.ainvoke(newer, THREAD), SECONDS)

    with pytest.raises(RunInterrupted):
        await running
    kinds = [(m.type, getattr(m, "tool_call_id", None)) for m in result["messages"]]
    assert kinds == [
        ("human", None),
        ("ai", None),
        ("tool", "1"),
        ("tool", "2"),
        ("human", None),
        ("ai", None),
    ]
    answers = [m for m in result["messages"] if isinstance(m, ToolMessage)]
    assert [m.status for m in answers] == ["success", "error"]
    assert answers[0].text == "found"


async def test_the_user_s_retries_and_error_handlers_do_not_bring_a_stopped_run_back() -> None:
    from langgraph.types import RetryPolicy

    reached, never, tries = asyncio.Event(), asyncio.Event(), []

    async def node(state: Any) -> Any:
        tries.append(said(state)[-1])
        if tries[-1] == "stand":
            reached.set()
            await never.wait()
        return {"log": ["ran"]}

    builder = one(node, retry_policy=RetryPolicy(max_attempts=5, retry_on=lambda _: True))
    graph = harden(builder, [DoubleTexting("interrupt")]).compile(checkpointer=InMemorySaver())
    running = asyncio.create_task(graph.ainvoke(message("stand"), THREAD))
    await asyncio.wait_for(reached.wait(), SECONDS)
    await asyncio.wait_for(graph.ainvoke(message("newer"), THREAD), SECONDS)
    with pytest.raises(RunInterrupted):
        await running
    assert tries == ["stand", "newer"]


async def test_a_stopped_run_is_reported_as_cancelled(way: Way) -> None:
    stage = Stage(Metrics(), strategy="interrupt")
    run = Run()
    if isinstance(way, Async):
        running: Any = asyncio.create_task(
            stage.graph.ainvoke(message("stand"), THREAD, control=run)
        )
        await asyncio.wait_for(stage.areached.wait(), SECONDS)
    else:
        running = way.threads.submit(stage.graph.invoke, message("stand"), THREAD, control=run)
        assert await asyncio.to_thread(stage.reached.wait, SECONDS)
    await way.end(await way.begin(stage, "newer"))
    with pytest.raises(RunInterrupted):
        await way.end(running)
    way.go_on(stage)
    assert run.report.outcome == "cancelled"
    assert run.report.events["run_interrupted"] == 1


def test_a_run_that_waits_for_another_policy_is_stopped_too(clock: FakeClock) -> None:
    store = ThreadStore()

    @dataclass(frozen=True)
    class Waits(Policy):
        kinds = frozenset({"run"})

        async def wrap(self, call: Call, handler: Handler) -> Any:
            assert store.cancel(thread_id="thread-1") == 1
            await call.sleep(60.0)
            return await handler(call)

    policies = [DoubleTexting("reject", store=store), Waits()]
    graph = harden(one(notes("x")), policies, clock=clock).compile(checkpointer=InMemorySaver())
    with pytest.raises(RunInterrupted):
        graph.invoke({}, THREAD)


async def test_cancels_a_run_by_its_thread(way: Way) -> None:
    stage = Stage(strategy="reject")
    running = await way.stand(stage)
    assert drive(stage.store.end("cancel", name="thread-1", blocking=True)) == 1
    if isinstance(way, Sync):  # where no strategy ends a run, a synchronous node is not abandoned
        way.go_on(stage)
    with pytest.raises(RunInterrupted, match="run cancelled"):
        await way.end(running)
    assert said(await way.end(await way.begin(stage, "next"))) == ["stand", "next", "re next"]


async def test_a_client_that_leaves_stops_all_nodes_of_its_run() -> None:
    ended: list[str] = []
    all_run, all_ended = asyncio.Event(), asyncio.Event()
    running = 0

    async def node(state: Any) -> None:
        nonlocal running
        running += 1
        if running == 2:
            all_run.set()
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            if len(ended) == 2:
                all_ended.set()

    builder = one(node, "one").add_node("two", node).add_edge(START, "two")
    graph = harden(builder, [DoubleTexting("reject")]).compile(checkpointer=InMemorySaver())
    with anyio.CancelScope() as scope:  # as Starlette does when a client is gone

        async def leave() -> None:
            await all_run.wait()
            scope.cancel()

        leaving = asyncio.create_task(leave())
        async for _ in graph.astream(message("hi"), THREAD):
            pass
    await asyncio.wait_for(all_ended.wait(), SECONDS / 2)
    await leaving
    assert ended == ["cancelled", "cancelled"]


def test_a_fake_clock_bounds_the_wait(clock: FakeClock) -> None:
    store, saver = ThreadStore(), InMemorySaver()
    policy = DoubleTexting("enqueue", store=store, max_wait=30.0)
    graph = harden(one(notes("x")), [policy], clock=clock).compile(checkpointer=saver)
    drive(store.ask(store.lease("thread-1", run="other"), "reject", blocking=True))
    with pytest.raises(ThreadBusy):
        graph.invoke({}, THREAD)
    assert clock.seconds == 30.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"strategy": "queue"}, "strategy"),
        ({"allow": ["queue"]}, "allow"),
        ({"allow": "reject"}, "give a list of strategies"),
        ({"max_queue": 0}, "max_queue is 0; give a whole number"),
        ({"max_wait": 0}, "max_wait is 0; give seconds, more than 0"),
        ({"store": 7}, "ThreadStore"),
    ],
)
def test_says_what_a_setting_may_be(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        DoubleTexting(**{"strategy": "reject", **settings})


def test_is_for_whole_runs() -> None:
    with pytest.raises(ConfigurationError, match="DoubleTexting is for a whole run"):
        harden(one(notes("x")), nodes={"node": [DoubleTexting("reject")]}).compile()
