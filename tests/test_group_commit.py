"""What runs save at the same time is committed together, and each of them is as well off as by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from tests.conftest import fresh_database
from tests.test_failover import DEMOTE
from tests.test_persistence import backends, eventually

from lg_prod_nodes import StoreUnavailable
from lg_prod_nodes.databases.batches import AsyncBatches, Batches
from lg_prod_nodes.service.persistence import aopen_postgres, open_postgres

Call = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture(params=["with", "async with"])
async def call(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Call]:
    """Calls a method of a checkpointer, in a thread of its own or in the event loop."""
    if request.param == "async with":
        async with aopen_postgres(dsn, pool_size=1) as (saver, _):

            async def acall(method: str, *args: Any) -> Any:
                return await getattr(saver, f"a{method}")(*args)

            yield acall
    else:
        with open_postgres(dsn, pool_size=1) as (blocking, _):
            yield lambda method, *args: in_a_thread(getattr(blocking, method), *args)


async def in_a_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Unlike `asyncio.to_thread`, without a bound on the number of threads."""
    future = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def work() -> None:
        try:
            result, error = function(*args), None
        except Exception as raised:
            result, error = None, raised
        loop.call_soon_threadsafe(end, result, error)

    def end(result: Any, error: Exception | None) -> None:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, daemon=True).start()
    return await future


def place(thread: object, checkpoint: str = "c") -> dict[str, Any]:
    return {
        "configurable": {
            "thread_id": str(thread),
            "checkpoint_ns": "",
            "checkpoint_id": checkpoint,
        }
    }


def writes(thread: object, value: Any = "x", channel: str = "a") -> tuple[Any, ...]:
    return "put_writes", place(thread), [(channel, value)], "task"


def checkpoint(thread: object, **values: Any) -> tuple[Any, ...]:
    versions = dict.fromkeys(values, "1")
    given = empty_checkpoint() | {"channel_values": values, "channel_versions": versions}
    return "put", place(thread, ""), given, {"source": "input"}, versions


def saved(dsn: str, table: str = "checkpoint_writes") -> dict[str, str]:
    """The transactions that wrote a table's rows, by thread."""
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute(f"SELECT thread_id, xmin::text FROM {table}").fetchall())


@asynccontextmanager
async def held(
    dsn: str, call: Call, table: str = "checkpoint_writes"
) -> AsyncIterator[asyncio.Task[Any]]:
    """A write is under way in the block, and cannot end: somebody else has locked its table."""
    with psycopg.connect(dsn) as other:
        other.execute(f"LOCK TABLE {table}")
        first = asyncio.create_task(call(*writes("first")))
        await eventually(lambda: backends(dsn, waiting=True) == 1)
        yield first
    await asyncio.gather(first, return_exceptions=True)


async def queued(call: Call, *given: tuple[Any, ...]) -> list[asyncio.Task[Any]]:
    """Calls that have come as far as they come while another write is under way."""
    tasks = [asyncio.create_task(call(*each)) for each in given]
    await asyncio.sleep(0.3)
    return tasks


async def test_what_comes_while_a_write_is_under_way_is_committed_together(
    call: Call, dsn: str
) -> None:
    async with held(dsn, call):
        tasks = await queued(call, *map(writes, range(20)))
        assert backends(dsn, waiting=True) == 1, "they take no connections meanwhile"
        assert not any(task.done() for task in tasks), "nobody is told before the commit"
    await asyncio.gather(*tasks)
    found = saved(dsn)
    assert len(found) == 21
    assert len(set(found.values())) == 2


async def test_checkpoints_blobs_and_writes_of_several_runs_are_one_transaction(
    call: Call, dsn: str
) -> None:
    async with held(dsn, call):
        tasks = await queued(
            call, checkpoint("one", words=["a"]), writes("two"), checkpoint("three")
        )
    await asyncio.gather(*tasks)
    by_table = [saved(dsn, table) for table in ("checkpoints", "checkpoint_blobs")]
    assert [set(found) for found in by_table] == [{"one", "three"}, {"one"}]
    transactions = {number for found in by_table for number in found.values()}
    assert transactions == {saved(dsn)["two"]}


POISON = {
    "a text that Postgres takes in no column": writes("bad", channel="\x00"),
    "a text that Postgres takes in no JSON": checkpoint("bad", word="\x00"),
    "no JSON at all": checkpoint("bad", word="\ud800"),
    "a column that may not be empty": ("put_writes", place("bad", None), [("a", 1)], "task"),
    "a key that is too long for the index": writes(os.urandom(20_000).hex()),
    "what cannot be serialized": writes("bad", threading.Lock()),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_row_that_cannot_be_saved_fails_its_own_run_alone(
    call: Call, dsn: str, poison: tuple[Any, ...]
) -> None:
    async with held(dsn, call):
        tasks = await queued(call, writes("before"), poison, writes("after"))
    good, bad, alike = await asyncio.gather(*tasks, return_exceptions=True)
    assert (good, alike) == (None, None)
    assert isinstance(bad, Exception)
    assert saved(dsn).keys() == {"first", "before", "after"}


async def test_a_connection_that_breaks_costs_no_run_of_its_batch(call: Call, dsn: str) -> None:
    await call(*writes("prepared"))  # else its lock is released after it was parsed
    with psycopg.connect(dsn) as other:
        async with held(dsn, call):
            tasks = await queued(call, *map(writes, range(5)))
            lock = asyncio.create_task(in_a_thread(other.execute, "LOCK TABLE checkpoint_writes"))
            await eventually(lambda: backends(dsn, waiting=True) == 2)
        await lock
        await eventually(lambda: backends(dsn, waiting=True) == 1)
        cut_waiting(dsn)
    await asyncio.gather(*tasks)
    assert saved(dsn).keys() == {"prepared", "first", *"01234"}


def cut_waiting(dsn: str) -> None:
    query = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    with psycopg.connect(dsn) as admin:
        admin.execute(query)


async def test_what_the_server_refuses_to_all_is_not_asked_again_for_each(dsn: str) -> None:
    async with aopen_postgres(dsn, pool_size=1) as (saver, _):
        async with saver.conn.connection() as connection:  # type: ignore[union-attr]
            await connection.execute(DEMOTE)
        calls = [saver.aput_writes(*writes(number)[1:]) for number in range(5)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in found} == {StoreUnavailable}
        assert "takes no writes" in str(found[0])
        assert len({id(error) for error in found}) == 5, "each has a traceback of its own"
        await saver.aput_writes(*writes("after")[1:])
    assert saved(dsn).keys() == {"after"}


async def test_a_caller_that_is_cancelled_leaves_the_others_alone(dsn: str) -> None:
    async with aopen_postgres(dsn) as (saver, _):

        async def call(method: str, *args: Any) -> Any:
            return await getattr(saver, f"a{method}")(*args)

        async with held(dsn, call) as first:
            begun, never, alike = await queued(call, *map(writes, ("begun", "never", "alike")))
            never.cancel()
            first.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(begun, alike)
        assert saved(dsn).keys() == {"first", "begun", "alike"}, "what is under way goes on"


def test_a_thread_that_is_interrupted_while_it_writes_for_others_leaves_them_unharmed() -> None:
    under_way, go_on = threading.Event(), threading.Event()
    written: list[str] = []

    def write(batch: Sequence[Word]) -> None:
        if batch[0].text == "first":
            under_way.set()
            assert go_on.wait(10)
        if batch[0].text == "second":
            raise KeyboardInterrupt
        written.extend(word.text for word in batch)

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            batches.put(Word("second"))

    batches = Batches(write)
    threads = [threading.Thread(target=batches.put, args=[Word("first")], daemon=True)]
    threads[0].start()
    assert under_way.wait(10)
    for target in (interrupted, lambda: batches.put(Word("third"))):
        threads.append(threading.Thread(target=target, daemon=True))
        threads[-1].start()
        while len(batches._queue) < len(threads) - 1:
            pass
    go_on.set()
    for thread in threads:
        thread.join(10)
    batches.put(Word("fourth"))
    assert written == ["first", "third", "fourth"]


@dataclass(frozen=True)
class Word:
    text: str
    size: int = 1

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.text,)


async def test_a_batch_has_a_bound_and_its_order() -> None:
    written: list[list[str]] = []

    async def write(batch: Sequence[Word]) -> None:
        written.append([word.text for word in batch])

    batches = AsyncBatches(write)
    big = Word("big", 10_000_000)
    words = [Word("a"), Word("b"), Word("a"), Word("c"), big, big, Word("d")]
    await asyncio.gather(*map(batches.put, words))
    assert written == [["a", "b"], ["a", "c"], ["big"], ["big"], ["d"]]
    written.clear()
    await asyncio.gather(*(batches.put(Word(f"{n}")) for n in range(1_200)))
    assert [len(batch) for batch in written] == [500, 500, 200]


FORKED_WHILE_OTHERS_WRITE = """
import os, threading
from types import SimpleNamespace
from lg_prod_nodes.databases.batches import Batches

def write(batch):
    if batch[0].parent:
        under_way.set()
        threading.Event().wait()

under_way = threading.Event()
batches = Batches(write)
put = lambda parent: batches.put(SimpleNamespace(keys=(), size=1, parent=parent))
threading.Thread(target=put, args=[True], daemon=True).start()
under_way.wait()
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
put(False)
os._exit(0)
"""


def test_a_forked_process_waits_for_nobody() -> None:
    command = [sys.executable, "-c", FORKED_WHILE_OTHERS_WRITE]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0


class Seen(JsonPlusSerializer):
    """Notes the threads that serialize and deserialize."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[bool] = []

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        self.threads.append(threading.current_thread() is threading.main_thread())
        return super().dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        self.threads.append(threading.current_thread() is threading.main_thread())
        return super().loads_typed(data)


class Foreign:
    """A serializer of a user's own, which may take its time."""

    def __init__(self) -> None:
        self.seen = Seen()

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return self.seen.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return self.seen.loads_typed(data)


async def test_the_event_loop_serializes_only_what_is_small(dsn: str) -> None:
    serde = Seen()
    async with aopen_postgres(dsn, serde=serde) as (saver, _):
        for value in ("x", "x" * 100_000, "x" * 100_000, "x"):
            await saver.aput_writes(place(1), [("a", value)], uuid4().hex)
        await saver.aput_writes(place(2), [("b", "x")], "task")
        assert serde.threads == [True, True, False, False, True], "once large, always in a thread"
        await saver.aput(*checkpoint(1, large=["x" * 100_000], small=["x"])[1:])
        serde.threads.clear()
        assert await saver.aget_tuple({"configurable": {"thread_id": "1"}}) is not None
        assert set(serde.threads) == {False}


async def test_a_serializer_of_one_s_own_stays_out_of_the_event_loop(dsn: str) -> None:
    serde = Foreign()
    async with aopen_postgres(dsn, serde=serde) as (saver, _):
        await saver.aput(*checkpoint(1, words=["x"])[1:])
        await saver.aput_writes(place(1), [("a", "x")], "task")
        assert await saver.aget_tuple({"configurable": {"thread_id": "1"}}) is not None
    assert set(serde.seen.threads) == {False}


CHANNELS = ("a", "b", "__error__", "__interrupt__", "__resume__", "__scheduled__")
VALUES = (
    2**70,
    _DeltaSnapshot(["x"]),
    None,
    "x",
    1,
    1.5,
    True,
    ["x"],
    {"x": 1},
    'ü\n"',
    1e300,
    -0.0,
)


def anything(random: Random) -> tuple[Any, ...]:
    """A call that may meet rows of others."""
    at = place(random.choice("12"), random.choice("cd"))
    channels = random.choices(CHANNELS, k=random.randrange(4))
    if random.random() < 0.6:
        given = [(channel, random.choice(VALUES[2:])) for channel in channels]
        return "aput_writes", at, given, random.choice("tu"), random.choice(("", "~x"))
    values = {channel: random.choice(VALUES) for channel in channels}
    checkpoint = empty_checkpoint() | {"id": random.choice("cde"), "channel_values": values}
    versions = {channel: random.choice(("1", "2")) for channel in (*channels, "gone")}
    metadata = {"source": "loop", "step": random.randrange(9), "writes": 1, "score": 0.1}
    return "aput", at, checkpoint, metadata, versions


@pytest.mark.parametrize("seed", range(8))
async def test_the_same_is_saved_as_by_langgraph_s_own(
    dsn: str, postgres_server: str, seed: int
) -> None:
    random = Random(seed)
    calls = [anything(random) for _ in range(150)]
    for other in fresh_database(postgres_server):
        async with AsyncPostgresSaver.from_conn_string(other) as stock:
            await stock.setup()
            for method, *given in calls:
                await getattr(stock, method)(*given)
        async with aopen_postgres(dsn) as (saver, _):
            await asyncio.gather(*(getattr(saver, method)(*given) for method, *given in calls))
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            assert everything(dsn, table) == everything(other, table)


def everything(dsn: str, table: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return sorted(map(str, connection.execute(f"SELECT * FROM {table}").fetchall()))
