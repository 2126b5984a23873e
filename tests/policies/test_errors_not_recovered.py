"""An error that no policy recovers from ends a node as if the graph had no policies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeCancelledError, NodeTimeoutError
from tests.policies.conftest import AT_ONCE, THREAD, Runner, fails, notes, one

from lg_prod_nodes import CaptureErrors, Fallback, harden

RECOVERING = {
    "by class": CaptureErrors(then={"rate_limited": "continue"}),
    "critical": CaptureErrors(
        then="continue", critical=(ValueError, NodeTimeoutError, NodeCancelledError)
    ),
    "critical alone": CaptureErrors(critical=(ValueError,)),
    "answer": Fallback(answer={}, on=("rate_limited",)),
    "node": Fallback(node=notes("instead"), on=("rate_limited",)),
}

pytestmark = [
    pytest.mark.usefixtures("logged"),
    pytest.mark.parametrize("policy", RECOVERING.values(), ids=RECOVERING),
]


class Seen(BaseCallbackHandler):
    """The errors of the whole run and of its nodes, as LangChain's callbacks get them."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(type(error).__name__)


async def cancels_itself(state: Any) -> Any:
    raise asyncio.CancelledError


async def never_ends(state: Any) -> Any:
    await asyncio.Event().wait()


def bare_and_hardened(policy: Any, build: Any) -> list[Any]:
    return [build().compile(InMemorySaver()), harden(build(), [policy]).compile(InMemorySaver())]


def streamed(graph: Any, mode: str, errors: list[str]) -> None:
    chunks = graph.stream({"log": []}, {"configurable": {"thread_id": mode}}, stream_mode=mode)
    errors.extend(repr(chunk.get("payload", chunk).get("error")) for chunk in chunks)


async def seen_of(run: Runner, graph: Any) -> Any:
    seen, errors = Seen(), []
    with pytest.raises(ValueError, match="secret"):
        await run(graph, {"log": []}, THREAD | {"callbacks": [seen]})
    for mode in ("tasks", "debug"):
        with pytest.raises(ValueError, match="secret"):
            streamed(graph, mode, errors)
    tasks = graph.get_state(THREAD).tasks
    return [(task.name, repr(task.error)) for task in tasks], errors, seen.errors


async def test_the_task_its_stream_and_callbacks_have_the_error(run: Runner, policy: Any) -> None:
    bare, hardened = bare_and_hardened(policy, lambda: one(fails))
    assert await seen_of(run, hardened) == await seen_of(run, bare)


async def test_it_is_recorded_beside_other_nodes_too(run: Runner, policy: Any) -> None:
    def build() -> Any:
        return one(fails).add_node("other", notes("other")).add_edge("__start__", "other")

    bare, hardened = bare_and_hardened(policy, build)
    for graph in (bare, hardened):
        with pytest.raises(ValueError, match="secret"):
            await run(graph, {"log": []}, THREAD)
        errors = {task.name: task.error for task in graph.get_state(THREAD).tasks}
        assert "secret" in repr(errors["node"])


async def test_the_nodes_beside_are_cancelled(policy: Any) -> None:
    ended: list[str] = []

    async def waits(state: Any) -> Any:
        try:
            await never_ends(state)
        finally:
            ended.append("cancelled")

    async def soon(state: Any) -> Any:
        await asyncio.sleep(0)
        fails(state)

    builder = one(soon).add_node("waits", waits).add_edge("__start__", "waits")
    graph = harden(builder, [policy]).compile()
    with pytest.raises(ValueError, match="secret"):
        await asyncio.wait_for(graph.ainvoke({"log": []}), 10)
    assert ended == ["cancelled"]


async def test_the_failed_node_runs_again_on_resume(run: Runner, policy: Any) -> None:
    tries: list[int] = []

    def fails_once(state: Any) -> Any:
        tries.append(1)
        return {"log": ["done"]} if len(tries) == 2 else fails(state)

    graph = harden(one(fails_once), [policy]).compile(InMemorySaver())
    with pytest.raises(ValueError, match="secret"):
        await run(graph, {"log": []}, THREAD)
    assert (await run(graph, None, THREAD))["log"] == ["done"]


@pytest.mark.parametrize("build", [
    lambda: one(never_ends, timeout=0.01),
    lambda: one(cancels_itself),
    lambda: one(cancels_itself, retry_policy=AT_ONCE),
], ids=["timeout", "cancelled", "cancelled, with retries"])  # fmt: skip
async def test_langgraph_s_own_errors_are_not_answered(policy: Any, build: Any) -> None:
    outcomes = []
    for graph in bare_and_hardened(policy, build):
        tasks = []
        for given in ({"log": []}, None):
            with pytest.raises((NodeTimeoutError, NodeCancelledError)) as raised:
                await graph.ainvoke(given, THREAD)
            [task] = graph.get_state(THREAD).tasks
            tasks.append((type(raised.value), task.name, type(task.error)))
        outcomes.append(tasks)
    assert outcomes[0] == outcomes[1]
