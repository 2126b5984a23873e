from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, Generation, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import tool
from langgraph.errors import NodeTimeoutError
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from tests.conftest import FakeClock
from tests.policies.conftest import (
    AT_ONCE,
    FakeModel,
    Runner,
    State,
    asks,
    fails,
    one,
)

from lg_prod_nodes import (
    Fallback,
    Ledger,
    LostContextWarning,
    Policy,
    Redact,
    Run,
    StoreUnavailable,
    Timeout,
    TokenUsage,
    Tracing,
    Usage,
    as_node,
    guard,
    harden,
    list_price,
)
from lg_prod_nodes.runtime import scope

HI: Any = {"messages": [("user", "hi")]}
ADA: Any = {"configurable": {"user_id": "ada", "thread_id": "thread-1"}}
ONE_CALL = Usage(calls=1, input_tokens=3, output_tokens=4, unpriced_calls=1)
TWO_CALLS = ONE_CALL + ONE_CALL


@pytest.fixture
def usage() -> TokenUsage:
    return TokenUsage(ledger=Ledger(price={}))


def nodes(usage: TokenUsage) -> dict[str | None, int]:
    """Calls by node."""
    return {node: spent.calls for node, spent in usage.ledger.total(by="node").items()}


async def test_a_model_call_is_counted(run: Runner, model: FakeModel, usage: TokenUsage) -> None:
    graph = harden(one(asks(model)), [usage]).compile(name="desk")
    told = Run()

    await run(graph, HI, ADA, control=told)

    (entry,) = usage.ledger.entries()
    assert entry.usage == told.report.usage == ONE_CALL
    assert (entry.user, entry.thread, entry.run) == ("ada", "thread-1", told.id)
    assert (entry.graph, entry.node, entry.model) == ("desk", "node", "gpt-4o-mini")


async def test_an_asynchronous_model_call_is_counted(model: FakeModel, usage: TokenUsage) -> None:
    async def node(state: State) -> Any:
        return {"messages": [await model.ainvoke("hi")]}

    await harden(one(node), [usage]).compile().ainvoke(HI)

    assert usage.ledger.total(by="model") == {"gpt-4o-mini": ONE_CALL}


async def test_a_streamed_call_is_counted(model: FakeModel, usage: TokenUsage) -> None:
    graph = harden(one(asks(model)), [usage]).compile()

    assert len(list(graph.stream(HI, stream_mode="messages"))) > 1
    assert len([part async for part in graph.astream(HI, stream_mode="messages")]) > 1

    assert usage.ledger.total(by="node") == {"node": TWO_CALLS}


def test_a_call_that_the_node_streams_is_counted(model: FakeModel, usage: TokenUsage) -> None:
    def node(state: State) -> Any:
        return {"messages": [sum(model.stream("hi"), start=next(iter(model.stream("x"))))]}

    harden(one(node), [usage]).compile().invoke(HI)

    assert usage.ledger.total(by="graph")["LangGraph"].output_tokens == 8


def test_a_stream_that_is_cut_counts_as_far_as_it_came(model: FakeModel, usage: TokenUsage) -> None:
    def node(state: State) -> Any:
        parts = model.stream("hi")
        next(parts)
        parts.close()
        return {"text": "enough"}

    harden(one(node), [usage]).compile().invoke(HI)

    assert usage.ledger.total(by="node") == {"node": ONE_CALL}


class Endless(FakeModel):
    """Streams its answer, tells that it is out, and never ends."""

    said: asyncio.Event

    async def _astream(self, *args: Any, **options: Any) -> Any:
        for part in self._stream([HumanMessage("hi")]):
            yield part
        self.said.set()
        await asyncio.Event().wait()


async def test_a_stream_that_is_cancelled_counts_as_far_as_it_came(usage: TokenUsage) -> None:
    got = asyncio.Event()

    async def node(state: State) -> Any:
        return {"messages": [part async for part in Endless(said=got).astream("hi")]}

    task = asyncio.create_task(harden(one(node), [usage]).compile().ainvoke(HI))
    await got.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert usage.ledger.total(by="node") == {"node": ONE_CALL}


@pytest.mark.parametrize("policies", [[], [Timeout(60.0)]], ids=["cancelled", "timed out"])
async def test_a_call_that_is_streamed_for_a_reader_of_the_run_and_cancelled_counts_so_too(
    usage: TokenUsage, policies: list[Policy]
) -> None:
    got, told = asyncio.Event(), Run()

    async def node(state: State) -> Any:
        return {"messages": [await Endless(said=got).ainvoke("hi")]}

    class Clock(FakeClock):
        async def asleep(self, seconds: float, bell: object = None) -> None:
            await got.wait()

    graph = harden(one(node), [usage], nodes={"node": policies}, clock=Clock()).compile()

    async def read() -> None:
        async for _ in graph.astream(HI, stream_mode="messages", control=told):
            pass

    task = asyncio.create_task(read())
    await got.wait()
    if not policies:
        task.cancel()

    with pytest.raises((asyncio.CancelledError, NodeTimeoutError)):
        await task
    assert usage.ledger.total(by="node") == {"node": ONE_CALL}
    assert told.report.usage == ONE_CALL


def test_a_call_that_breaks_off_counts_as_far_as_it_came(usage: TokenUsage) -> None:
    class Breaking(FakeModel):
        def _stream(self, *args: Any, **options: Any) -> Any:
            yield next(super()._stream(*args, **options))
            raise ConnectionError

    graph = harden(one(asks(Breaking())), [usage]).compile()

    with pytest.raises(ConnectionError):
        list(graph.stream(HI, stream_mode="messages"))
    assert usage.ledger.total(by="node") == {"node": ONE_CALL}


async def test_calls_of_subgraphs_and_parallel_sends_are_counted(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    inner = one(asks(model), "deep").compile()
    builder = StateGraph(State).add_node("work", asks(model)).add_node("inner", inner)
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])

    await run(harden(builder.add_edge("work", "inner"), [usage]).compile(), HI)

    assert nodes(usage) == {"work": 3, "inner/deep": 1}


async def test_calls_of_an_agent_s_tools_are_counted(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    @tool
    def look_up(who: str) -> str:
        """Ask another model."""
        return model.invoke(who).text

    call = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}
    agent = create_agent(FakeModel(calls=(call,)), [look_up])

    await run(harden(agent, [usage]), HI)

    assert nodes(usage) == {"model": 2, "tools": 1}


async def test_each_attempt_of_a_node_counts(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        return fails(state) if len(model.asked) % 3 else {"text": "done"}

    told = Run()
    graph = harden(one(node, retry_policy=AT_ONCE), [usage]).compile()
    await run(graph, HI, control=told)

    assert usage.ledger.total(by="run") == {told.id: ONE_CALL + TWO_CALLS}
    assert told.report.usage == ONE_CALL + TWO_CALLS


async def test_a_call_whose_provider_tells_nothing_is_estimated(
    run: Runner, usage: TokenUsage
) -> None:
    told = Run()
    graph = harden(one(asks(FakeModel(spends=False, says="x" * 400))), [usage]).compile()

    await run(graph, {"messages": [("user", "y" * 200)]}, control=told)

    (entry,) = usage.ledger.entries()
    assert entry.usage == told.report.usage
    assert (entry.usage.calls, entry.usage.estimated_calls) == (1, 1)
    assert 50 <= entry.usage.input_tokens <= 60
    assert 100 <= entry.usage.output_tokens <= 110


def test_a_cut_stream_of_a_model_that_tells_nothing_counts_what_came(usage: TokenUsage) -> None:
    model = FakeModel(spends=False, says="x" * 400 + " never read")

    def node(state: State) -> Any:
        parts = model.stream("y" * 200)
        next(parts)
        parts.close()

    harden(one(node), [usage]).compile().invoke(HI)

    (entry,) = usage.ledger.entries()
    assert (entry.usage.output_tokens, entry.usage.estimated_calls) == (100, 1)
    assert 50 <= entry.usage.input_tokens <= 60


def test_a_cut_stream_counts_what_came_where_its_first_piece_told_less(usage: TokenUsage) -> None:
    model = FakeModel(says="x" * 400 + " never read")

    def node(state: State) -> Any:
        parts = model.stream("hi")
        next(parts)
        parts.close()

    harden(one(node), [usage]).compile().invoke(HI)

    (entry,) = usage.ledger.entries()
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (3, 100)
    assert entry.usage.estimated_calls == 1


def test_pieces_of_every_kind_count(usage: TokenUsage) -> None:
    class Talking(FakeModel):
        def _stream(self, *args: Any, **options: Any) -> Any:
            pieces: list[dict[str, Any]] = [
                {"content": [{"type": "text", "text": "a" * 40}, "b" * 40]},
                {"content": [{"type": "reasoning", "reasoning": "c" * 40}, {"type": "image"}]},
                {
                    "content": "",
                    "tool_call_chunks": [{"name": "f", "args": "d" * 40, "id": "1", "index": 0}],
                },
            ]
            for piece in pieces:
                yield ChatGenerationChunk(message=AIMessageChunk(**piece))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        list(harden(one(asks(Talking())), [usage]).compile().stream(HI, stream_mode="messages"))

    assert usage.ledger.entries()[0].usage.output_tokens == 40


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_a_call_in_events_that_breaks_off_counts_as_far_as_it_came(usage: TokenUsage) -> None:
    class Breaking(FakeModel):
        def _stream(self, *args: Any, **options: Any) -> Any:
            yield ChatGenerationChunk(message=AIMessageChunk("x" * 40))
            raise ConnectionError

    graph = harden(one(asks(Breaking())), [usage]).compile()
    with pytest.raises(ConnectionError):
        async for _ in await graph.astream_events(HI, version="v3"):
            pass

    assert usage.ledger.entries()[0].usage.output_tokens == 10


def test_a_call_that_fails_before_an_answer_is_no_call(usage: TokenUsage) -> None:
    class Refusing(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            raise PermissionError

    told = Run()
    with pytest.raises(PermissionError):
        harden(one(asks(Refusing())), [usage]).compile().invoke(HI, control=told)

    (entry,) = usage.ledger.entries()
    assert entry.usage == told.report.usage == Usage()
    assert (entry.state, told.report.events["model_failed"]) == ("ended", 1)


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_a_call_that_nobody_waited_for_is_in_doubt(
    usage: TokenUsage, error: type[BaseException]
) -> None:
    class Slow(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            raise error

    with pytest.raises(error):
        harden(one(asks(Slow())), [usage]).compile().invoke(HI)

    (row,) = usage.ledger.usage()
    assert (row.spent.calls, row.in_doubt.calls) == (0, 1)


async def test_a_cancelled_call_is_in_doubt(usage: TokenUsage) -> None:
    asked = asyncio.Event()

    class Silent(FakeModel):
        async def _agenerate(self, *args: Any, **options: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

    async def node(state: State) -> Any:
        await Silent().ainvoke("hi")

    task = asyncio.create_task(harden(one(node), [usage]).compile().ainvoke(HI))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = usage.ledger.usage()
    assert (row.spent.calls, row.in_doubt.calls) == (0, 1)


async def test_a_call_that_a_policy_refused_was_not_spent(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    class Refuses(Policy):
        kinds = frozenset({"model"})

        async def wrap(self, call: Any, handler: Any) -> Any:
            raise LookupError

    with pytest.raises(LookupError):
        await run(harden(one(asks(model)), [usage, Refuses()]).compile(), HI)

    (row,) = usage.ledger.usage()
    assert (row.spent, row.in_doubt, model.asked) == (Usage(), Usage(), [])


async def test_the_model_that_answers_instead_is_counted(run: Runner, usage: TokenUsage) -> None:
    class Failing(FakeModel):
        def _generate(self, *args: Any, **options: Any) -> Any:
            raise ConnectionError

    graph = harden(one(asks(Failing(model_name="first"))), [usage, Fallback(model=FakeModel())])

    await run(graph.compile(), HI)

    (row,) = usage.ledger.usage()
    assert (row.spent.calls, row.in_doubt.calls) == (1, 0)
    assert usage.ledger.total(by="model")["gpt-4o-mini"].calls == 1


async def test_an_answer_from_langchain_s_cache_is_not_spent(
    run: Runner, usage: TokenUsage
) -> None:
    told = Run()
    model = FakeModel(cache=InMemoryCache())
    model.invoke("hi")
    graph = harden(one(lambda state: {"messages": [model.invoke("hi")]}), [usage]).compile()

    await run(graph, HI, control=told)

    assert usage.ledger.usage()[0].spent == told.report.usage == Usage()
    assert usage.ledger.entries(in_doubt=True) == ()
    assert told.report.events["model_cached"] == 1


def test_calls_of_a_model_of_texts_are_counted(usage: TokenUsage) -> None:
    class Texts(FakeListLLM):
        def _generate(self, prompts: list[str], *args: Any, **options: Any) -> LLMResult:
            told = {"token_usage": {"prompt_tokens": 30, "completion_tokens": 40}}
            generations = [[Generation(text="hello")] for _ in prompts]
            return LLMResult(generations=generations, llm_output=told)

    def node(state: State) -> Any:
        FakeListLLM(responses=["x" * 40]).invoke("y" * 80)
        Texts(responses=[]).batch(["a", "b"])

    harden(one(node), [usage]).compile().invoke(HI)

    spent = usage.ledger.usage()[0].spent
    assert (spent.calls, spent.estimated_calls) == (3, 1)
    assert (spent.input_tokens, spent.output_tokens) == (50, 50)


async def test_calls_of_a_tenant_and_an_assistant_are_told_apart(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    graph = harden(one(asks(model)), [usage]).compile()

    for tenant in ("acme", "acme", "umbrella"):
        names = {"tenant_id": tenant, "assistant_id": f"{tenant}-desk"}
        await run(graph, HI, {"configurable": names})

    assert [(row.key, row.spent.calls) for row in usage.ledger.usage(("tenant", "assistant"))] == [
        (("acme", "acme-desk"), 2),
        (("umbrella", "umbrella-desk"), 1),
    ]


def test_what_fails_in_the_ledger_does_not_fail_the_run(model: FakeModel) -> None:
    class Full(Ledger):
        def begin(self, *given: Any) -> None:
            raise StoreUnavailable("full")

        add = keep = begin  # type: ignore[assignment]

    told = Run()
    harden(one(asks(model)), [TokenUsage(ledger=Full())]).compile().invoke(HI, control=told)

    assert told.report.outcome == "ok"
    assert told.report.events["store_unavailable"] >= 2


def test_no_callback_is_left_behind(model: FakeModel, usage: TokenUsage) -> None:
    harden(one(asks(model)), [usage]).compile().invoke(HI)
    model.invoke("hi")

    assert usage.ledger.usage()[0].spent == ONE_CALL


@pytest.mark.parametrize("shared", [True, False])
def test_a_hardened_graph_in_a_hardened_graph_counts_once(model: FakeModel, shared: bool) -> None:
    outer = TokenUsage(ledger=Ledger(price={}))
    inner = TokenUsage(ledger=outer.ledger) if shared else TokenUsage(ledger=Ledger(price={}))
    told = Run()
    subgraph = harden(one(asks(model), "deep"), [inner]).compile(name="inner")

    graph = harden(one(subgraph, "inner"), [outer]).compile(name="outer")
    graph.invoke(HI, control=told)

    assert len(inner.ledger.entries()) == len(outer.ledger.entries()) == 1
    assert told.report.usage == ONE_CALL
    assert nodes(inner) == nodes(outer) == {"inner/deep": 1}


@pytest.mark.parametrize("outside", [[], [Tracing()], [Redact("US_SSN")]])
def test_a_subgraph_s_own_policy_counts_whatever_is_outside(
    model: FakeModel, usage: TokenUsage, outside: Any
) -> None:
    inner = harden(one(asks(model), "deep"), [usage]).compile()

    harden(one(inner, "inner"), outside).compile().invoke(HI)

    assert len(usage.ledger.entries()) == 1


def test_a_policy_of_one_node_counts_its_calls_alone(model: FakeModel, usage: TokenUsage) -> None:
    builder = one(asks(model), "a").add_node("b", asks(model)).add_edge("a", "b")

    harden(builder, nodes={"b": [usage]}).compile().invoke(HI, ADA)

    assert nodes(usage) == {"b": 1}
    assert usage.ledger.entries()[0].user == "ada"


def test_a_decorated_node_s_calls_are_counted(model: FakeModel, usage: TokenUsage) -> None:
    one(guard(usage)(asks(model))).compile().invoke(HI, ADA)

    assert usage.ledger.total(by="user") == {"ada": ONE_CALL}


def test_a_prebuilt_node_counts_what_the_latest_messages_report(usage: TokenUsage) -> None:
    spent: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    name = {"model_name": "gpt-4o-mini"}
    earlier, latest = (
        AIMessage(text, usage_metadata=spent, response_metadata=name, id=text) for text in "ab"
    )
    asked = {"messages": [("user", "1"), earlier, ("user", "2"), latest, AIMessage("none")]}
    graph = one(as_node(usage)).compile()

    graph.invoke(asked)
    graph.invoke(asked)

    assert usage.ledger.total(by="model") == {"gpt-4o-mini": ONE_CALL}


def test_calls_have_their_price_where_it_is_known() -> None:
    usage = TokenUsage(ledger=Ledger(price=list_price))
    for name in ("gpt-4o-mini", "of-our-own"):
        told = Run()
        graph = harden(one(asks(FakeModel(model_name=name))), [usage]).compile()
        graph.invoke(HI, control=told)
        assert told.report.usage == usage.ledger.total(by="model")[name]

    spent = usage.ledger.total(by="model")
    assert spent["gpt-4o-mini"].cost == Decimal("0.00000285")
    assert (spent["gpt-4o-mini"].unpriced_calls, spent["of-our-own"].unpriced_calls) == (0, 1)
    assert spent["of-our-own"].cost == 0


@pytest.fixture
def unwarned() -> Iterator[None]:
    """Nobody has been warned yet."""
    scope._warn_of_lost_context.cache_clear()
    yield
    scope._warn_of_lost_context.cache_clear()


def in_pool(model: FakeModel, pool: type[ThreadPoolExecutor], *arguments: Any) -> Any:
    def node(state: State) -> Any:
        with pool() as threads:
            return {"messages": [threads.submit(model.invoke, "hi", *arguments).result()]}

    return node


@pytest.mark.usefixtures("unwarned")
async def test_models_in_a_bare_thread_pool_are_warned_of_once(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    graph = harden(one(in_pool(model, ThreadPoolExecutor)), [usage]).compile()
    with pytest.warns(LostContextWarning, match="not counted, limited or redacted"):
        await run(graph, HI)

    await run(graph, HI)  # an error, if it were warned of again
    assert usage.ledger.total(by="node") == {}


@pytest.mark.usefixtures("unwarned")
async def test_models_in_threads_that_have_the_context_or_the_config_are_counted(
    run: Runner, model: FakeModel, usage: TokenUsage
) -> None:
    def with_config(state: State, config: RunnableConfig) -> Any:
        return in_pool(model, ThreadPoolExecutor, config)(state)

    with_context = in_pool(model, ContextThreadPoolExecutor)
    builder = one(with_config, "a").add_node("b", with_context).add_edge("a", "b")
    await run(harden(builder, [usage]).compile(), HI)

    assert nodes(usage) == {"a": 1, "b": 1}


@pytest.mark.usefixtures("unwarned")
def test_models_of_others_are_not_warned_of(model: FakeModel, usage: TokenUsage) -> None:
    """A thread of a web server, which has a context, while a guarded node runs."""

    def node(state: State) -> Any:
        context = Context()
        context.run(ContextVar("request").set, 1)
        thread = Thread(target=context.run, args=(model.invoke, "hi"))
        thread.start()
        thread.join()

    harden(one(node), [usage]).compile().invoke(HI)
    assert len(model.asked) == 1
    with ThreadPoolExecutor() as threads:
        threads.submit(model.invoke, "hi").result()
