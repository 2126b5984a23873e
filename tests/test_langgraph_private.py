"""What is relied upon of LangGraph's private parts. A failure here says what a new version has changed."""

from __future__ import annotations

import asyncio
import operator
import sys
import time
from dataclasses import fields
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import _retry
from langgraph.pregel._write import ChannelWrite
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes.runtime import langgraph as _langgraph


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def node(state: State) -> dict[str, list[str]]:
    return {"said": ["x"]}


def built() -> StateGraph[State]:
    return StateGraph(State).add_node("a", node).add_edge(START, "a")


THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


def test_a_builder_has_the_parts_that_are_copied_and_no_others() -> None:
    assert set(vars(built())) == {
        "_node_defaults",
        "branches",
        "channels",
        "compiled",
        "context_schema",
        "edges",
        "input_schema",
        "managed",
        "nodes",
        "output_schema",
        "schemas",
        "state_schema",
        "waiting_edges",
    }


def test_a_node_s_spec_has_the_parts_that_a_recovery_fills() -> None:
    assert {field.name for field in fields(_langgraph.StateNodeSpec)} == {
        "cache_policy",
        "defer",
        "ends",
        "error_handler_node",
        "input_schema",
        "is_error_handler",
        "metadata",
        "retry_policy",
        "runnable",
        "timeout",
        "trace_policy",
    }


def test_a_node_s_first_writer_writes_the_state_and_the_others_are_its_edges() -> None:
    builder = built().add_node("b", node).add_edge("a", "b")
    first, *others = builder.compile().nodes["a"].writers
    assert isinstance(first, ChannelWrite)
    assert [write.channel for writer in others for write in writer.writes] == ["branch:to:b"]  # type: ignore[attr-defined]


def test_a_copied_node_runs_its_new_runnable() -> None:
    compiled = built().compile()
    other = RunnableLambda(lambda _: {"said": ["other"]})
    assert compiled.nodes["a"].node is not None
    compiled.nodes["a"] = compiled.nodes["a"].copy({"bound": other})
    assert compiled.invoke({"said": []}) == {"said": ["other"]}


def test_the_start_node_does_nothing_and_a_node_does_something() -> None:
    nodes = built().compile().nodes
    assert _langgraph.has_no_function(nodes[START])
    assert not _langgraph.has_no_function(nodes["a"])


def test_the_runtime_travels_in_the_config() -> None:
    seen: list[Any] = []

    def look(state: State, config: RunnableConfig, runtime: Runtime[None]) -> dict[str, Any]:
        seen.extend([_langgraph.runtime_in(config), runtime])
        return {"said": []}

    StateGraph(State).add_node(look).add_edge(START, "look").compile().invoke({"said": []})
    assert seen[0] is seen[1]
    assert isinstance(seen[0], Runtime)


@pytest.mark.parametrize("limit", [None, 60.0])
async def test_a_node_s_config_leads_to_its_task_and_to_those_beside_it(limit: Any) -> None:
    found: list[Any] = []

    async def look(state: State, config: RunnableConfig) -> None:
        call = _langgraph._innermost_call(config["configurable"][_langgraph.CONFIG_KEY_CALL])
        assert call is not None
        found.extend([call.args[0]().name, call.keywords["loop"]])
        found.append(call.keywords["futures"]().should_stop.keywords["handled_exception_ids"])

    graph = StateGraph(State).add_node("look", look, timeout=limit).add_edge(START, "look")
    await graph.compile().ainvoke({"said": []})
    assert found == ["look", asyncio.get_running_loop(), set()]


def test_native_async_is_told_from_threads() -> None:
    async def native(state: State) -> None: ...

    nodes = StateGraph(State).add_node("sync", node).add_node("async", native).nodes
    found = [_langgraph.has_native_async(nodes[name].runnable) for name in ("sync", "async")]  # type: ignore[arg-type]
    assert found == [False, True]


class Marked(CompiledStateGraph[Any, Any, Any, Any]):
    entered: list[str]

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append("stream")
        return super().stream(*args, **kwargs)

    def astream(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append("astream")
        return super().astream(*args, **kwargs)

    def bulk_update_state(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append("bulk_update_state")
        return super().bulk_update_state(*args, **kwargs)

    def abulk_update_state(self, *args: Any, **kwargs: Any) -> Any:
        self.entered.append("abulk_update_state")
        return super().abulk_update_state(*args, **kwargs)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.filterwarnings("ignore:astream_log:DeprecationWarning")
def test_every_entry_point_ends_in_one_of_four_methods_and_a_subclass_can_take_them_over() -> None:
    graph: Any = built().compile(InMemorySaver())
    graph.__class__ = Marked
    graph.entered = []
    inputs = {"said": []}

    async def asynchronous() -> None:
        await graph.ainvoke(inputs, THREAD)
        await graph.abatch([inputs], THREAD)
        _ = [event async for event in graph.astream_events(inputs, THREAD, version="v2")]
        _ = [entry async for entry in graph.astream_log(inputs, THREAD)]
        await (await graph.astream_events(inputs, THREAD, version="v3")).output()
        await graph.aupdate_state(THREAD, inputs, as_node="a")

    graph.invoke(inputs, THREAD)
    graph.batch([inputs], THREAD)
    _ = graph.stream_events(inputs, THREAD, version="v3").output
    graph.update_state(THREAD, inputs, as_node="a")
    asyncio.run(asynchronous())

    assert graph.entered == [
        *["stream"] * 3,
        "bulk_update_state",
        *["astream"] * 5,
        "abulk_update_state",
    ]


def test_channel_writes_in_a_row_are_joined_but_not_those_that_a_command_passes_by() -> None:
    builder = built().add_node("b", node).add_edge("a", "b").add_node("c", node).add_edge("a", "c")
    compiled = builder.compile().nodes["a"]
    edges = [_langgraph.unless_command(writer) for writer in compiled.writers[1:]]
    assert len(compiled.flat_writers) == 1
    assert len(compiled.copy({"writers": [compiled.writers[0], *edges]}).flat_writers) == 3


def test_the_retry_loop_pauses_by_names_of_its_module_while_it_handles_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handled: list[BaseException | None] = []

    def sleep(seconds: float) -> None:
        handled.append(sys.exception())

    async def asleep(seconds: float) -> None:
        handled.append(sys.exception())

    def fail(state: State) -> None:
        raise ConnectionError

    monkeypatch.setattr(_retry, "time", SimpleNamespace(sleep=sleep, time=time.time))
    monkeypatch.setattr(
        _retry, "asyncio", SimpleNamespace(sleep=asleep, CancelledError=asyncio.CancelledError)
    )
    twice = RetryPolicy(initial_interval=60.0, max_attempts=2)
    graph = StateGraph(State).add_node("a", fail, retry_policy=twice).add_edge(START, "a").compile()
    with pytest.raises(ConnectionError):
        graph.invoke({"said": []})
    with pytest.raises(ConnectionError):
        asyncio.run(graph.ainvoke({"said": []}))
    assert [type(error) for error in handled] == [ConnectionError, ConnectionError]


@pytest.mark.parametrize("refresh_on", ["auto", "heartbeat"])
def test_a_timed_node_s_heartbeat_is_of_a_scope_that_knows_what_counts(refresh_on: Any) -> None:
    scope = _retry._TimedAttemptScope(refresh_on=refresh_on)
    given: RunnableConfig = {"configurable": {"__pregel_runtime": Runtime()}}

    runtime = _langgraph.runtime_in(scope.wrap_config(given))

    assert runtime is not None
    assert runtime.heartbeat.__self__ is scope  # type: ignore[attr-defined]
    assert scope._refresh_on == refresh_on
