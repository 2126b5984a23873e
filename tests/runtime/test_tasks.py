"""Tasks of the functional API keep their names and kinds under policies of content."""

from __future__ import annotations

from functools import partial
from typing import Any, TypedDict

import pytest
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph

from lg_prod_nodes import ContentFilter, Metrics, Redact, harden

POLICIES = [Metrics(), Redact(), ContentFilter(["zzz"])]
SECRET = "ada@example.com"


class Text(TypedDict):
    text: str


class Callable:
    def method(self, text: str) -> str:
        return f"{text} method"

    async def amethod(self, text: str) -> str:
        return f"{text} amethod"

    def __call__(self, text: str) -> str:
        return f"{text} call"


class AsyncCallable:
    async def __call__(self, text: str) -> str:
        return f"{text} acall"


def plain(text: str) -> str:
    return f"{text} plain"


async def aplain(text: str) -> str:
    return f"{text} aplain"


def renamed(text: str) -> str:
    return f"{text} renamed"


def sync_tasks() -> list[Any]:
    functions = [Callable().method, Callable(), plain, partial(plain)]
    named = [(Callable().method, "method"), (partial(plain), "part"), (renamed, "other")]
    return [*map(task, functions), *(task(f, name=name) for f, name in named)]


def async_tasks() -> list[Any]:
    return [*map(task, [AsyncCallable(), aplain, partial(aplain), Callable().amethod])]


def names(chunks: Any) -> list[str]:
    return [name for chunk in chunks for name in chunk]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_tasks_have_the_same_names_in_streams(policy: Any) -> None:
    tasks = sync_tasks()

    @entrypoint()
    def flow(text: str) -> list[str]:
        return [each(text).result() for each in tasks]

    builder = StateGraph(Text).add_node(
        "node", lambda state: {"text": " ".join(each(state["text"]).result() for each in tasks)}
    )
    builder.add_edge(START, "node")
    for bare, hardened, given in (
        (flow, harden(flow, [policy]), "x"),
        (builder.compile(), harden(builder, [policy]).compile(), {"text": "x"}),
    ):
        assert names(hardened.stream(given)) == names(bare.stream(given))  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
async def test_asynchronous_tasks_have_them_too_and_their_results(policy: Any) -> None:
    tasks = async_tasks()

    @entrypoint()
    async def flow(text: str) -> list[str]:
        return [await each(text) for each in tasks]

    hardened: Any = harden(flow, [policy])
    chunks = [chunk async for chunk in hardened.astream("x")]
    assert names(chunks) == names([chunk async for chunk in flow.astream("x")])
    assert await hardened.ainvoke("x") == await flow.ainvoke("x")


async def test_the_result_of_an_asynchronous_object_is_filtered() -> None:
    told = task(AsyncCallable())  # type: ignore[call-overload]

    @entrypoint()
    async def flow(text: str) -> str:
        return await told(SECRET)

    chunks = [chunk async for chunk in harden(flow, [Redact()]).astream("x")]  # type: ignore[call-overload]
    assert SECRET not in repr(chunks)
    assert "[EMAIL_ADDRESS] acall" in repr(chunks)
