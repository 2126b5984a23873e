from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

import lg_prod_nodes
from lg_prod_nodes import (
    Call,
    CaptureErrors,
    CircuitBreaker,
    ConfigurationError,
    ContentBlocked,
    ContentFilter,
    Deadline,
    Metrics,
    Policy,
    RateLimit,
    RateLimitExceeded,
    Redact,
    TokenUsage,
    Tracing,
    as_middleware,
    guard,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.tracebacks import FULL_TRACEBACKS, raise_again, shorten

PACKAGE = str(Path(lg_prod_nodes.__file__).parent)
INPUT = {"messages": [("user", "hi")]}
EIGHT: tuple[Callable[[], Policy], ...] = (
    Tracing,
    Metrics,
    CaptureErrors,
    TokenUsage,
    lambda: Deadline(60),
    lambda: RateLimit("1000/second"),
    CircuitBreaker,
    Redact,
)
AT_ONCE = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=RuntimeError)


class BrokenModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "broken"

    def _generate(self, *args: Any, **options: Any) -> ChatResult:
        raise RuntimeError("the provider is down")


MODEL = BrokenModel()


def asks(state: Any) -> Any:
    return {"messages": [MODEL.invoke("hi")]}


async def asks_async(state: Any) -> Any:
    return {"messages": [await MODEL.ainvoke("hi")]}


def graph_of(node: Any, *, depth: int = 0, **options: Any) -> StateGraph[Any]:
    builder = StateGraph(MessagesState).add_node("node", node, **options).add_edge(START, "node")
    for level in range(depth):
        name = f"level_{level}"
        builder = StateGraph(MessagesState).add_node(name, builder.compile())
        builder.add_edge(START, name)
    return builder


def eight() -> list[Policy]:
    return [policy() for policy in EIGHT]


async def invoke(graph: Any) -> None:
    graph.invoke(INPUT)


async def stream(graph: Any) -> None:
    list(graph.stream(INPUT))


async def ainvoke(graph: Any) -> None:
    await graph.ainvoke(INPUT)


async def astream(graph: Any) -> None:
    _ = [part async for part in graph.astream(INPUT)]


async def astream_events(graph: Any) -> None:
    _ = [event async for event in graph.astream_events(INPUT, version="v2")]


Way = Callable[[Any], Awaitable[None]]
WAYS: dict[str, tuple[Way, Any]] = {
    "invoke": (invoke, asks),
    "stream": (stream, asks),
    "ainvoke": (ainvoke, asks_async),
    "astream": (astream, asks_async),
    "astream_events": (astream_events, asks_async),
}


def shown(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


def ours(lines: list[str]) -> list[str]:
    return [line for line in lines if PACKAGE in line]


async def failing(way: Way, graph: Any, kind: type[Exception] = RuntimeError) -> Exception:
    with pytest.raises(kind) as raised:
        await way(graph)
    return raised.value


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("way", "node"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("by_name", [False, True], ids=["everywhere", "at the node"])
async def test_an_error_under_eight_policies_is_as_short_as_without(
    way: Way, node: Any, depth: int, by_name: bool
) -> None:
    builder = graph_of(node, depth=depth)
    name = f"level_{depth - 1}" if depth else "node"
    policies = {name: [policy for policy in eight() if not isinstance(policy, Deadline)]}
    hardened = harden(builder, nodes=policies) if by_name else harden(builder, eight())

    plain = shown(await failing(way, builder.compile()))
    short = shown(await failing(way, hardened.compile()))

    assert not ours(plain)
    assert len(ours(short)) <= 2
    assert len(short) <= 1.3 * len(plain)
    assert any(line.endswith("in _generate") for line in short)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_retries_and_recoveries_add_no_frames_and_no_errors(way: str) -> None:
    run, node = WAYS[way]

    def broken(state: Any) -> Any:
        try:
            raise KeyError("first")
        except KeyError:
            node(state).send(None) if way == "ainvoke" else node(state)

    policies = [*eight()[:2], CaptureErrors(then={"bad_input": "end"}), *eight()[3:]]
    builder = graph_of(broken, depth=1, retry_policy=AT_ONCE)
    error = await failing(run, harden(builder, policies).compile())

    assert isinstance(error.__context__, KeyError)
    assert error.__context__.__context__ is error.__cause__ is None
    assert len(ours(shown(error))) <= 2


async def test_guarded_functions_and_models_are_short_too() -> None:
    limit = RateLimit("1000/second")
    guarded = guard(limit, CircuitBreaker(), Redact())
    model = guarded(MODEL)
    calls: list[Callable[[], Any]] = [
        lambda: guarded(asks)(INPUT),
        lambda: asyncio.run(guarded(asks_async)(INPUT)),
        lambda: model.invoke("hi"),
        lambda: asyncio.run(model.ainvoke("hi")),
        lambda: list(model.stream("hi")),
    ]
    for call in calls:
        with pytest.raises(RuntimeError) as raised:
            await asyncio.to_thread(call)
        assert len(ours(shown(raised.value))) <= 2


@pytest.mark.parametrize("way", [invoke, ainvoke])
async def test_middleware_is_short_too(way: Way) -> None:
    around = [as_middleware(RateLimit("9/second"), name="a"), as_middleware(Redact(), name="b")]
    error = await failing(way, create_agent(MODEL, middleware=around))

    assert len(ours(shown(error))) <= 2


async def test_what_a_node_catches_and_logs_is_short() -> None:
    caught: list[Exception] = []

    async def node(state: Any) -> None:
        for call in (asks_async, lambda state: asyncio.to_thread(asks, state)):
            try:
                await call(state)
            except RuntimeError as error:
                caught.append(error)

    await harden(graph_of(node), eight()).compile().ainvoke(INPUT)

    assert len(caught) == 2
    assert all(len(ours(shown(error))) <= 2 for error in caught)


def test_frames_of_the_application_s_own_policies_stay() -> None:
    class Mine(Policy):
        async def wrap(self, call: Call, handler: Any) -> Any:
            return await handler(call)

    with pytest.raises(RuntimeError) as raised:
        harden(graph_of(asks), [Metrics(), Mine(), Redact()]).compile().invoke(INPUT)

    assert any("in wrap" in line and __file__ in line for line in shown(raised.value))


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_switch_keeps_all_frames(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(FULL_TRACEBACKS, value)

    with pytest.raises(RuntimeError) as raised:
        harden(graph_of(asks), eight()).compile().invoke(INPUT)

    assert len(ours(shown(raised.value))) > 20


def test_causes_contexts_and_members_of_groups_are_short_too() -> None:
    def caught(state: Any) -> RuntimeError:
        with pytest.raises(RuntimeError) as raised:
            asks(state)
        return raised.value

    def node(state: Any) -> None:
        try:
            raise ExceptionGroup("both", [caught(state), caught(state)]) from caught(state)
        except ExceptionGroup:
            raise ValueError("no answer")  # noqa: B904 - a context

    with pytest.raises(ValueError, match="no answer") as raised:
        harden(graph_of(node), eight()).compile().invoke(INPUT)

    lines = shown(raised.value)
    assert len([line for line in lines if line.endswith("in _generate")]) == 3
    assert not ours(lines)


def test_a_refusal_shows_the_call_and_nothing_of_ours() -> None:
    graph = harden(graph_of(lambda state: None), [RateLimit("1/hour")]).compile()
    graph.invoke(INPUT)

    with pytest.raises(RateLimitExceeded) as raised:
        graph.invoke(INPUT)

    lines = shown(raised.value)
    assert not ours(lines)
    assert any(__file__ in line for line in lines)


def test_an_error_of_the_configuration_shows_the_call() -> None:
    class Impatient(Policy):
        async def wrap(self, call: Call, handler: Any) -> Any:
            await asyncio.sleep(0)

    with pytest.raises(ConfigurationError) as raised:
        harden(graph_of(asks), [Impatient()]).compile().invoke(INPUT)

    assert any(__file__ in line for line in shown(raised.value))


def test_an_update_that_is_refused_shows_the_call_and_nothing_of_ours() -> None:
    graph = harden(graph_of(asks), [ContentFilter(["forbidden"])]).compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    with pytest.raises(ContentBlocked) as raised:
        graph.update_state(config, {"messages": [("user", "forbidden")]})

    lines = shown(raised.value)
    assert any(__file__ in line for line in lines)
    assert len(ours(lines)) <= 2


@contextmanager
def handled(error: BaseException) -> Iterator[None]:
    """Raise an error through a frame of ours, and shorten it while it is handled."""
    try:
        raise_again(error)
    except Exception as raised:
        shorten(raised)
        yield


def test_a_fault_of_ours_shows_where_it_was_raised() -> None:
    error = TypeError("ours")
    with handled(error):
        assert ours(shown(error)) == [line for line in shown(error) if "in raise_again" in line]


def test_an_error_of_ours_shows_no_frame_of_ours() -> None:
    error = ConfigurationError("yours")
    with handled(error):
        assert not ours(shown(error))


def test_control_flow_is_left_untouched() -> None:
    interrupt = GraphInterrupt()
    with handled(interrupt):
        assert ours(shown(interrupt))


def test_errors_that_hold_each_other_are_shortened_once() -> None:
    one, other = ConfigurationError("one"), ConfigurationError("other")
    one.__context__, other.__context__ = other, one
    with handled(one):
        assert not ours(shown(one))


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


def test_an_error_that_cannot_be_assigned_to_is_short_too() -> None:
    async def fails() -> None:
        raise Frozen(7)

    with pytest.raises(Frozen) as raised:
        drive(fails())

    assert not ours(shown(raised.value))


def test_an_error_is_raised_again_as_it_is() -> None:
    first, error = KeyError("first"), Frozen(2)
    object.__setattr__(error, "__context__", first)

    def raising() -> None:
        try:
            raise RuntimeError
        except RuntimeError:
            raise_again(error)

    with pytest.raises(Frozen):
        raising()

    assert error.__context__ is first
    assert not error.__suppress_context__
