from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
import structlog
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.contextvars import get_contextvars
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    fails,
    notes,
    one,
)

from lg_prod_nodes import CaptureErrors, RateLimit, Tracing, as_middleware, harden, trace_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
CALLER: Any = {"configurable": {"thread_id": "1", "traceparent": TRACEPARENT}}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(otel=provider)


def spans(exporter: InMemorySpanExporter, prefix: str = "") -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name.startswith(prefix)]


def span(exporter: InMemorySpanExporter, prefix: str) -> Any:
    (only,) = spans(exporter, prefix)
    return only


def tree(exporter: InMemorySpanExporter) -> list[str]:
    """Each span with those around it, as a path."""
    known = {span.context.span_id: span for span in exporter.get_finished_spans()}

    def path(span: Any) -> str:
        parent = known.get(span.parent.span_id) if span.parent else None
        return f"{path(parent)} > {span.name}" if parent else str(span.name)

    return sorted(map(path, known.values()))


def outcomes(exporter: InMemorySpanExporter, prefix: str = "") -> list[Any]:
    return [dict(span.attributes or {})["lg_prod.outcome"] for span in spans(exporter, prefix)]


async def test_a_run_its_node_and_its_model_call_are_spans(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    graph = harden(one(asks(model)), [tracing]).compile(name="desk")

    await run(graph, {"messages": [("user", "private")]})

    top = "invoke_workflow desk"
    assert tree(exporter) == [
        top,
        f"{top} > node node",
        f"{top} > node node > chat gpt-4o-mini",
    ]
    assert outcomes(exporter) == ["ok"] * 3
    asked = span(exporter, "chat")
    assert asked.kind is SpanKind.CLIENT
    assert dict(asked.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fakemodel",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "lg_prod.outcome": "ok",
    }
    assert dict(span(exporter, "node").attributes) == {
        "lg_prod.node": "node",
        "lg_prod.attempt": 1,
        "lg_prod.outcome": "ok",
    }


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_streamed_model_call_is_a_span_with_its_tokens(
    way: str, exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    def node(state: State) -> Any:
        return {"log": [chunk.text for chunk in model.stream("hi")]}

    async def anode(state: State) -> Any:
        return {"log": [chunk.text async for chunk in model.astream("hi")]}

    graph = harden(one(node if way == "stream" else anode), [tracing]).compile()
    await graph.ainvoke({"log": []})

    assert dict(span(exporter, "chat").attributes)["gen_ai.usage.output_tokens"] == 4


async def test_tools_of_an_agent_are_spans(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    @tool
    def look_up(who: str) -> str:
        """Look somebody up."""
        return who

    call = {"name": "look_up", "args": {"who": "ann"}, "id": "call-1", "type": "tool_call"}
    agent = create_agent(FakeModel(calls=(call,)), [look_up], name="desk")

    await run(harden(agent, [tracing]), {"messages": [("user", "hi")]})

    top = "invoke_workflow desk"
    assert f"{top} > node tools > execute_tool look_up" in tree(exporter)
    assert tree(exporter).count(f"{top} > node model > chat gpt-4o-mini") == 2
    assert dict(span(exporter, "execute_tool").attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "lg_prod.outcome": "ok",
    }


async def test_as_middleware_it_opens_spans_of_models_and_tools(
    exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    agent = create_agent(FakeModel(), [], middleware=[as_middleware(tracing)])

    await agent.ainvoke({"messages": [("user", "hi")]})

    assert tree(exporter) == ["chat gpt-4o-mini"]


async def test_parallel_and_nested_nodes_hang_where_they_belong(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    inner = one(asks(model), "deep").compile()
    builder = StateGraph(State).add_node("work", notes(1)).add_node("inner", inner)
    builder.add_conditional_edges(START, lambda state: [Send("work", {})] * 3, ["work"])
    graph = harden(builder.add_edge("work", "inner"), [tracing]).compile(name="desk")

    await run(graph, {}, CALLER)

    top = "invoke_workflow desk"
    deep = f"{top} > node inner > node inner/deep"
    assert tree(exporter) == sorted(
        [
            top,
            *[f"{top} > node work"] * 3,
            f"{top} > node inner",
            deep,
            f"{deep} > chat gpt-4o-mini",
        ]
    )
    assert {f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans()} == {TRACE}
    assert f"{span(exporter, top).parent.span_id:016x}" == SPAN


async def test_a_hardened_graph_in_a_hardened_graph(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    inner = harden(one(notes(1), "deep"), [tracing]).compile(name="inner")
    outer = harden(one(inner, "sub"), [tracing]).compile(name="outer")

    await run(outer, {"log": []}, CALLER)

    path = "invoke_workflow outer > node sub > invoke_workflow inner > node deep"
    assert path in tree(exporter)


async def test_spans_of_runs_side_by_side_keep_apart(
    exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    async def node(state: State) -> None:
        await asyncio.sleep(0)

    graph = harden(one(node), [tracing]).compile()

    await asyncio.gather(*(graph.ainvoke({"text": "x"}) for _ in range(5)))

    assert len({span.context.trace_id for span in spans(exporter, "invoke_workflow")}) == 5
    parents = {span.context.span_id for span in spans(exporter, "invoke_workflow")}
    assert {span.parent.span_id for span in spans(exporter, "node") if span.parent} == parents


async def test_an_error_is_told_by_its_type_alone(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    graph = harden(one(fails, retry_policy=AT_ONCE), [tracing]).compile()

    with pytest.raises(ValueError, match="secret"):
        await run(graph, {"text": "private"})

    tries = spans(exporter, "node")
    assert [dict(span.attributes or {})["lg_prod.attempt"] for span in tries] == [1, 2, 3]
    for failed in (*tries, span(exporter, "invoke_workflow")):
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.status.description is None
        assert failed.attributes["error.type"] == "ValueError"
        assert not failed.events
    assert "secret" not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_an_error_that_a_policy_recovers_from_is_the_node_s_alone(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    graph = harden(one(fails), [tracing, CaptureErrors(then="continue")]).compile()

    await run(graph, {"log": []})

    assert span(exporter, "node").status.status_code is StatusCode.ERROR
    assert span(exporter, "invoke_workflow").status.status_code is StatusCode.UNSET


async def test_an_interrupt_is_no_error_and_its_resumption_goes_on_with_the_trace(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    builder = one(lambda state: {"text": interrupt("how?")})
    graph = harden(builder, [tracing]).compile(InMemorySaver())

    await run(graph, {"log": []}, CALLER)
    await run(graph, Command(resume="so"), CALLER)

    assert outcomes(exporter, "node") == ["interrupt", "ok"]
    assert outcomes(exporter, "invoke_workflow") == ["interrupt", "ok"]
    assert all(s.status.status_code is StatusCode.UNSET for s in spans(exporter))
    assert {f"{s.context.trace_id:032x}" for s in spans(exporter)} == {TRACE}
    resumed = [dict(s.attributes or {})["lg_prod.run.resumed"] for s in spans(exporter, "invoke")]
    assert resumed == [False, True]


async def test_a_run_inside_of_another_span_is_linked_to_its_caller_s_trace(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    graph = harden(one(notes(1)), [tracing]).compile()
    tracer = trace.get_tracer("app", tracer_provider=tracing.otel)  # type: ignore[arg-type]

    with tracer.start_as_current_span("request") as request:
        await run(graph, {"log": []}, CALLER)

    top = span(exporter, "invoke_workflow")
    assert top.parent.span_id == request.get_span_context().span_id
    (link,) = top.links
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == f"{TRACE}-{SPAN}"


async def test_a_request_that_is_a_span_of_the_caller_s_trace_is_the_parent(
    exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    graph = harden(one(notes(1)), [tracing]).compile()
    tracer = trace.get_tracer("app", tracer_provider=tracing.otel)  # type: ignore[arg-type]

    with tracer.start_as_current_span("request") as request:
        headers = f"00-{request.get_span_context().trace_id:032x}-{SPAN}-01"
        graph.invoke({"log": []}, {"configurable": {"traceparent": headers}})

    top = span(exporter, "invoke_workflow")
    assert top.parent.span_id == request.get_span_context().span_id
    assert not top.links


@pytest.mark.parametrize(
    "config",
    [
        {"configurable": {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}},
        {"metadata": {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}},
        {"configurable": {"__otel_traceparent__": TRACEPARENT, "__otel_tracestate__": "vendor=1"}},
    ],
)
def test_the_caller_s_headers_are_taken_from_where_they_are(
    config: Any, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    sent: list[dict[str, str]] = []
    graph = harden(one(lambda state: sent.append(trace_headers())), [tracing]).compile()

    graph.invoke({"text": "x"}, config)

    node = span(exporter, "node").context
    assert sent == [{"traceparent": f"00-{TRACE}-{node.span_id:016x}-01", "tracestate": "vendor=1"}]


async def test_an_abandoned_stream_ends_its_spans(
    exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    builder = one(asks(model), "a").add_node("b", notes(2)).add_edge("a", "b")
    graph = harden(builder, [tracing]).compile()
    for mode in ("updates", "messages"):
        parts = graph.stream({"log": []}, stream_mode=mode)
        next(parts)
        parts.close()
        aparts = graph.astream({"log": []}, stream_mode=mode)
        await anext(aparts)
        await aparts.aclose()

    assert outcomes(exporter, "invoke_workflow") == ["cancelled"] * 4
    assert all(span.end_time for span in exporter.get_finished_spans())
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_cancelled_run_ends_its_spans(
    exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    started = asyncio.Event()

    async def endless(state: State) -> Any:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(harden(one(endless), [tracing]).compile().ainvoke({"log": []}))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes(exporter) == ["cancelled", "cancelled"]
    assert all(s.status.status_code is StatusCode.UNSET for s in spans(exporter))


def test_a_refused_run_is_no_error(exporter: InMemorySpanExporter, tracing: Tracing) -> None:
    graph = harden(one(notes(1)), [tracing, RateLimit("1/hour", reply="Slow down.")]).compile()

    for _ in range(2):
        graph.invoke({"messages": [("user", "hi")]})

    assert outcomes(exporter, "invoke_workflow") == ["ok", "rejected"]


@pytest.fixture
def threads() -> Iterator[None]:
    """OpenTelemetry's own instrumentation of threads."""
    instrumentor = ThreadingInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()


async def test_work_in_the_background_of_a_node_continues_its_trace(
    exporter: InMemorySpanExporter, tracing: Tracing, threads: None
) -> None:
    tracer = trace.get_tracer("app", tracer_provider=tracing.otel)  # type: ignore[arg-type]

    def works(name: str) -> None:
        with tracer.start_as_current_span(name):
            pass

    async def node(state: State) -> None:
        thread = threading.Thread(target=works, args=("thread",))
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, works, "executor")
        await asyncio.create_task(asyncio.to_thread(works, "task"))
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(works, "pool").result()

    await harden(one(node), [tracing]).compile(name="desk").ainvoke({"log": []})

    top = "invoke_workflow desk > node node"
    names = ("executor", "pool", "task", "thread")
    assert [p for p in tree(exporter) if p.startswith(f"{top} >")] == [
        f"{top} > {n}" for n in names
    ]


async def test_ids_and_headers_are_where_the_context_of_a_node_is(tracing: Tracing) -> None:
    seen: list[dict[str, Any]] = []

    def works() -> None:
        seen.append(get_contextvars() | trace_headers())

    async def node(state: State) -> None:
        await asyncio.create_task(asyncio.to_thread(works))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, works).result()

    config: Any = {"configurable": {"user_id": "ada"}}
    await harden(one(node), [tracing]).compile(name="desk").ainvoke({"log": []}, config)

    assert [(ids["user_id"], ids["node"]) for ids in seen] == [("ada", "node")] * 2
    assert len({ids["span_id"] for ids in seen}) == 1


def test_no_thread_is_patched(tracing: Tracing) -> None:
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    harden(one(lambda state: None), [tracing]).compile().invoke({"text": "x"})

    assert (threading.Thread.start, ThreadPoolExecutor.submit) == (start, submit)


def test_a_pool_s_thread_keeps_nothing_of_the_run_that_started_it(tracing: Tracing) -> None:
    with ThreadPoolExecutor(1) as pool:
        graph = harden(one(lambda state: pool.submit(print, end="").result()), [tracing]).compile()
        graph.invoke({"text": "x"})

        assert pool.submit(get_contextvars).result() == {}
        assert pool.submit(trace.get_current_span).result() is trace.INVALID_SPAN


async def test_log_lines_tell_the_span_that_they_are_logged_in(
    run: Runner, exporter: InMemorySpanExporter, tracing: Tracing
) -> None:
    seen: list[dict[str, Any]] = []
    graph = harden(one(lambda state: seen.append(get_contextvars())), [tracing]).compile()

    await run(graph, {"text": "x"}, CALLER)

    assert seen[0]["trace_id"] == TRACE
    assert seen[0]["span_id"] == f"{span(exporter, 'node').context.span_id:016x}"


def test_after_a_model_call_it_is_the_node_s_span_again(
    exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    def node(state: State) -> Any:
        model.invoke("hi")
        here = f"{trace.get_current_span().get_span_context().span_id:016x}"
        return {"log": [{**get_contextvars(), **trace_headers(), "here": here}]}

    (seen,) = harden(one(node), [tracing]).compile().invoke({"log": []})["log"]

    assert seen["here"] == seen["span_id"] == f"{span(exporter, 'node').context.span_id:016x}"
    assert seen["span_id"] in seen["traceparent"]


def test_the_global_provider_is_the_default(
    exporter: InMemorySpanExporter, tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing.otel)

    harden(one(notes(1)), [Tracing(otel=True)]).compile().invoke({"log": []})

    assert outcomes(exporter) == ["ok", "ok"]


def test_without_an_sdk_logs_have_a_trace_all_the_same(logged: list[Any]) -> None:
    seen: list[dict[str, Any]] = []
    graph = harden(one(lambda state: seen.append(get_contextvars())), [Tracing(otel=True)])

    graph.compile().invoke({"text": "x"})

    assert len(seen[0]["trace_id"]) == 32
    structlog.get_logger().info("once more")


def test_without_the_extra_all_but_spans_works_and_says_what_is_missing() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from langgraph.graph import START, MessagesState, StateGraph
from lg_prod_nodes import ConfigurationError, Metrics, Tracing, harden
builder = StateGraph(MessagesState).add_node("n", lambda state: None).add_edge(START, "n")
harden(builder, [Tracing(), Metrics()]).compile().invoke({"messages": []})
for name in ("spans", "genai"):
    assert f"lg_prod_nodes.telemetry.{name}" not in sys.modules
try:
    harden(builder, [Tracing(otel=True)])
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'lg-prod-nodes[otel]'" in done.stdout


def test_no_span_holds_an_id_of_a_person_or_content(
    exporter: InMemorySpanExporter, tracing: Tracing, model: FakeModel
) -> None:
    config: Any = {
        "configurable": {"thread_id": "thread-7", "user_id": "user-7", "request_id": "request-7"},
        "metadata": {"session": "session-7"},
    }
    graph = harden(one(asks(model)), [tracing]).compile(InMemorySaver())

    graph.invoke({"messages": [("user", "private")]}, {**THREAD, **config})

    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    ids = ("thread-", "request-7", "session-7", "user-7")
    assert not [text for text in (*ids, "private", "hello there") if text in told]
