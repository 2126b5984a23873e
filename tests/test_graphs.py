"""Hardening changes nothing that a graph means; bad set-ups are refused while building."""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import RunControl, Runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Call,
    CaptureErrors,
    ConfigurationError,
    Handler,
    Metrics,
    Policy,
    RateLimit,
    RateLimitExceeded,
    Redact,
    Run,
    TokenUsage,
    Tracing,
    current_run,
    harden,
)
from lg_prod_nodes.core.report import Kind


class Answer(TypedDict):
    question: str
    answer: str


class State(TypedDict):
    said: Annotated[list[Any], operator.add]


@dataclass(frozen=True)
class Diary(Policy):
    """Notes what it wraps and how that ended."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "update"})
    pages: list[str] = field(default_factory=list, compare=False)
    name: str = "diary"

    async def wrap(self, call: Call, handler: Handler) -> Any:
        error: BaseException | None = None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.pages.append(f"{call.kind} {call.node or call.name} {call.outcome(error)}")


class Shouting(Policy):
    """Changes what nodes return."""

    async def wrap(self, call: Call, handler: Handler) -> Any:
        result = await handler(call)
        return {"said": [word.upper() for word in result["said"]]}


def says(word: str) -> Callable[[State], dict[str, list[str]]]:
    def node(state: State) -> dict[str, list[str]]:
        return {"said": [word]}

    return node


def line(*words: str) -> StateGraph[State]:
    return (
        StateGraph(State)
        .add_sequence([(word, says(word)) for word in words])
        .add_edge(START, words[0])
    )


THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


def test_the_user_s_builder_stays_untouched_and_compiles_again() -> None:
    builder = line("a", "b").set_node_defaults(error_handler=says("handled"))
    nodes = dict(builder.nodes)

    hardened = harden(builder, [Diary()])
    graphs = [hardened.compile(), hardened.compile(), builder.compile()]

    assert all(graph.invoke({"said": []}) == {"said": ["a", "b"]} for graph in graphs)
    assert all(builder.nodes[name] is spec for name, spec in nodes.items())


def test_nodes_added_after_hardening_are_hardened_too() -> None:
    diary = Diary()
    builder = harden(line("a"), [diary])
    builder.add_node("late", says("late")).add_edge("a", "late")

    assert builder.compile().invoke({"said": []}) == {"said": ["a", "late"]}
    assert diary.pages == ["node a ok", "node late ok", "run LangGraph ok"]


def test_hardening_twice_wraps_once() -> None:
    diary = Diary()
    once = harden(line("a"), [diary])

    harden(once, [diary]).compile().invoke({"said": []})
    harden(harden(line("a").compile(), [diary]), [diary]).invoke({"said": []})

    assert diary.pages == ["node a ok", "run LangGraph ok"] * 2


def test_hardening_again_puts_further_policies_outside() -> None:
    pages: list[str] = []
    inner, outer = Diary(pages, name="inner"), Diary(pages, name="outer")

    harden(harden(line("a"), [inner]), [outer]).compile().invoke({"said": []})

    assert pages == ["node a ok"] * 2 + ["run LangGraph ok"] * 2


def test_a_subgraph_is_reached_and_one_hardened_by_itself_keeps_its_own_policies() -> None:
    outer, own = Diary(name="outer"), Diary(name="own")
    plain = line("x").compile(name="plain")
    by_itself = harden(line("y"), [own]).compile(name="by_itself")
    builder = StateGraph(State).add_node("plain", plain).add_node("by_itself", by_itself)
    builder.add_edge(START, "plain").add_edge("plain", "by_itself")

    harden(builder, [outer]).compile().invoke({"said": []})

    assert outer.pages == [
        "node plain/x ok",
        "node plain ok",
        "node by_itself/y ok",
        "node by_itself ok",
        "run LangGraph ok",
    ]
    assert own.pages == ["node by_itself/y ok", "run by_itself ok"]


def test_a_subgraph_hardened_by_itself_gets_what_it_lacks_from_outside() -> None:
    inner = harden(line("x"), [Diary()]).compile()
    builder = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")

    result = harden(builder, [Shouting()]).compile().invoke({"said": []})

    assert result == {"said": ["X"]}
    assert inner.invoke({"said": []}) == {"said": ["x"]}


def test_a_compiled_agent_keeps_its_settings() -> None:
    model = FakeListChatModel(responses=["hello"])
    agent = create_agent(model, name="desk", checkpointer=InMemorySaver())
    diary = Diary()

    hardened = harden(agent, [diary])
    result = hardened.invoke({"messages": [("user", "hi")]}, THREAD)

    assert result["messages"][-1].text == "hello"
    assert diary.pages == ["node model ok", "run desk ok"]
    assert (hardened.name, hardened.config) == (agent.name, agent.config)
    assert hardened.checkpointer is agent.checkpointer
    assert agent.invoke({"messages": [("user", "hi")]}, THREAD)
    assert len(diary.pages) == 2


def test_a_checkpointer_assigned_after_compiling_is_used() -> None:
    graph = harden(line("a"), [Diary()]).compile()
    graph.checkpointer = InMemorySaver()

    graph.invoke({"said": []}, THREAD)

    assert graph.get_state(THREAD).values == {"said": ["a"]}


def test_with_config_and_copy_stay_hardened() -> None:
    diary = Diary()
    graph = harden(line("a"), [diary]).compile().with_config(tags=["x"])

    graph.invoke({"said": []})

    assert diary.pages == ["node a ok", "run LangGraph ok"]


def test_a_policy_for_one_node_wraps_that_node_alone() -> None:
    diary = Diary()

    harden(line("a", "b"), nodes={"b": [diary]}).compile().invoke({"said": []})

    assert diary.pages == ["node b ok"]


def test_an_interrupt_is_no_error_and_the_run_resumes() -> None:
    def ask(state: State) -> dict[str, list[str]]:
        return {"said": [interrupt("really?")]}

    diary = Diary()
    builder = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
    graph = harden(builder, [diary]).compile(InMemorySaver())

    paused = graph.invoke({"said": []}, THREAD)
    result = graph.invoke(Command(resume="yes"), THREAD)

    assert paused["__interrupt__"][0].value == "really?"
    assert result == {"said": ["yes"]}
    assert diary.pages == [
        "node ask interrupt",
        "run LangGraph interrupt",
        "node ask ok",
        "run LangGraph ok",
    ]


def test_commands_sends_and_retries_pass_through() -> None:
    tries: list[int] = []

    def fan_out(state: State) -> Command[Any]:
        return Command(
            update={"said": ["out"]}, goto=[Send("flaky", {"said": [n]}) for n in (1, 2)]
        )

    def flaky(state: State) -> dict[str, list[Any]]:
        tries.append(state["said"][0])
        if tries.count(state["said"][0]) == 1:
            raise ConnectionError
        return {"said": state["said"]}

    diary = Diary()
    builder = StateGraph(State).add_node("out", fan_out, destinations=("flaky",))
    builder.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    graph = harden(builder.add_edge(START, "out"), [diary]).compile()

    assert sorted(graph.invoke({"said": []})["said"], key=str) == [1, 2, "out"]
    assert diary.pages.count("node flaky error") == diary.pages.count("node flaky ok") == 2


def test_a_command_to_the_parent_is_no_error() -> None:
    def leave(state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, goto="after", update={"said": ["left"]})

    diary = Diary()
    child = StateGraph(State).add_node("leave", leave).add_edge(START, "leave").compile()
    builder = StateGraph(State).add_node("child", child, destinations=("after",))
    builder.add_node("after", says("after")).add_edge(START, "child")

    result = harden(builder, [diary]).compile().invoke({"said": []})

    assert result == {"said": ["left", "after"]}
    assert not [page for page in diary.pages if page.endswith("error")]


async def test_a_cancelled_run_is_told_as_cancelled() -> None:
    started = asyncio.Event()

    async def forever(state: State) -> None:
        started.set()
        await asyncio.Event().wait()

    diary = Diary()
    builder = StateGraph(State).add_node("forever", forever).add_edge(START, "forever")
    task = asyncio.create_task(harden(builder, [diary]).compile().ainvoke({"said": []}))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert diary.pages == ["node forever cancelled", "run LangGraph cancelled"]


async def test_a_stream_that_is_left_early_ends_its_run() -> None:
    diary = Diary()
    graph = harden(line("a", "b"), [diary]).compile()

    stream = graph.stream({"said": []})
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    astream = graph.astream({"said": []})
    await anext(astream)
    await astream.aclose()  # type: ignore[attr-defined]

    assert diary.pages == ["node a ok", "run LangGraph cancelled"] * 2


def test_a_stream_that_is_never_read_starts_nothing() -> None:
    diary = Diary()
    harden(line("a"), [diary]).compile().stream({"said": []})
    assert diary.pages == []


def test_updates_of_state_pass_the_boundary() -> None:
    diary = Diary()
    graph = harden(line("a"), [diary]).compile(InMemorySaver())

    graph.update_state(THREAD, {"said": ["by hand"]}, as_node="a")
    asyncio.run(graph.aupdate_state(THREAD, {"said": ["again"]}, as_node="a"))

    assert diary.pages == ["update LangGraph ok"] * 2


def test_a_node_s_stream_reaches_events_chunk_by_chunk_unless_a_policy_changes_it() -> None:
    async def words(state: State) -> Any:
        yield {"said": ["one"]}
        yield {"said": ["two"]}

    builder = StateGraph(State).add_node("words", RunnableLambda(words)).add_edge(START, "words")

    async def chunks(policy: Policy) -> list[Any]:
        graph = harden(builder, [policy]).compile()
        events = [event async for event in graph.astream_events({"said": []}, version="v2")]
        return [
            event["data"]["chunk"]
            for event in events
            if event["event"] == "on_chain_stream" and event["name"] == "words"
        ]

    assert asyncio.run(chunks(Tracing())) == asyncio.run(chunks(TokenUsage()))
    assert asyncio.run(chunks(Shouting()))[-1] == {"said": ["TWO"]}


def test_drawings_and_attributes_show_the_user_s_own_nodes() -> None:
    def tool(x: int) -> int:
        """Give back a number."""
        return x

    builder = StateGraph(State).add_node("tools", ToolNode([tool])).add_edge(START, "tools")
    bare, hardened = builder.compile(), harden(builder, [Diary()]).compile()

    assert hardened.get_graph().to_json() == bare.get_graph().to_json()
    assert hardened.get_graph().draw_mermaid() == bare.get_graph().draw_mermaid()
    assert list(hardened.nodes["tools"].bound.tools_by_name) == ["tool"]
    assert repr(hardened.nodes["tools"].bound) == repr(bare.nodes["tools"].bound)


def test_the_refusal_of_a_timeout_on_a_sync_node_stays() -> None:
    builder = StateGraph(State).add_node("slow", says("x"), timeout=1.0).add_edge(START, "slow")
    with pytest.raises(ValueError, match="timeout"):
        harden(builder, [Diary()]).compile()


def test_an_error_of_the_user_s_stays_what_it_was() -> None:
    builder = StateGraph(State).add_node("bad", lambda _: 3).add_edge(START, "bad")
    with pytest.raises(InvalidUpdateError):
        harden(builder, [Tracing(), CaptureErrors()]).compile().invoke({"said": []})


def test_a_run_is_visible_to_nodes_and_to_the_caller() -> None:
    seen: list[Run | None] = []

    def node(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
        seen.extend([current_run(), runtime.control])  # type: ignore[list-item]
        return {"said": ["x"]}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = harden(builder, [Diary()]).compile(InMemorySaver(), name="desk")
    run = Run()
    config: RunnableConfig = {"configurable": {"thread_id": "7", "user_id": "ada"}}

    graph.invoke({"said": []}, config, control=run)

    assert seen == [run, run]
    assert (run.graph, run.thread_id, run.user_id, run.report.outcome) == ("desk", "7", "ada", "ok")
    assert current_run() is None


def test_a_drain_asked_through_the_caller_s_own_control_is_seen() -> None:
    control = RunControl()
    seen: list[bool] = []

    def node(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
        control.request_drain("going down")
        seen.append(runtime.drain_requested)
        return {"said": ["x"]}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    harden(builder, [Diary()]).compile().invoke({"said": []}, control=control)

    assert seen == [True]


@pytest.mark.parametrize(
    ("policies", "nodes", "complaint"),
    [
        ([], {"nobody": [Diary()]}, "no node named 'nobody'; the graph has a"),
        ([Metrics(), Metrics()], {}, "2 Metrics policies"),
        ([RateLimit], {}, "the class RateLimit was given as a policy"),
        (["10/second"], {}, "a str was given as a policy"),
        ([RateLimit("1/second", reply="Slow down.")], {}, "writes to messages, which"),
        ([CaptureErrors(then="end", state_key="errors")], {}, "writes to errors, which"),
    ],
)
def test_a_set_up_that_cannot_work_is_refused_while_building(
    policies: Any, nodes: Any, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        harden(line("a"), policies, nodes=nodes)


def test_observers_stand_outermost_whatever_the_order() -> None:
    hardened = harden(line("a"), [RateLimit("1/second"), Metrics(), Redact(), Tracing()])
    order = [name for name in re.findall(r"(\w+)\(", repr(hardened)) if name[0].isupper()]
    assert [name for name in order if name in ("Metrics", "Tracing", "RateLimit", "Redact")] == [
        "Metrics",
        "Tracing",
        "RateLimit",
        "Redact",
    ]


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="harden was given a function"):
        harden(says("x"), [])  # type: ignore[call-overload]


def counted(*policies: Policy) -> tuple[Any, list[str]]:
    ran: list[str] = []

    def agent(state: MessagesState) -> dict[str, Any]:
        ran.append("agent")
        return {"messages": [("assistant", "raw bob@example.com")]}

    builder = StateGraph(MessagesState).add_node("agent", agent).add_edge(START, "agent")
    return harden(builder, policies).compile(InMemorySaver()), ran


HELLO: Any = {"messages": [("user", "hello")]}


@pytest.mark.parametrize(
    "around",
    [
        Command(goto="agent"),
        Command(update=HELLO),
        Command(resume=0, goto="agent"),
        Command(resume=0, update=HELLO, goto="agent"),
    ],
)
def test_a_command_is_no_way_around_a_limit(around: Any) -> None:
    graph, ran = counted(RateLimit("1/hour", reply="slow"), Redact("EMAIL_ADDRESS"))
    graph.invoke(HELLO, THREAD)
    run = Run()

    messages = graph.invoke(around, THREAD, control=run)["messages"]

    assert (ran, run.report.outcome) == (["agent"], "rejected")
    assert messages[-1].text == "slow"
    assert graph.get_state(THREAD).next == ()


def test_calls_of_a_limited_graph_from_one_node_all_count() -> None:
    inner, ran = counted(RateLimit("2/hour"))

    def loop(state: State) -> dict[str, list[str]]:
        for number in range(3):
            inner.invoke(HELLO, {"configurable": {"thread_id": str(number)}})
        return {"said": []}

    for policies in ([], [Diary()]):
        builder = StateGraph(State).add_node("loop", loop).add_edge(START, "loop")
        with pytest.raises(RateLimitExceeded):
            harden(builder, policies).compile().invoke({"said": []})
    assert ran == ["agent"] * 2


def test_an_error_that_is_raised_past_a_recovery_lets_the_node_run_again() -> None:
    tries: list[int] = []

    def node(state: State) -> dict[str, list[str]]:
        tries.append(1)
        if len(tries) == 1:
            raise PermissionError
        return {"said": ["done"]}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    policy = CaptureErrors(then="continue", critical=(PermissionError,))
    graph = harden(builder, [policy]).compile(InMemorySaver())

    with pytest.raises(PermissionError):
        graph.invoke({"said": []}, THREAD)
    assert graph.get_state(THREAD).next == ("node",)
    assert graph.invoke(None, THREAD) == {"said": ["done"]}


async def test_a_buffered_stream_joins_its_chunks() -> None:
    model = FakeListChatModel(responses=["one two"])
    answer: Any = RunnableLambda(lambda state: "q") | model | StrOutputParser()
    builder = StateGraph(Answer).add_node("chain", RunnablePassthrough.assign(answer=answer))
    graph = harden(builder.add_edge(START, "chain"), [Redact("EMAIL_ADDRESS")]).compile()

    events = [event async for event in graph.astream_events({"question": "q"}, version="v2")]

    assert events[-1]["data"]["output"]["answer"] == "one two"


def test_an_observer_that_fails_does_not_fail_the_run() -> None:
    class Clumsy(Policy):
        def observe(self, event: Any) -> None:
            raise KeyError

    graph, ran = counted(Clumsy(), RateLimit("1/hour"))
    run = Run()
    graph.invoke(HELLO, THREAD, control=run)

    assert ran == ["agent"]
    assert run.report.events["observer_failed"] == 1
