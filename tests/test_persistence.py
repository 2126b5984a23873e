"""Checkpoints and store in a real Postgres, through both savers, called in every way they can be."""

from __future__ import annotations

import asyncio
import operator
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.store.postgres import AsyncPostgresStore

from lg_prod_nodes import ConfigurationError, StoreUnavailable
from lg_prod_nodes.databases import pools
from lg_prod_nodes.service import savers, set_up
from lg_prod_nodes.service.persistence import (
    aopen_postgres,
    checkpointer,
    database,
    open_postgres,
    store,
)
from lg_prod_nodes.service.settings import Settings

CHECKPOINTS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
SECRET = "hunter2"


class State(TypedDict):
    said: Annotated[list[str], operator.add]


@dataclass(frozen=True)
class Face:
    """A saver and a store, and how they are called."""

    saver: Any
    store: Any
    is_async: bool

    async def call(self, target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a blocking method, or its asynchronous twin."""
        if self.is_async:
            return await getattr(target, f"a{method}")(*args, **kwargs)
        return await asyncio.to_thread(getattr(target, method), *args, **kwargs)

    async def run(self, thread: str, text: str) -> str:
        """Run a graph on a thread, and say as which run."""
        run_id = uuid4().hex
        config = on(thread) | {"metadata": {"run_id": run_id}}
        await self.call(self.graph, "invoke", {"said": [text]}, config)
        return run_id

    async def said(self, thread: str) -> Any:
        state = await self.call(self.graph, "get_state", on(thread))
        return state.values.get("said")

    async def history(self, thread: str) -> list[Any]:
        if self.is_async:
            return [found async for found in self.saver.alist(on(thread))]
        return list(self.saver.list(on(thread)))

    @property
    def graph(self) -> Any:
        def answer(state: State) -> State:
            return {"said": [f"re: {state['said'][-1]}"]}

        builder = StateGraph(State).add_node("answer", answer).add_edge(START, "answer")
        return builder.compile(checkpointer=self.saver)


@pytest.fixture(params=["with, blocking", "with, async", "async with, async"])
async def face(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Face]:
    if request.param == "async with, async":
        async with aopen_postgres(dsn) as opened:
            yield Face(*opened, is_async=True)
    else:
        with open_postgres(dsn) as opened:
            yield Face(*opened, is_async=request.param == "with, async")


@pytest.fixture(params=["with", "async with"])
def enter(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Opens a database and closes it again, in either way."""

    async def enter_async(dsn: str) -> None:
        async with aopen_postgres(dsn):
            pass

    def enter(dsn: str) -> None:
        with open_postgres(dsn):
            pass

    return enter if request.param == "with" else lambda dsn: asyncio.run(enter_async(dsn))


def on(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


def count(dsn: str, table: str, thread: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = f"SELECT count(*) FROM {table} WHERE thread_id = %s"
        return int(connection.execute(query, [thread]).fetchall()[0][0])


def backends(dsn: str, *, waiting: bool = False) -> int:
    """How many connections others have to the database, or wait for a lock on."""
    query = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    with psycopg.connect(dsn) as connection:
        if waiting:
            query += " AND wait_event_type = 'Lock'"
        return int(connection.execute(query).fetchall()[0][0])


async def eventually(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_thread_is_read_back_with_its_history(face: Face, dsn: str) -> None:
    first = await face.run("ada", "one")
    await face.run("ada", "two")
    assert await face.said("ada") == ["one", "re: one", "two", "re: two"]
    found = await face.history("ada")
    assert len(found) == 6
    assert [f.metadata["run_id"] for f in found].count(first) == 3
    assert await face.said("bob") is None


async def test_a_deleted_thread_leaves_no_row(face: Face, dsn: str) -> None:
    await face.run("ada", "one")
    await face.run("bob", "one")
    await face.call(face.saver, "delete_thread", "ada")
    assert not any(count(dsn, table, "ada") for table in CHECKPOINTS)
    assert all(count(dsn, table, "bob") for table in CHECKPOINTS)


async def test_a_deleted_run_takes_what_only_it_holds(face: Face, dsn: str) -> None:
    await face.run("ada", "one")
    before = [count(dsn, table, "ada") for table in CHECKPOINTS]
    kept = await face.history("ada")
    deleted = [await face.run("ada", "two"), await face.run("ada", "three")]
    await face.run("bob", "one")
    await face.call(face.saver, "delete_for_runs", deleted)
    assert await face.said("ada") == ["one", "re: one"]
    assert await face.history("ada") == kept
    assert [count(dsn, table, "ada") for table in CHECKPOINTS] == before
    assert await face.said("bob") == ["one", "re: one"]


async def test_deleting_no_run_deletes_nothing(face: Face) -> None:
    await face.run("ada", "one")
    await face.call(face.saver, "delete_for_runs", [])
    await face.call(face.saver, "delete_for_runs", ["unknown"])
    assert await face.said("ada") == ["one", "re: one"]


def test_a_run_is_found_without_reading_the_whole_table(dsn: str) -> None:
    with open_postgres(dsn), psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        for statement in savers._DELETE_RUNS:
            plan = connection.execute(f"EXPLAIN {statement}", {"runs": ["1"]}).fetchall()
            assert "lg_prod_nodes_checkpoints_run" in str(plan)


async def test_a_copied_thread_goes_its_own_way(face: Face) -> None:
    await face.run("ada", "one")
    await face.run("ada", "two")
    await face.call(face.saver, "copy_thread", "ada", "copy")
    original, copied = await face.history("ada"), await face.history("copy")
    assert [c.checkpoint for c in copied] == [o.checkpoint for o in original]
    assert [c.pending_writes for c in copied] == [o.pending_writes for o in original]
    assert [c.metadata for c in copied] == [o.metadata for o in original]
    await face.run("copy", "three")
    assert await face.said("copy") == ["one", "re: one", "two", "re: two", "three", "re: three"]
    assert await face.said("ada") == ["one", "re: one", "two", "re: two"]


async def test_a_copy_names_its_own_thread_where_the_original_names_its(face: Face) -> None:
    metadata = {"source": "input", "step": -1, "thread_id": "ada"}  # so does LangGraph Server
    await face.call(face.saver, "put", on("ada"), empty_checkpoint(), metadata, {})
    await face.call(face.saver, "copy_thread", "ada", "copy")
    (copied,) = await face.history("copy")
    assert copied.metadata == metadata | {"thread_id": "copy"}


async def test_pruning_keeps_the_latest_checkpoint(face: Face) -> None:
    await face.run("ada", "one")
    await face.call(face.saver, "prune", ["ada"])
    assert len(await face.history("ada")) == 1
    assert await face.said("ada") == ["one", "re: one"]


async def test_the_store_keeps_items(face: Face) -> None:
    await face.call(face.store, "put", ("users",), "ada", {"likes": "engines"})
    item = await face.call(face.store, "get", ("users",), "ada")
    assert item.value == {"likes": "engines"}


@asynccontextmanager
async def waiting_callers(
    dsn: str, table: str, calls: Iterable[Coroutine[Any, Any, Any]]
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Calls that all wait at the same time for a table that somebody else has locked."""
    with psycopg.connect(dsn) as other:
        other.execute(f"LOCK TABLE {table}")
        tasks = [asyncio.create_task(call) for call in calls]
        await eventually(lambda: backends(dsn, waiting=True) == len(tasks))
    yield tasks
    await asyncio.gather(*tasks)


async def test_callers_do_not_wait_for_each_other(face: Face, dsn: str) -> None:
    calls = [face.call(face.saver, "get_tuple", on(f"{n}")) for n in range(4)]
    async with waiting_callers(dsn, "checkpoints", calls) as tasks:
        assert await asyncio.gather(*tasks) == [None] * 4


async def test_blocking_callers_of_the_store_do_not_wait_for_each_other(dsn: str) -> None:
    with open_postgres(dsn) as (_, items):
        calls = [asyncio.to_thread(items.put, ("n",), f"{n}", {"n": n}) for n in range(4)]
        async with waiting_callers(dsn, "store", calls):
            pass


async def test_a_pool_that_a_restart_cut_is_replaced_at_once(face: Face, dsn: str) -> None:
    calls = [face.call(face.saver, "get_tuple", on(f"{n}")) for n in range(4)]
    async with waiting_callers(dsn, "checkpoints", calls):
        pass
    with psycopg.connect(dsn) as admin:
        cut = admin.execute(
            """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        ).fetchall()
    assert len(cut) >= 4
    start = time.monotonic()
    await face.run("ada", "one")
    assert time.monotonic() - start < 4
    assert await face.said("ada") == ["one", "re: one"]


def test_leaving_closes_every_connection(enter: Callable[[str], None], dsn: str) -> None:
    enter(dsn)
    asyncio.run(eventually(lambda: backends(dsn) == 0))


def test_a_second_start_finds_the_tables_ready(enter: Callable[[str], None], dsn: str) -> None:
    enter(dsn)
    enter(dsn)


async def test_the_server_factories_use_the_database_of_the_environment(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    loop, readers = threading.current_thread(), list[threading.Thread]()

    def read() -> Settings:
        readers.append(threading.current_thread())
        return Settings()

    monkeypatch.setattr("lg_prod_nodes.service.persistence.Settings", read)
    async with checkpointer() as saver, store() as items:
        await Face(saver, items, is_async=True).run("ada", "one")
        await items.aput(("users",), "ada", {})
    assert count(dsn, "checkpoints", "ada")
    assert len(readers) == 2, "once each"
    assert loop not in readers, "files are read beside the event loop"


SIX_PROCESSES = """
import asyncio, os, signal, sys
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres

async def enter():
    async with aopen_postgres(sys.argv[1]) as (saver, _):
        await saver.aget_tuple({"configurable": {"thread_id": "1"}})

def work(number):
    if number % 2:
        return asyncio.run(enter())
    with open_postgres(sys.argv[1]) as (saver, _):
        saver.get_tuple({"configurable": {"thread_id": "1"}})

for number in range(6):
    if not os.fork():
        signal.alarm(60)
        sys.exit(work(number))
sys.exit(sum(os.wait()[1] != 0 for _ in range(6)))
"""


def test_six_processes_set_up_one_database_at_once(dsn: str) -> None:
    command = [sys.executable, "-c", SIX_PROCESSES, dsn]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, f"{ended.returncode} failed\n{ended.stderr}"


def test_set_up_waits_for_another_process_only_so_long(
    enter: Callable[[str], None], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_up, "SETUP_SECONDS", 0.2)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [set_up.SETUP_LOCK])
        with pytest.raises(StoreUnavailable, match="another process"):
            enter(dsn)


def test_set_up_waits_for_an_open_transaction_only_so_long(
    enter: Callable[[str], None], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_up, "SETUP_SECONDS", 0.2)
    with PostgresSaver.from_conn_string(dsn) as stock:  # rows, whose index is built beside them
        stock.setup()
        stock.put(on("ada"), empty_checkpoint(), {}, {})
    with psycopg.connect(dsn) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        with pytest.raises(StoreUnavailable, match="set up"):
            enter(dsn)


@pytest.mark.parametrize(
    "unreadable",
    [
        f"{SECRET} is no DSN",
        f"postgresql://ada:{SECRET}@db:port/app",
        f"postgresql://ada:{SECRET}/app",
        f"postgresql://ada:p@{SECRET}@db/app",
        f"postgresql://ada:p/{SECRET}@db/app",
        f"postgresql://ada:12/{SECRET}@db/app",
        f"host=db password=pass {SECRET}",
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused_without_its_password(
    enter: Callable[[str], None], unreadable: str
) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as raised:
        enter(unreadable)
    assert SECRET not in everything_said(raised.value)


@pytest.mark.parametrize(
    ("parameter", "advice"),
    [
        ("schema=app", r"schema: write options=-csearch_path%3DNAME"),
        ("pgbouncer=true", "pgbouncer: leave it out: a pooler is recognized"),
        ("sslmode=require&connection_limit=5", r"connection_limit: give Production\(pool_size"),
        ("no_such_option=1", "no_such_option: leave it out, or correct its name"),
        (f"password={SECRET}&{SECRET}=x&schema=app", "number 2: leave it out, .*; schema: write"),
    ],
)
def test_a_parameter_of_another_driver_is_named_with_what_to_write_instead(
    enter: Callable[[str], None], parameter: str, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=advice) as raised:
        enter(f"postgresql://ada:{SECRET}@db/app?{parameter}")
    assert SECRET not in everything_said(raised.value)


@pytest.mark.parametrize(
    "scheme", ["postgresql+psycopg", "postgres+asyncpg", "postgressql", "mysql"]
)
def test_another_scheme_is_named_with_what_to_write_instead(
    enter: Callable[[str], None], scheme: str
) -> None:
    complaint = f"begins with {re.escape(scheme)}://; write postgresql://user"
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        enter(f"{scheme}://ada:{SECRET}@db/app")
    assert SECRET not in everything_said(raised.value)


@pytest.mark.parametrize(
    "readable",
    [
        "postgresql://ada:p%40ss%2Fword@db:5432/app",
        "postgresql://ada:p?ss#word@db/app?application_name=ada@home",
        "postgresql://ada@one:5432,two:5433/app?target_session_attrs=read-write",
        "postgresql:///app?host=/var/run/postgresql",
        "host=db user=ada password=p@ss dbname=a@b",
        "dbname=app",
    ],
)
def test_every_other_dsn_is_taken_as_it_is(readable: str) -> None:
    with database(readable) as url:
        assert url.get_secret_value() == readable


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    with silent_server() as port:
        pass
    yield port


@pytest.mark.parametrize("address", [silent_server, closed_port])
def test_an_unreachable_host_is_reported_in_time_and_without_the_password(
    address: Callable[[], AbstractContextManager[int]],
    enter: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 2)
    start = time.monotonic()
    with address() as port, pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as raised:
        enter(f"postgresql://ada:{SECRET}@127.0.0.1:{port}/app")
    assert time.monotonic() - start < 8
    assert SECRET not in everything_said(raised.value)


def test_a_time_bound_in_the_dsn_comes_first(enter: Callable[[str], None]) -> None:
    start = time.monotonic()
    with silent_server() as port, pytest.raises(StoreUnavailable):
        enter(f"postgresql://ada@127.0.0.1:{port}/app?connect_timeout=2")
    assert time.monotonic() - start < 8


def test_a_wrong_password_is_reported_without_it(enter: Callable[[str], None], dsn: str) -> None:
    user, _, rest = dsn.removeprefix("postgresql://").partition(":")
    with pytest.raises(StoreUnavailable) as raised:
        enter(f"postgresql://{user}:{SECRET}@{rest.partition('@')[2]}")
    assert SECRET not in everything_said(raised.value)


def everything_said(error: BaseException | None) -> str:
    """The texts of an error and of all that led to it, shown in tracebacks or not."""
    if error is None:
        return ""
    shown = "".join(traceback.format_exception(error))
    return shown + repr(error.args) + everything_said(error.__cause__ or error.__context__)


async def test_a_pool_is_put_into_pipeline_mode_like_a_single_connection(face: Face) -> None:
    if isinstance(face.store, AsyncPostgresStore):
        async with getattr(face.store, "conn").pipeline() as pipeline:  # noqa: B009
            await face.call(face.store, "put", ("users",), "ada", {"likes": "engines"})
            await pipeline.sync()
    else:
        with getattr(face.store, "conn").pipeline() as pipeline:  # noqa: B009
            await face.call(face.store, "put", ("users",), "ada", {"likes": "engines"})
            pipeline.sync()
    item = await face.call(face.store, "get", ("users",), "ada")
    assert item.value == {"likes": "engines"}


async def test_a_store_leaves_no_task_behind(dsn: str) -> None:
    before = asyncio.all_tasks()
    async with aopen_postgres(dsn) as (_, store):
        await store.aput(("notes",), "1", {"text": "hello"})
    assert asyncio.all_tasks() == before
    assert store
