"""A primary that is demoted: its connections stay open and take no writes, and new ones reach the new primary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Health, LimitStore, Production, StoreUnavailable, is_transient
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.core.secret import hidden
from lg_prod_nodes.databases import pools
from lg_prod_nodes.databases.patience import answered_recently
from lg_prod_nodes.stores.limits.store import parse_limits

DEMOTE = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
HELLO = {"messages": [("user", "Hi")]}


def agent(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("assistant", "Hello.")]}


BUILDER = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")


def on(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


def demote(pool: Any, size: int) -> None:
    """Let all connections of a pool be those of a server that takes no writes any more."""
    with ExitStack() as stack:
        for _ in range(size):
            stack.enter_context(pool.connection()).execute(DEMOTE)


@contextmanager
def everywhere_read_only(dsn: str) -> Iterator[None]:
    """Let new connections be refused writes too: the failover is not over."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    alter = f"ALTER DATABASE {name} {{}} default_transaction_read_only"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(alter.format("SET") + " = on")  # type: ignore[arg-type]
        yield
        admin.execute(alter.format("RESET"))  # type: ignore[arg-type]


async def ademote(pool: Any, size: int) -> None:
    """Like `demote`."""
    async with AsyncExitStack() as stack:
        for _ in range(size):
            connection = await stack.enter_async_context(pool.connection())
            await connection.execute(DEMOTE)


def test_the_first_refused_write_replaces_all_connections(dsn: str) -> None:
    with Production(BUILDER, postgres=dsn, pool_size=3) as app:
        app.invoke(HELLO, on("before"))
        demote(app.checkpointer.conn, 3)  # type: ignore[union-attr]
        with pytest.raises(StoreUnavailable, match="takes no writes") as raised:
            app.invoke(HELLO, on("1"))
        assert is_transient(raised.value)
        for n in range(6):
            assert len(app.invoke(HELLO, on(f"after {n}"))["messages"]) == 2


async def test_so_it_does_for_asynchronous_callers(dsn: str) -> None:
    async with Production(BUILDER, postgres=dsn, pool_size=3) as app:
        await app.ainvoke(HELLO, on("before"))
        await ademote(app.checkpointer.conn, 3)  # type: ignore[union-attr]
        runs = [app.ainvoke(HELLO, on(f"{n}")) for n in range(3)]
        failed = await asyncio.gather(*runs, return_exceptions=True)
        assert {type(error) for error in failed} <= {StoreUnavailable, dict}
        for n in range(6):
            assert len((await app.ainvoke(HELLO, on(f"after {n}")))["messages"]) == 2


async def test_a_connection_that_was_being_opened_meanwhile_is_replaced_too(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pool keeps it, since it was ready after all others were replaced: then it has to be refused itself."""
    begun, replaced = asyncio.Event(), asyncio.Event()
    begin = pools.abegin_session

    async def slowly(connection: Any, **bounds: Any) -> None:
        await begin(connection, **bounds)
        if first and not replaced.is_set():
            begun.set()
            await replaced.wait()

    first: list[Any] = []
    monkeypatch.setattr(pools, "abegin_session", slowly)
    async with pools.AsyncPool(hidden(dsn), 2) as pool:
        await pool.wait()  # else a second one may be opened at once
        first.append(await pool.getconn())
        late = asyncio.create_task(pool.getconn())
        await begun.wait()
        await pool.renew(first[0])
        replaced.set()
        await pool.putconn(first[0])
        refused = await late
        await pool.renew(refused)
        await pool.putconn(refused)
        async with pool.connection() as connection:
            assert connection is not refused


def test_a_connection_is_tested_unless_its_server_has_just_answered_and_not_closed_it(
    dsn: str,
) -> None:
    with pools.Pool(hidden(dsn), 1) as pool, psycopg.connect(dsn) as admin:
        with pool.connection() as connection:
            connection.execute("SELECT 1")
            assert answered_recently(connection)
            connection.answered -= 2
            assert not answered_recently(connection)
            connection.execute("SELECT 1")
            assert answered_recently(connection)
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
            assert not answered_recently(connection)
        with pool.connection() as replaced:
            assert replaced is not connection


async def test_readiness_says_so_and_recovers(dsn: str) -> None:
    production = Production(BUILDER, postgres=dsn, pool_size=2)
    async with production as app:
        await app.ainvoke(HELLO, on("before"))
        with everywhere_read_only(dsn):
            await ademote(app.checkpointer.conn, 2)  # type: ignore[union-attr]
            report = await Health(production).aready()
            assert report.status == "down"
            assert report.checks["postgres"].detail == "it takes no writes (read-only)"
            with pytest.raises(StoreUnavailable, match="target_session_attrs=read-write"):
                await app.ainvoke(HELLO, on("1"))
        found = {(await Health(production).aready()).status for _ in range(20)}
        assert "ok" in found
        refused = 0
        for n in range(6):  # a connection that was opened meanwhile may have served reads until now
            try:
                await app.ainvoke(HELLO, on(f"after {n}"))
            except StoreUnavailable:
                refused += 1
        assert refused <= 1, "the first refused write replaces every connection"


def test_readiness_of_a_synchronous_service_says_so(dsn: str) -> None:
    production = Production(BUILDER, postgres=dsn, pool_size=2)
    with production as app:
        demote(app.checkpointer.conn, 2)  # type: ignore[union-attr]
        assert Health(production).ready().status == "down"
        assert Health(production).ready().status == "ok", "the check itself had them replaced"


def test_a_server_given_by_its_url_is_down_only_for_a_process_that_writes_there(dsn: str) -> None:
    with everywhere_read_only(dsn):
        health = Health(dsn)
        assert health.ready().status == "ok", "a replica that is read from"
        health.close()
    with Production(BUILDER, postgres=dsn), everywhere_read_only(dsn):
        health = Health(dsn)
        assert health.ready().status == "down"
        health.close()


def test_a_store_asks_again_on_a_new_connection(dsn: str) -> None:
    limits = parse_limits("10/minute")
    with LimitStore(dsn) as store:

        def acquire() -> int:
            return drive(store.acquire(limits, "ada", blocking=True)).windows[0].remaining

        acquire()
        pool: Any = store._backend._windows._postgres._pool  # type: ignore[attr-defined]
        demote(pool, pool.max_size)
        assert acquire() == 8
        with everywhere_read_only(dsn):
            demote(pool, pool.max_size)
            with pytest.raises(StoreUnavailable, match="takes no writes"):
                acquire()
