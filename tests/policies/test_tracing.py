from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import LogCapture
from tests.conftest import restore_structlog, structlog_config
from tests.policies.conftest import AT_ONCE, FakeModel, Runner, State, fails, notes, one

from lg_prod_nodes import Tracing, harden, trace_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
IDS = {"user_id": "ada", "thread_id": "thread-7", "request_id": "request-7"}
RUN_ID = "0e9e5154-fa59-4c41-bd86-7f1abee47549"
CONFIG: Any = {"run_id": RUN_ID, "configurable": {**IDS, "traceparent": TRACEPARENT}}


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged, with what is bound."""
    before = structlog_config()
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    yield capture.entries
    restore_structlog(before)


def logs(event: str = "said") -> Any:
    def node(state: State) -> Any:
        structlog.get_logger().info(event)
        return {"log": [event]}

    return node


def line(lines: list[Any], event: str = "said") -> Any:
    (only,) = [line for line in lines if line["event"] == event]
    return only


async def test_each_line_of_a_node_tells_who_and_what(run: Runner, lines: list[Any]) -> None:
    graph = harden(one(logs()), [Tracing()]).compile(name="desk")

    await run(graph, {"log": []}, CONFIG)

    said = line(lines)
    assert said.items() >= {**IDS, "run_id": RUN_ID, "graph": "desk", "trace_id": TRACE}.items()
    assert (said["node"], said["attempt"]) == ("node", 1)
    assert re.fullmatch("[0-9a-f]{16}", said["span_id"])
    assert said["span_id"] != SPAN


async def test_a_run_is_logged_from_its_start_to_its_end(run: Runner, lines: list[Any]) -> None:
    graph = harden(one(lambda state: {"text": interrupt("how?")}), [Tracing(log_runs=True)])
    paused = graph.compile(InMemorySaver())

    await run(paused, {"log": []}, CONFIG)
    await run(paused, Command(resume="so"), {"configurable": IDS})

    told = [(line["event"], line.get("resumed", line.get("outcome"))) for line in lines]
    assert told == [
        ("run started", False),
        ("run ended", "interrupt"),
        ("run started", True),
        ("run ended", "ok"),
    ]
    assert all(line["thread_id"] == "thread-7" for line in lines)
    assert lines[0]["run_id"] == RUN_ID != lines[2]["run_id"]


def test_a_failed_run_s_end_is_logged_without_its_message(lines: list[Any]) -> None:
    with pytest.raises(ValueError, match="secret"):
        harden(one(fails), [Tracing(log_runs=True)]).compile().invoke({"log": []})

    assert line(lines, "run ended")["outcome"] == "error"
    assert "secret" not in repr(lines)


def test_runs_are_not_logged_unless_asked_for(lines: list[Any]) -> None:
    harden(one(logs()), [Tracing()]).compile().invoke({"log": []})

    assert [line["event"] for line in lines] == ["said"]


def test_attempts_are_told(lines: list[Any]) -> None:
    def node(state: State) -> Any:
        structlog.get_logger().info("tried")
        fails(state)

    with pytest.raises(ValueError, match="secret"):
        harden(one(node, retry_policy=AT_ONCE), [Tracing()]).compile().invoke({})

    assert [line["attempt"] for line in lines if line["event"] == "tried"] == [1, 2, 3]


async def test_lines_of_parallel_and_nested_nodes_tell_it_too(
    run: Runner, lines: list[Any]
) -> None:
    inner = one(logs("inner"), "deep").compile()
    builder = StateGraph(State).add_node("work", logs()).add_node("inner", inner)
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])

    await run(harden(builder.add_edge("work", "inner"), [Tracing()]).compile(), {}, CONFIG)

    assert [line["node"] for line in lines if line["event"] == "said"] == ["work"] * 3
    assert line(lines, "inner")["node"] == "inner/deep"
    assert {line["trace_id"] for line in lines} == {TRACE}
    assert len({line["span_id"] for line in lines}) == 1


async def test_lines_of_threads_and_tasks_of_a_node_tell_it_too(lines: list[Any]) -> None:
    async def node(state: State) -> None:
        await asyncio.to_thread(logs("in a thread"), state)
        await asyncio.create_task(asyncio.to_thread(logs("in a task"), state))

    await harden(one(node), [Tracing()]).compile().ainvoke({"log": []}, CONFIG)

    assert line(lines, "in a thread")["user_id"] == line(lines, "in a task")["user_id"] == "ada"


async def test_lines_of_tools_tell_it_too(run: Runner, lines: list[Any]) -> None:
    @tool
    def look_up(who: str) -> str:
        """Look somebody up."""
        structlog.get_logger().info("looked up", traceparent=trace_headers()["traceparent"])
        return who

    call = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}
    agent = create_agent(FakeModel(calls=(call,)), [look_up])

    await run(harden(agent, [Tracing()]), {"messages": [("user", "hi")]}, CONFIG)

    told = line(lines, "looked up")
    assert (told["user_id"], told["node"]) == ("ada", "tools")
    assert told["traceparent"] == f"00-{TRACE}-{told['span_id']}-01"


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_the_caller_s_trace_goes_on(run: Runner, flags: str) -> None:
    sent: list[str] = []
    graph = harden(one(lambda state: sent.append(trace_headers()["traceparent"])), [Tracing()])
    config = {"configurable": {"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}}

    await run(graph.compile(), {"text": "x"}, config)

    assert re.fullmatch(f"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-{flags}", sent[0])


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        7,
        "",
        "garbage",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx-evil: 1",
    ],
)
def test_without_a_sound_traceparent_a_trace_begins(malformed: Any, lines: list[Any]) -> None:
    graph = harden(one(logs()), [Tracing()]).compile()

    graph.invoke({"log": []}, {"configurable": {"traceparent": malformed}})

    trace = line(lines)["trace_id"]
    assert re.fullmatch("[0-9a-f]{32}", trace)
    assert trace not in (TRACE, "0" * 32)


def test_a_later_version_of_the_header_goes_on_too(lines: list[Any]) -> None:
    later = f"01-{TRACE}-{SPAN}-01-what-the-future-adds"

    graph = harden(one(logs()), [Tracing()]).compile()
    graph.invoke({"log": []}, {"configurable": {"traceparent": later}})

    assert line(lines)["trace_id"] == TRACE


def test_there_are_no_headers_outside_of_a_run() -> None:
    assert trace_headers() == {}
    sent: list[dict[str, str]] = []
    one(lambda state: sent.append(trace_headers())).compile().invoke({"text": "x"})
    assert sent == [{}]


async def test_nothing_stays_bound(run: Runner) -> None:
    graph = harden(one(logs()), [Tracing()]).compile()

    await run(graph, {"log": []}, CONFIG)

    assert get_contextvars() == {}


async def test_nothing_is_bound_for_the_reader_of_a_stream() -> None:
    builder = one(notes(1), "a").add_node("b", notes(2)).add_edge("a", "b")
    graph = harden(builder, [Tracing()]).compile()
    bound = [get_contextvars() for _ in graph.stream({"log": []}, CONFIG)]
    bound += [get_contextvars() async for _ in graph.astream({"log": []}, CONFIG)]

    parts = graph.stream({"log": []}, CONFIG)
    next(parts)
    parts.close()

    assert [*bound, get_contextvars()] == [{}] * 5


async def test_runs_side_by_side_keep_their_ids_apart(lines: list[Any]) -> None:
    async def node(state: State) -> None:
        await asyncio.sleep(0)
        structlog.get_logger().info("said", expected=state["text"])

    graph = harden(one(node), [Tracing()]).compile()
    users = [f"user-{number}" for number in range(5)]

    runs = [graph.ainvoke({"text": user}, {"configurable": {"user_id": user}}) for user in users]
    await asyncio.gather(*runs)

    said = [line for line in lines if line["event"] == "said"]
    assert sorted(line["user_id"] for line in said) == users
    assert all(line["user_id"] == line["expected"] for line in said)
