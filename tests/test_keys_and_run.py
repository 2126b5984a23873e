"""Whom a run is for, and what is known of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl, Runtime
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Call,
    Handler,
    Policy,
    Run,
    Usage,
    by_thread,
    by_user,
    current_run,
    harden,
)
from lg_prod_nodes.core.caller import tenant_of, user_of
from lg_prod_nodes.core.keys import together

RUN_ID = "0e9e5154-fa59-4c41-bd86-7f1abee47549"


class State(TypedDict, total=False):
    text: str


@dataclass
class Context:
    user_id: str | None = None


class Watching(Policy):
    """Stands somewhere, so that the graph has a run."""

    async def wrap(self, call: Call, handler: Handler) -> Any:
        return await handler(call)


def graph(node: Any, **options: Any) -> Any:
    builder = StateGraph(State, context_schema=Context).add_node("node", node)
    return harden(builder.add_edge(START, "node"), [Watching()]).compile(**options)


def run_with(config: Any = None, **options: Any) -> Run:
    """The run that a node saw."""
    seen: list[Run | None] = []
    graph(lambda state: seen.append(current_run())).invoke({"text": "x"}, config, **options)
    (run,) = seen
    assert run is not None
    return run


def test_a_run_knows_its_caller() -> None:
    ids = {"thread_id": 7, "user_id": "ada", "request_id": "request-7"}

    run = run_with({"run_id": RUN_ID, "configurable": ids})

    assert (run.id, run.graph) == (RUN_ID, "LangGraph")
    assert (run.thread_id, run.user_id, run.request_id) == ("7", "ada", "request-7")


def test_a_run_without_ids_makes_one() -> None:
    first, second = run_with(), run_with()

    assert UUID(first.id).version == 4
    assert first.id != second.id
    assert (first.thread_id, first.user_id, first.request_id) == (None, None, None)


def test_a_run_id_never_becomes_the_graph_s() -> None:
    saver = InMemorySaver()
    config = {"run_id": RUN_ID, "configurable": {"thread_id": "1"}}
    app = graph(lambda state: {"text": state["text"] + "!"}, checkpointer=saver)

    results = [app.invoke({"text": text}, config)["text"] for text in ("first", "second")]

    assert results == ["first!", "second!"]


@pytest.mark.parametrize(
    ("config", "context", "expected"),
    [
        ({}, None, None),
        ({"metadata": {"user_id": "meta"}}, None, "meta"),
        ({"metadata": {"user_id": "meta"}}, {"user_id": "context"}, "context"),
        ({"metadata": {"user_id": "meta"}}, Context("context"), "context"),
        ({"metadata": {"user_id": "meta"}}, Context(None), "meta"),
        ({"configurable": {"langgraph_auth_user_id": "auth"}}, Context("context"), "auth"),
        ({"configurable": {"user_id": "given", "langgraph_auth_user_id": "auth"}}, None, "auth"),
        ({"configurable": {"user_id": 7}}, None, "7"),
        ({"configurable": {"user_id": ""}, "metadata": {"user_id": "meta"}}, None, "meta"),
        ({"metadata": None}, None, None),
    ],
)
def test_a_user_is_looked_for_where_callers_say_it(
    config: Any, context: Any, expected: str | None
) -> None:
    assert user_of(config, context=context) == expected


def test_the_user_that_the_server_authenticated_comes_before_the_context() -> None:
    server: Any = SimpleNamespace(user=SimpleNamespace(identity="server"))
    runtime = Runtime(context=Context("context"), server_info=server)

    assert user_of({}, runtime=runtime) == "server"
    assert user_of({}, runtime=Runtime(context=Context("context"))) == "context"


def test_a_run_takes_the_user_from_the_context() -> None:
    assert run_with(context=Context("ada")).user_id == "ada"


def test_a_user_may_be_number_zero() -> None:
    assert user_of({"configurable": {"user_id": 0}}) == "0"


def call_of(**ids: str) -> Call:
    run = Run()
    run.start("desk", {"configurable": {**ids}})
    return Call(kind="run", name="desk", input=None, run=run)


def test_keys_read_as_english() -> None:
    call = call_of(user_id="ada", thread_id="thread-1")

    assert (by_user(call), by_thread(call), together(call)) == ("ada", "thread-1", None)


def test_there_is_no_run_outside_of_a_hardened_graph() -> None:
    seen: list[Run | None] = []
    builder = StateGraph(State).add_node("node", lambda state: seen.append(current_run()))
    builder.add_edge(START, "node").compile().invoke({"text": "x"})

    assert [*seen, current_run()] == [None, None]


def test_a_caller_s_run_is_the_one_that_nodes_see() -> None:
    run = Run()

    assert run_with(control=run) is run
    assert run.report.outcome == "ok"


def test_a_run_that_serves_again_starts_anew() -> None:
    run = Run()
    run_with(control=run)
    run.interrupted = run.answered = True

    run_with(control=run)

    assert run.report.outcome == "ok"


@pytest.mark.parametrize("control", [Run(), RunControl()])
def test_draining_passes_both_ways(control: RunControl) -> None:
    seen: list[Any] = []

    def node(state: State) -> Any:
        control.request_drain("deploy")
        run = current_run()
        assert run is not None
        seen.append((run.drain_requested, run.drain_reason))
        return {"text": "last"}

    builder = StateGraph(State).add_node("a", node).add_node("b", lambda state: {"text": "never"})
    drained = harden(builder.add_edge(START, "a").add_edge("a", "b"), [Watching()]).compile()

    with pytest.raises(Exception, match="deploy"):
        drained.invoke({"text": "x"}, control=control)
    assert seen == [(True, "deploy")]


def test_a_run_hands_a_request_to_drain_on_to_the_caller_s_control() -> None:
    control = RunControl()
    run = Run(control)

    run.request_drain("deploy")

    assert (control.drain_requested, control.drain_reason) == (True, "deploy")
    assert (run.drain_requested, run.drain_reason) == (True, "deploy")


def test_facts_fold_into_the_report() -> None:
    call = call_of()
    spent = Usage(calls=1, input_tokens=3)

    state = {"policy": "RateLimit", "limit": "1 per hour", "quota": 1, "window": 3600}
    call.emit("limit_checked", **state, remaining=1, reset=0.0)
    call.emit("limit_checked", **state, remaining=0, reset=9.0)
    call.emit("limit_checked", **state, remaining=1, reset=0.0, of="another")
    call.emit("content_found", found={"US_SSN": 2})
    call.emit("content_found", found={"US_SSN": 1})
    call.emit("model_called", usage=spent)
    call.emit("slow_call", seconds=3)

    report = call.run.report
    assert [(limit.remaining, limit.reset) for limit in report.limits] == [(0, 9.0), (1, 0.0)]
    assert report.found == {"US_SSN": 3}
    assert report.usage == spent
    assert report.events["content_found"] == 2
    assert report.events["slow_call"] == 1


def test_a_fact_is_heard_once_where_it_says_so() -> None:
    call = call_of()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: call.emit("seen", once="one"), range(100)))
    call.emit("seen", once="two")

    assert call.run.report.events["seen"] == 2


def test_an_authenticated_user_without_a_tenant_has_none_and_can_claim_none() -> None:
    class User:
        identity = "ann"

        def __getattr__(self, name: str) -> str:
            return {"identity": "ann"}[name]

    config: RunnableConfig = {
        "configurable": {"langgraph_auth_user": User(), "tenant_id": "claimed"}
    }
    assert tenant_of(config) is None
    assert tenant_of({"configurable": {"tenant_id": "acme"}}) == "acme"
