"""A graph, its stores and their set-up behind a transaction pooler, with and without prepared statements."""

from __future__ import annotations

import asyncio
import operator
import secrets
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from psycopg.conninfo import make_conninfo
from tests.pooler import Behind, pgbouncer
from typing_extensions import TypedDict

from lg_prod_nodes import (
    AccountStore,
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    CircuitStore,
    DoubleTexting,
    FailureLog,
    Ledger,
    LimitStore,
    Production,
    RateLimit,
    StoreUnavailable,
    ThreadStore,
    TokenUsage,
    Vault,
    harden,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.service.persistence import open_postgres
from lg_prod_nodes.stores.accounts.store import Account
from lg_prod_nodes.stores.limits.store import parse_limits

KEY = secrets.token_bytes(32)


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def answer(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
    assert runtime.store is not None
    runtime.store.put(("said",), state["said"][-1], {"text": state["said"][-1]})
    return {"said": [f"re: {state['said'][-1]}"]}


async def aanswer(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
    assert runtime.store is not None
    await runtime.store.aput(("said",), state["said"][-1], {"text": state["said"][-1]})
    return {"said": [f"re: {state['said'][-1]}"]}


def builder(node: Any) -> StateGraph[State]:
    return StateGraph(State).add_node("answer", node).add_edge(START, "answer")


def thread(name: object) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(name), "user_id": "ada"}}


def policies() -> list[Any]:
    return [
        CaptureErrors(),
        TokenUsage(),
        RateLimit("1000/second"),
        Bulkhead(100),
        CircuitBreaker(),
        DoubleTexting("interrupt"),
    ]


@pytest.fixture(params=["without prepared statements", "with prepared statements"])
def behind(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[Behind]:
    prepared = request.param == "with prepared statements"
    with pgbouncer(postgres_server, prepared=prepared) as behind:
        yield behind


@pytest.fixture
def behind_one(postgres_server: str) -> Iterator[Behind]:
    """A pooler with a single server connection, so that whatever is left there meets the next client."""
    with pgbouncer(postgres_server, prepared=False, size=1) as behind:
        yield behind


async def test_many_asynchronous_runs_side_by_side_end_well(behind: Behind, dsn: str) -> None:
    async with Production(builder(aanswer), policies(), postgres=behind(dsn)) as app:
        runs = [app.ainvoke({"said": [f"{n}"]}, thread(n)) for n in range(40)]
        results = await asyncio.gather(*runs)
        assert results == [{"said": [f"{n}", f"re: {n}"]} for n in range(40)]
        states = await asyncio.gather(*(app.aget_state(thread(n)) for n in range(40)))
        assert [state.values for state in states] == results
        history = [state async for state in app.aget_state_history(thread(7))]
        assert len(history) == 3
        assert app.store is not None
        assert len(await app.store.asearch(("said",), limit=100)) == 40


async def test_many_synchronous_runs_side_by_side_end_well(behind: Behind, dsn: str) -> None:
    with Production(builder(answer), policies(), postgres=behind(dsn)) as app:
        calls = [asyncio.to_thread(app.invoke, {"said": [f"{n}"]}, thread(n)) for n in range(20)]
        results = await asyncio.gather(*calls)
        assert results == [{"said": [f"{n}", f"re: {n}"]} for n in range(20)]
        assert [app.get_state(thread(n)).values for n in range(20)] == results


def test_starts_one_after_the_other_do_not_wait_for_each_other(
    behind: Behind, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lg_prod_nodes.service.set_up.SETUP_SECONDS", 2.0)
    for n in range(4):
        with Production(builder(answer), postgres=behind(dsn)) as app:
            app.invoke({"said": ["hi"]}, thread(n))


def test_one_server_connection_is_enough_from_the_first_start_on(
    behind_one: Behind, dsn: str
) -> None:
    with Production(builder(answer), policies(), postgres=behind_one(dsn)) as app:
        assert app.invoke({"said": ["hi"]}, thread(1)) == {"said": ["hi", "re: hi"]}


def use_every_store(dsn: str) -> None:
    account = Account("ada", limit=10)
    with LimitStore(dsn) as limits, Vault(dsn, key=KEY) as vault:
        drive(limits.acquire(parse_limits("10/second"), "ada", blocking=True))
        vault.load(session := vault.session("ada"))
        token = session.token("EMAIL_ADDRESS", "ada@example.org")
        assert vault.keep(session)
        assert vault.restore("ada", token) == "ada@example.org"
        assert vault.forget("ada")
    accounts = AccountStore(dsn)
    drive(accounts.settle(drive(accounts.reserve(account, 3, blocking=True)), 2, blocking=True))
    assert drive(accounts.balance(account, blocking=True)).spent == 2
    accounts.close()
    circuits = CircuitStore(dsn)
    drive(circuits.change("model", lambda circuit: (circuit, None), blocking=True))
    circuits.close()
    failures = FailureLog(dsn)
    assert failures.list() == []
    failures.close()
    with ThreadStore(dsn) as threads:
        lease = threads.lease("1", run="run")
        assert drive(threads.ask(lease, "reject", blocking=True)).state == "held"
        drive(threads.leave(lease, blocking=True))
    with Ledger(dsn) as ledger:
        ledger.flush()
        assert ledger.usage(by="user") == []


def test_a_worker_behind_a_pooler_hears_of_its_thread_by_looking(behind: Behind, dsn: str) -> None:
    with ThreadStore(behind(dsn), timeout=30) as one, ThreadStore(dsn, timeout=30) as two:
        held, waits = one.lease("1", run="held"), two.lease("1", run="waits")
        drive(one.ask(held, "enqueue", blocking=True))
        stopped = threading.Event()
        held.stop.listen(stopped.set)
        drive(two.ask(waits, "interrupt", blocking=True))
        assert stopped.wait(20)
        drive(one.leave(held, blocking=True))
        assert waits.bell.wait(20)
        assert one._backend._listener.is_deaf  # type: ignore[attr-defined]


def test_every_store_leaves_a_session_as_it_found_it(behind_one: Behind, dsn: str) -> None:
    session = """
        SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE source = 'session'
            AND name NOT IN ('client_encoding')"""
    left = """
        SELECT (SELECT count(*) FROM pg_prepared_statements),
            (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (
                SELECT oid FROM pg_database WHERE datname = current_database()))"""
    with psycopg.connect(behind_one(dsn), autocommit=True, prepare_threshold=None) as stranger:
        before = stranger.execute(session).fetchone()
        use_every_store(behind_one(dsn))
        with Production(builder(answer), policies(), postgres=behind_one(dsn)) as app:
            app.invoke({"said": ["hi"]}, thread(1))
        assert stranger.execute(session).fetchone() == before
        assert stranger.execute(left).fetchone() == (0, 0)


def test_a_statement_behind_a_pooler_is_bounded_by_the_server(behind_one: Behind, dsn: str) -> None:
    limits = parse_limits("10/second")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with LimitStore(behind_one(dsn), timeout=0.5, pause=0.001) as store:
        drive(store.acquire(limits, "ada", blocking=True))
        with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as observer:
            other.execute("LOCK TABLE lg_prod_nodes_limits")
            with pytest.raises(StoreUnavailable, match="took too long"):
                drive(store.acquire(limits, "ada", blocking=True))
            assert observer.execute(waiting).fetchone() == (0,)
        assert drive(store.acquire(limits, "ada", blocking=True)).admitted


def test_a_statement_of_the_checkpointer_is_bounded_by_the_server(
    behind_one: Behind, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lg_prod_nodes.databases.pools.STATEMENT_SECONDS", 0.5)
    with open_postgres(behind_one(dsn)) as (saver, _), psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE checkpoints")
        with pytest.raises(StoreUnavailable, match="took too long"):
            saver.get_tuple({"configurable": {"thread_id": "1", "checkpoint_ns": ""}})


def test_the_index_of_a_table_with_rows_is_built_beside_those_who_write(
    behind: Behind, dsn: str
) -> None:
    with PostgresSaver.from_conn_string(dsn) as stock:
        stock.setup()
        harden(builder(lambda state: {"said": ["re"]})).compile(stock).invoke(
            {"said": ["hi"]}, thread(1)
        )
    with open_postgres(behind(dsn)) as (saver, _), psycopg.connect(dsn) as connection:
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('lg_prod_nodes_checkpoints_run')"
        assert connection.execute(query).fetchall() == [(True,)]
        assert saver.get_tuple(thread(1)) is not None


def test_runs_are_deleted_and_threads_copied_behind_a_pooler(behind: Behind, dsn: str) -> None:
    with open_postgres(behind(dsn)) as (saver, _):
        app = harden(builder(lambda state: {"said": ["re"]})).compile(saver)
        app.invoke({"said": ["hi"]}, thread(1) | {"metadata": {"run_id": "first"}})
        saver.copy_thread("1", "copy")
        saver.prune(["1"])
        assert len(list(saver.list(thread("copy")))) == 3
        assert len(list(saver.list(thread("1")))) == 1
        saver.delete_for_runs(["first"])
        saver.delete_thread("1")
        assert not list(saver.list(thread("1")))


def test_a_direct_connection_still_prepares_its_statements(dsn: str) -> None:
    with open_postgres(dsn) as (saver, _):
        saver.get_tuple({"configurable": {"thread_id": "1", "checkpoint_ns": ""}})
        with saver.conn.connection() as connection:
            found = connection.execute(
                "SELECT count(*) AS n FROM pg_prepared_statements"
            ).fetchone()
    assert found is not None
    assert found["n"] > 0


def test_a_startup_parameter_that_the_pooler_refuses_is_named_with_its_cure(
    behind: Behind, dsn: str
) -> None:
    options = make_conninfo(behind(dsn), options="-c geqo=off")
    with pytest.raises(StoreUnavailable, match="ALTER ROLE"), open_postgres(options):
        pass
