"""LangGraph's own conformance tests for checkpointers, on all of ours, directly and behind a pooler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from tests.pooler import pgbouncer
from typing_extensions import TypedDict

from lg_prod_nodes.service.persistence import aopen_postgres, checkpointer, open_postgres

Opened = Callable[[str], AbstractAsyncContextManager[Any]]
CAPABILITIES = {
    "copy_thread",
    "delete_for_runs",
    "delete_thread",
    "get_tuple",
    "list",
    "prune",
    "put",
    "put_writes",
}


@asynccontextmanager
async def blocking(dsn: str) -> AsyncIterator[Any]:
    with open_postgres(dsn) as (saver, _):
        yield saver


@asynccontextmanager
async def asynchronous(dsn: str) -> AsyncIterator[Any]:
    async with aopen_postgres(dsn) as (saver, _):
        yield saver


@asynccontextmanager
async def of_the_server(dsn: str) -> AsyncIterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", dsn)
        async with checkpointer() as saver:
            yield saver


@pytest.fixture(params=[blocking, asynchronous, of_the_server], ids=lambda opened: opened.__name__)
def opened(request: pytest.FixtureRequest) -> Opened:
    result: Opened = request.param
    return result


@pytest.fixture(params=["directly", "behind a pooler"])
def address(request: pytest.FixtureRequest, dsn: str) -> Any:
    if request.param == "directly":
        yield dsn
        return
    server = request.getfixturevalue("postgres_server")
    with pgbouncer(server, prepared=False, size=2) as behind:
        yield behind(dsn)


async def test_every_capability_conforms(opened: Opened, address: str) -> None:
    async with opened(address) as saver:

        @checkpointer_test(name=type(saver).__name__)
        async def ours() -> AsyncIterator[Any]:
            yield saver

        report = await validate(ours)
    results = {name: (found.detected, found.passed) for name, found in report.results.items()}
    failures = [failure for found in report.results.values() for failure in found.failures or ()]
    assert results == dict.fromkeys(CAPABILITIES, (True, True)), failures


class Letters(TypedDict):
    items: Annotated[
        list[str],
        DeltaChannel(
            lambda current, updates: [*current, *(x for update in updates for x in update)],
            list,
            snapshot_frequency=10_000,
        ),
    ]


async def test_what_parallel_nodes_wrote_is_replayed_in_the_order_of_the_run(
    opened: Opened, dsn: str
) -> None:
    graph = StateGraph(Letters)
    for letter in "abcdefgh":
        graph.add_node(letter, lambda state, letter=letter: {"items": [letter]})
        graph.add_edge(START, letter)
        graph.add_edge(letter, END)
    async with opened(dsn) as saver:
        app: Any = graph.compile(saver)
        for n in range(4):
            thread = {"configurable": {"thread_id": f"{n}"}}
            live = await app.ainvoke({"items": []}, thread)
            assert (await app.aget_state(thread)).values == live
