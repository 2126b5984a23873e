"""`Production` on a real Postgres: in scripts, in running loops, in several processes at once."""

from __future__ import annotations

import asyncio
import itertools
import operator
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from tests.conftest import fresh_database
from typing_extensions import TypedDict

from lg_prod_nodes import (
    ConfigurationError,
    Policy,
    Production,
    RateLimit,
    RateLimitExceeded,
    Redact,
    StoreUnavailable,
    harden,
)
from lg_prod_nodes.core.resource import Resource

PROGRAM = Path(__file__).parent / "programs/count.py"


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def ask(state: State) -> dict[str, list[str]]:
    return {"said": [interrupt("go on?")]}


def remember(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
    assert runtime.store is not None
    runtime.store.put(("notes",), "last", {"text": state["said"][-1]})
    return {"said": ["remembered"]}


async def aremember(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
    assert runtime.store is not None
    await runtime.store.aput(("notes",), "last", {"text": state["said"][-1]})
    return {"said": ["remembered"]}


def builder(node: Any = remember) -> StateGraph[State]:
    graph = StateGraph(State).add_node("ask", ask).add_node("remember", node)
    return graph.add_edge(START, "ask").add_edge("ask", "remember")


THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
DONE = {"said": ["hi", "yes", "remembered"]}


def rows(dsn: str) -> Iterator[str]:
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t"):  # type: ignore[arg-type]
                yield row


def test_a_thread_outlives_the_block(dsn: str) -> None:
    with Production(builder(), postgres=dsn) as app:
        assert app.invoke({"said": ["hi"]}, THREAD)["__interrupt__"]
    with Production(builder(), postgres=dsn) as app:
        assert app.invoke(Command(resume="yes"), THREAD) == DONE


async def test_an_asynchronous_block_does_the_same(dsn: str) -> None:
    async with Production(builder(aremember), postgres=dsn) as app:
        assert (await app.ainvoke({"said": ["hi"]}, THREAD))["__interrupt__"]
    async with Production(builder(aremember), postgres=dsn) as app:
        assert await app.ainvoke(Command(resume="yes"), THREAD) == DONE
        assert app.store is not None
        note = await app.store.aget(("notes",), "last")
        assert note is not None
        assert note.value == {"text": "yes"}


async def test_a_synchronous_block_serves_a_running_loop_too(dsn: str) -> None:
    with Production(builder(), postgres=dsn) as app:
        assert app.invoke({"said": ["hi"]}, THREAD)["__interrupt__"]
        assert await app.ainvoke(Command(resume="yes"), THREAD) == DONE
        states = [state async for state in app.aget_state_history(THREAD)]
        assert len(states) == 4


def test_one_production_can_be_entered_again(dsn: str) -> None:
    production = Production(builder(), postgres=dsn)
    with production as app:
        app.invoke({"said": ["hi"]}, THREAD)
    with production as app:
        assert app.invoke(Command(resume="yes"), THREAD) == DONE


def test_a_compiled_graph_is_persisted_and_itself_left_alone(dsn: str) -> None:
    compiled = builder().compile()
    with Production(compiled, postgres=dsn) as app:
        app.invoke({"said": ["hi"]}, THREAD)
        assert app.invoke(Command(resume="yes"), THREAD) == DONE
    assert compiled.checkpointer is None


def test_database_url_is_used_where_no_dsn_is_given(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    with Production(builder()) as app:
        app.invoke({"said": ["hello there"]}, THREAD)
    assert [row for row in rows(dsn) if b"hello there".hex() in row]


def test_nothing_that_is_redacted_is_in_any_row(dsn: str) -> None:
    with Production(builder(), [Redact("EMAIL_ADDRESS")], postgres=dsn) as app:
        app.invoke({"said": ["I am ada@example.com"]}, THREAD)
        app.update_state(THREAD, {"said": ["or bob@example.com"]}, as_node="ask")
        app.invoke({"said": ["anew"]}, THREAD)
        app.invoke(Command(resume="ask carol@example.com"), THREAD)

    found = list(rows(dsn))
    secrets = ("ada@example", "bob@example", "carol@example")
    binary = ["".join(f"{ord(char):02x}" for char in secret) for secret in secrets]
    assert found
    assert not [row for row in found if any(value in row for value in (*secrets, *binary))]
    assert [row for row in found if b"[EMAIL_ADDRESS]".hex() in row]


def test_two_processes_share_a_database_from_the_start(dsn: str) -> None:
    programs = [
        subprocess.Popen([sys.executable, PROGRAM, dsn, name], stdout=subprocess.PIPE, text=True)
        for name in ("sync", "async")
    ]
    printed = [program.communicate(timeout=60)[0].strip() for program in programs]
    assert printed == ["20 turns", "20 turns"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="lg-prod-nodes-") as folder:
        Path(folder).chmod(0o711)  # for root, the server runs as somebody else
        yield Path(folder) / "postgres"


def test_an_embedded_postgres_comes_and_goes_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("LG_PROD_NODES_DATA", str(folder))

    async def resume() -> Any:
        async with Production(builder(aremember), postgres="embedded") as app:
            return await app.ainvoke(Command(resume="yes"), THREAD)

    with Production(builder(), postgres="embedded") as app:
        app.invoke({"said": ["hi"]}, THREAD)
    assert asyncio.run(resume()) == DONE
    assert not (folder / "data/postmaster.pid").exists()


@pytest.mark.parametrize("entered", ["with", "async with"])
def test_a_forgotten_database_is_an_error_and_no_empty_one(
    monkeypatch: pytest.MonkeyPatch, folder: Path, entered: str
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("LG_PROD_NODES_DATA", str(folder))
    production = Production(builder())

    async def enter() -> None:
        async with production:
            pass

    with pytest.raises(ConfigurationError, match="set DATABASE_URL"):
        production.__enter__() if entered == "with" else asyncio.run(enter())
    assert not folder.exists()


def test_the_environment_may_ask_for_the_embedded_postgres(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "embedded")
    monkeypatch.setenv("LG_PROD_NODES_DATA", str(folder))
    with Production(builder()) as app:
        assert app.invoke({"said": ["hi"]}, THREAD)["__interrupt__"]


class Buffer(Resource):
    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    def close(self) -> None:
        self._closed.append("closed")
        raise OSError("buffers")


@dataclass(frozen=True)
class Buffers(Policy):
    buffer: Buffer

    @property
    def resources(self) -> tuple[Resource, ...]:
        return (self.buffer,)


def test_a_policy_that_cannot_be_closed_leaves_none_of_the_others_open(dsn: str) -> None:
    closed: list[str] = []
    production = Production(
        builder(), [Buffers(Buffer(closed)), Buffers(Buffer(closed))], postgres=dsn
    )
    with pytest.raises(OSError, match="buffers"), production:
        pass
    assert closed == ["closed", "closed"]


def test_what_policies_count_is_in_the_database_that_all_workers_have(dsn: str) -> None:
    def limited(**settings: Any) -> RateLimit:
        return RateLimit("1/day", **settings)

    def run(*policies: Policy) -> None:
        with Production(builder(), policies, postgres=dsn) as app:
            app.invoke({"said": ["hi"]}, {"configurable": {"thread_id": uuid4().hex}})

    run(limited())
    with pytest.raises(RateLimitExceeded):
        run(limited())
    run(limited(store="memory://"))
    again = limited()
    for _ in range(2):
        with pytest.raises(RateLimitExceeded):
            run(again)
    harden(builder(), [again]).compile().invoke({"said": ["hi"]})  # back in memory


async def test_an_asynchronous_service_counts_in_its_database_too(dsn: str) -> None:
    async def run() -> None:
        async with Production(builder(aremember), [RateLimit("1/day")], postgres=dsn) as app:
            await app.ainvoke({"said": ["hi"]}, {"configurable": {"thread_id": uuid4().hex}})

    await run()
    with pytest.raises(RateLimitExceeded):
        await run()


def test_what_cannot_work_is_refused_before_anything_is_opened() -> None:
    for options, complaint in (
        ({"checkpointer": None}, "makes its own in Postgres"),
        ({"pool_size": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            Production(builder(), **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="compiled already"):
        Production(builder().compile(), name="desk")


def test_an_unknown_option_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"nmae is no option .*; did you mean 'name'\?"):
        Production(builder(), nmae="desk")
    with pytest.raises(ConfigurationError, match=r"give some of .*interrupt_before"):
        Production(builder(), xyz=1)


def test_an_entrypoint_takes_no_options_and_is_persisted(dsn: str) -> None:
    @entrypoint()
    def workflow(given: str, *, previous: list[str] | None = None) -> entrypoint.final[str, Any]:
        said = [*(previous or []), given]
        return entrypoint.final(value=" ".join(said), save=said)

    with pytest.raises(ConfigurationError, match="name given for a graph that is compiled already"):
        Production(workflow, name="desk")
    for given, expected in (("a", "a"), ("b", "a b")):
        with Production(workflow, postgres=dsn) as app:
            assert app.invoke(given, THREAD) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ({"checkpointer": InMemorySaver()}, "compiled with a checkpointer, which"),
        ({"checkpointer": False}, "compiled with a checkpointer, which"),
        ({"store": InMemoryStore()}, "compiled with a store, which"),
    ],
)
def test_a_checkpointer_or_store_of_the_graph_s_own_is_not_replaced_silently(
    own: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{complaint} .*harden"):
        Production(builder().compile(**own))


def test_what_only_the_opened_graph_can_do_says_how_to_open_it(dsn: str) -> None:
    production = Production(builder(), postgres=dsn)
    for name in ("invoke", "astream", "get_state", "with_config"):
        with pytest.raises(AttributeError, match=rf"with Production\(...\) as app:.*app\.{name}"):
            getattr(production, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        production.nothing  # type: ignore[attr-defined]  # noqa: B018


async def test_it_is_open_once_at_a_time(dsn: str) -> None:
    production = Production(builder(aremember), postgres=dsn)
    async with production as app:
        with pytest.raises(
            ConfigurationError, match=r"open already; enter it once, in the lifespan"
        ):
            await production.__aenter__()
        with pytest.raises(ConfigurationError, match="open already"):
            production.__enter__()
        assert (await app.ainvoke({"said": ["hi"]}, THREAD))["__interrupt__"]
        assert production.app is app
    async with production as app:
        assert await app.ainvoke(Command(resume="yes"), THREAD) == DONE


def test_one_that_could_not_be_opened_may_be_tried_again(dsn: str) -> None:
    production = Production(builder(), postgres="postgresql://127.0.0.1:1/none")
    for _ in range(2):
        with pytest.raises(StoreUnavailable), production:
            pass


async def test_after_the_block_the_graph_says_that_it_is_over(dsn: str) -> None:
    with Production(builder(), postgres=dsn) as app:
        pass
    with pytest.raises(StoreUnavailable, match="inside of the block of its Production"):
        app.invoke({"said": ["hi"]}, THREAD)
    async with Production(builder(aremember), postgres=dsn) as app:
        pass
    with pytest.raises(StoreUnavailable, match="inside of the block of its Production"):
        await app.ainvoke({"said": ["hi"]}, THREAD)
    with pytest.raises(StoreUnavailable, match="inside of the block of its Production"):
        await asyncio.to_thread(app.invoke, {"said": ["hi"]}, THREAD)


async def test_policies_count_in_one_database_at_a_time(dsn: str, postgres_server: str) -> None:
    shared, redact = RateLimit("2/day"), Redact("EMAIL_ADDRESS")

    def service(database: str, *policies: Policy) -> Production:
        return Production(builder(), policies, postgres=database)

    def run(app: Any) -> None:
        app.invoke({"said": ["hi"]}, {"configurable": {"thread_id": uuid4().hex}})

    [other] = itertools.islice(others := fresh_database(postgres_server), 1)
    with service(dsn, shared, redact) as first:
        with (
            pytest.raises(ConfigurationError, match="a LimitStore of these policies is used"),
            service(other, shared),
        ):
            pass
        with service(other, redact, RateLimit("2/day")) as apart:
            run(apart)
        with service(dsn, shared) as second:  # the same database counts together
            run(second)
        run(first)  # it is still there, though the second has closed
        with pytest.raises(RateLimitExceeded):
            run(first)
    with service(other, shared) as later:
        run(later)
    next(others, None)


PARENT_AND_CHILD = """
import os, sys
from langgraph.graph import START, MessagesState, StateGraph
from lg_prod_nodes import CaptureErrors, Production

builder = StateGraph(MessagesState).add_node("agent", lambda state: {"messages": [("ai", "Hello.")]})
builder.add_edge(START, "agent")

def use(app, who):
    for n in range(10):
        config = {"configurable": {"thread_id": f"{who}{n}"}}
        app.invoke({"messages": [("user", f"{who}{n}")]}, config)
        assert app.get_state(config).values["messages"][0].content == f"{who}{n}"

with Production(builder, [CaptureErrors()], postgres=sys.argv[1], grace=1) as app:
    use(app, "warm")
    child = os.fork()
    use(app, "parent" if child else "child")
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        use(app, "afterwards")
print("well" if child else "child", flush=True)
"""


def test_a_process_that_is_forked_inside_gets_connections_of_its_own(dsn: str) -> None:
    command = [sys.executable, "-c", PARENT_AND_CHILD, dsn]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.split() == ["child", "well"], ended.stderr


async def test_many_threads_may_call_an_asynchronous_service_synchronously(dsn: str) -> None:
    async with Production(builder(), postgres=dsn) as app:
        async with asyncio.timeout(50):
            calls = [
                asyncio.to_thread(
                    app.invoke, {"said": [f"{n}"]}, {"configurable": {"thread_id": f"{n}"}}
                )
                for n in range(40)
            ]
            results = await asyncio.gather(*calls)
        assert all(result["__interrupt__"] for result in results)
        assert (await app.aget_state({"configurable": {"thread_id": "7"}})).values == {
            "said": ["7"]
        }
        with pytest.raises(ConfigurationError, match="await the asynchronous one"):
            app.invoke({"said": ["hi"]}, THREAD)


async def test_another_event_loop_is_answered_with_what_to_do(dsn: str) -> None:
    def elsewhere(app: Any) -> None:
        asyncio.run(app.ainvoke({"said": ["hi"]}, THREAD))

    async with Production(builder(aremember), postgres=dsn) as app:
        with pytest.raises(ConfigurationError, match="opened in another event loop"):
            await asyncio.to_thread(elsewhere, app)


def test_an_unreachable_database_is_named_without_its_password() -> None:
    dsn = "postgresql://ada:s3cret@127.0.0.1:1/none"
    with (
        pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as raised,
        Production(builder(), postgres=dsn),
    ):
        pass
    assert "s3cret" not in str(raised.value)
