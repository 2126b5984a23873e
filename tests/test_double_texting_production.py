"""One run at a time on a thread in Postgres, across workers, and no rows of a run that lost its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
import pytest
from langgraph.graph import START, StateGraph
from tests.policies.conftest import THREAD, State, notes, said
from tests.serving import wait_until

from lg_prod_nodes import DoubleTexting, LeaseLost, Production, RunInterrupted, ThreadStore
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.threads.store import HELD, LEASE_SECONDS, Strategy


def rows(dsn: str) -> list[Any]:
    """All that a checkpointer has written."""
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(f"SELECT * FROM {t} ORDER BY 1, 2, 3, 4".encode()).fetchall()
            for t in tables
        ]


def message(text: str) -> Any:
    return {"messages": [("user", text)]}


def two_steps(first: Callable[[Any], Any]) -> StateGraph[Any]:
    builder = StateGraph(State).add_node("first", first).add_node("second", notes("second"))
    return builder.add_edge(START, "first").add_edge("first", "second")


def pass_on(policy: DoubleTexting, dsn: str) -> None:
    """Let this worker be taken for dead, and its thread pass to another one."""
    heartbeat = policy.store_in_use._heartbeat
    heartbeat.close()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("UPDATE lg_prod_nodes_workers SET alive_until = now() - interval '1 s'")
    with ThreadStore(dsn, timeout=30) as other:
        lease = other.lease("thread-1", run="other")
        assert drive(other.ask(lease, "reject", blocking=True)).state == "held"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_run_that_lost_its_thread_writes_no_rows(
    dsn: str, durability: Any, is_async: bool
) -> None:
    before: list[Any] = []

    def first(state: Any) -> Any:
        if said(state)[-1] == "pause":
            pass_on(policy, dsn)
            before.append(rows(dsn))
        return {"log": ["first"]}

    policy = DoubleTexting("reject")
    production = Production(two_steps(first), [policy], postgres=dsn)

    async def arun() -> None:
        async with production as app:
            await app.ainvoke(message("hi"), THREAD, durability=durability)
            with pytest.raises(LeaseLost):
                await app.ainvoke(message("pause"), THREAD, durability=durability)

    if is_async:
        asyncio.run(arun())
    else:
        with production as app:
            app.invoke(message("hi"), THREAD, durability=durability)
            with pytest.raises(LeaseLost):
                app.invoke(message("pause"), THREAD, durability=durability)
    assert rows(dsn) == before[0]


def test_a_run_with_a_lease_in_valkey_writes_no_rows_after_a_pause(
    dsn: str, valkey_url: str
) -> None:
    before: list[Any] = []

    def first(state: Any) -> Any:
        before.append(rows(dsn))
        (lease,) = HELD.get().values()
        policy.store_in_use._heartbeat.close()
        lease.alive_until -= LEASE_SECONDS + 1
        return {"log": ["first"]}

    policy = DoubleTexting("reject", store=ThreadStore(valkey_url, timeout=30))
    with Production(two_steps(first), [policy], postgres=dsn) as app:
        with pytest.raises(LeaseLost):
            app.invoke(message("pause"), THREAD, durability="sync")
        assert rows(dsn) == before[0]


def test_a_run_costs_two_transactions_more_and_its_steps_none(dsn: str) -> None:
    def transactions(policies: list[Any], runs: int) -> int:
        counted: LiteralString = (
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        with psycopg.connect(dsn, autocommit=True) as admin:
            begun = admin.execute(counted).fetchone() or (0,)
            with Production(two_steps(notes("x")), policies, postgres=dsn) as app:
                for number in range(runs):
                    app.invoke(message("hi"), {"configurable": {"thread_id": str(number)}})
            wait_until(lambda: admin.execute(OTHERS).fetchone() == (0,))
            admin.execute("SELECT pg_stat_clear_snapshot()")
            ended = admin.execute(counted).fetchone() or (0,)
        return int(ended[0]) - int(begun[0])

    def a_run(policies: list[Any]) -> float:
        transactions(policies, 1)
        return (transactions(policies, 41) - transactions(policies, 1)) / 40

    assert a_run([DoubleTexting("reject")]) - a_run([]) == pytest.approx(2.0, abs=0.9)


OTHERS: LiteralString = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_another_worker_s_run_is_stopped(dsn: str, strategy: Strategy) -> None:
    reached, never = asyncio.Event(), asyncio.Event()

    async def first(state: Any) -> Any:
        if said(state)[-1] == "stand":
            reached.set()
            await never.wait()
        return {"messages": [("ai", f"re {said(state)[-1]}")]}

    def worker() -> Production:
        return Production(two_steps(first), [DoubleTexting(strategy)], postgres=dsn)

    async with worker() as one, worker() as two:
        await one.ainvoke(message("before"), THREAD)
        running = asyncio.create_task(one.ainvoke(message("stand"), THREAD))
        await asyncio.wait_for(reached.wait(), 20)
        result = await asyncio.wait_for(two.ainvoke(message("newer"), THREAD), 20)
        with pytest.raises(RunInterrupted) as stopped:
            await asyncio.wait_for(running, 20)
        assert stopped.value.action == strategy
        stays = ["stand"] if strategy == "interrupt" else []
        assert said(result) == ["before", "re before", *stays, "newer", "re newer"]
    if strategy == "rollback":
        assert "stand" not in repr(rows(dsn))


async def test_workers_serve_a_thread_in_order(dsn: str) -> None:
    async def first(state: Any) -> Any:
        await asyncio.sleep(0)
        return {"messages": [("ai", f"re {said(state)[-1]}")]}

    def worker() -> Production:
        return Production(two_steps(first), [DoubleTexting("enqueue", max_queue=100)], postgres=dsn)

    async with worker() as one, worker() as two:
        texts = [str(number) for number in range(12)]
        runs = [
            app.ainvoke(message(text), THREAD)
            for text, app in zip(texts, [one, two] * 6, strict=True)
        ]
        await asyncio.gather(*runs)
        heard = said((await one.aget_state(THREAD)).values)
    assert sorted(heard[::2]) == sorted(texts)
    assert heard[1::2] == [f"re {text}" for text in heard[::2]]
