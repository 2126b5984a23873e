"""The example graph in a real LangGraph Server, which keeps its checkpoints and store in our Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import NotFoundError
from psycopg import sql
from tests.conftest import fresh_database
from tests.serving import Served, langgraph_server, wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"
CHECKPOINTS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
EMAIL, CARD = "bob@example.org", "4111 1111 1111 1111"


@dataclass(frozen=True)
class Server:
    client: SyncLangGraphClient
    database: str
    served: Served

    def thread(self) -> str:
        return str(self.client.threads.create()["thread_id"])

    def say(self, thread: str, text: str, **options: Any) -> Any:
        """Run the graph to its end, for a user who has a rate limit of their own unless one is given."""
        user = options.pop("user", thread)
        return self.client.runs.wait(thread, "desk", input=said(text), config=for_(user), **options)

    def state(self, thread: str) -> Any:
        return self.client.threads.get_state(thread)

    def texts(self, thread: str) -> list[str]:
        return [message["content"] for message in self.state(thread)["values"]["messages"]]

    def rows(self, table: str, **where: str) -> list[tuple[Any, ...]]:
        """A table's rows in Postgres, those of one thread or of all."""
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        for column in where:
            query += sql.SQL(" WHERE {} = %s").format(sql.Identifier(column))
        with psycopg.connect(self.database) as connection:
            return connection.execute(query, list(where.values())).fetchall()

    def run_checkpoints(self, run: str) -> int:
        query = "SELECT count(*) FROM checkpoints WHERE metadata->>'run_id' = %s"
        with psycopg.connect(self.database) as connection:
            return int(connection.execute(query, [run]).fetchall()[0][0])

    def everything_stored(self) -> str:
        """All that is in the database, as one text."""
        with psycopg.connect(self.database) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            names = [name for (name,) in tables]
        return "\n".join(readable(row) for name in names for row in self.rows(name))


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[str]:
    """The DSN of a database for all tests of this module."""
    yield from fresh_database(postgres_server)


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`langgraph dev` on the example, in a copy of its folder: it writes files into where it runs."""
    folder = tmp_path_factory.mktemp("server") / "examples"
    shutil.copytree(EXAMPLES / "server", folder / "server")
    shutil.copy(EXAMPLES / "langgraph.json", folder)
    options = "--n-jobs-per-worker 8"
    with (
        langgraph_server(folder, {"DATABASE_URL": database}, options) as served,
        get_sync_client(url=served.url) as client,
    ):
        yield Server(client, database, served)


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def for_(user: str) -> Any:
    return {"configurable": {"user_id": user}}


def readable(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(readable, value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def test_streams_values_messages_and_updates_without_personal_data(server: Server) -> None:
    thread = server.thread()
    modes: Any = ["values", "messages", "updates"]
    question = said(f"I am {EMAIL}, card {CARD}")
    parts = list(server.client.runs.stream(thread, "desk", input=question, stream_mode=modes))
    events = [part.event for part in parts]
    assert {"values", "messages/partial", "updates"} <= set(events)
    assert events.count("messages/partial") > 3, "word by word"
    answer = "You said: I am [EMAIL_ADDRESS], card [CREDIT_CARD]"
    assert parts[-1].data["messages"][-1]["content"] == answer
    assert EMAIL not in str(parts)
    assert CARD not in str(parts)


def test_state_reads_back_what_the_run_ended_with(server: Server) -> None:
    thread = server.thread()
    values = server.say(thread, "hello")
    state = server.state(thread)
    assert state["values"] == values
    assert state["next"] == []
    assert server.texts(thread) == ["hello", "You said: hello"]


def test_an_interrupted_run_waits_for_its_resume(server: Server) -> None:
    thread = server.thread()
    server.say(thread, "refund A17, the lid is broken")
    waiting = server.state(thread)
    (interrupt,) = waiting["tasks"][0]["interrupts"]
    assert waiting["next"] == ["approve"]
    assert interrupt["value"] == {"refund": [{"order": "A17", "reason": "the lid is broken"}]}
    assert server.client.threads.get(thread)["status"] == "interrupted"

    server.client.runs.wait(thread, "desk", command={"resume": "yes"}, config=for_(thread))
    assert server.state(thread)["next"] == []
    assert server.texts(thread)[-1] == "You said: order A17 is refunded"
    refund = server.client.store.get_item(["refunds"], "A17")
    assert refund["value"] == {"reason": "the lid is broken"}
    assert server.rows("store", key="A17"), "the store is in Postgres"


def test_a_refusal_resumes_the_run_too(server: Server) -> None:
    thread = server.thread()
    server.say(thread, "refund B42")
    server.client.runs.wait(thread, "desk", command={"resume": "no"}, config=for_(thread))
    assert server.texts(thread)[-1] == "You said: refused"
    assert not server.rows("store", key="B42")


def test_personal_data_reaches_neither_state_nor_database_nor_log(server: Server) -> None:
    thread = server.thread()
    server.say(thread, f"refund C7 to {EMAIL}, card {CARD}")
    resume: Any = {"resume": f"no, {EMAIL}"}
    server.client.runs.wait(thread, "desk", command=resume, config=for_(thread))
    server.client.threads.update_state(thread, said(f"or to {CARD}"), as_node="answer")
    history = server.client.threads.get_history(thread)
    for place in (str(history), server.everything_stored(), server.served.log.read_text()):
        assert EMAIL not in place
        assert CARD not in place
    stored = server.everything_stored()
    assert "C7 to [EMAIL_ADDRESS], card [CREDIT_CARD]" in stored
    assert "or to [CREDIT_CARD]" in stored
    assert "no, [EMAIL_ADDRESS]" in stored


def test_a_user_over_the_limit_is_refused_and_others_are_not(server: Server) -> None:
    user, client = uuid4().hex, server.client
    threads = [server.thread() for _ in range(5)]
    runs = [
        client.runs.create(thread, "desk", input=said("hi"), config=for_(user))["run_id"]
        for thread in threads
    ]
    for thread, run in zip(threads, runs, strict=True):
        client.runs.join(thread, run)
        assert client.runs.get(thread, run)["status"] == "success"

    refused = server.thread()
    error = server.say(refused, "hi", user=user, raise_error=False)["__error__"]
    assert error["error"] == "RateLimitExceeded"
    assert client.threads.get(refused)["status"] == "error"
    server.say(refused, "me too")
    assert server.texts(refused) == ["me too", "You said: me too"]


def test_rollback_leaves_nothing_of_the_run_it_cancels(server: Server) -> None:
    thread, client = server.thread(), server.client
    server.say(thread, "first")
    long = said("dragging " * 500)
    options: Any = {"config": for_(thread), "stream_mode": "messages"}
    cancelled = client.runs.create(thread, "desk", input=long, **options)["run_id"]
    wait_until(lambda: server.run_checkpoints(cancelled) > 1, 20, server.served.log_end)

    server.say(thread, "second", multitask_strategy="rollback")
    assert server.texts(thread) == ["first", "You said: first", "second", "You said: second"]
    assert server.run_checkpoints(cancelled) == 0
    assert "dragging" not in server.everything_stored()
    with pytest.raises(NotFoundError):
        client.runs.get(thread, cancelled)


def test_a_copied_thread_goes_its_own_way(server: Server) -> None:
    thread, client = server.thread(), server.client
    server.say(thread, "first")
    server.say(thread, "refund D9")
    copied: Any = client.threads.copy(thread)  # type: ignore[func-returns-value]  # it does
    copy = str(copied["thread_id"])
    assert server.state(copy)["values"] == server.state(thread)["values"]
    assert server.state(copy)["next"] == ["approve"]
    assert server.state(copy)["metadata"]["thread_id"] == copy
    assert len(client.threads.get_history(copy)) == len(client.threads.get_history(thread))

    client.runs.wait(copy, "desk", command={"resume": "no"}, config=for_(copy))
    assert server.texts(copy)[-1] == "You said: refused"
    assert server.state(thread)["next"] == ["approve"]


def test_a_deleted_thread_leaves_no_row(server: Server) -> None:
    thread = server.thread()
    server.say(thread, "hello")
    assert all(server.rows(table, thread_id=thread) for table in CHECKPOINTS)
    server.client.threads.delete(thread)
    assert not any(server.rows(table, thread_id=thread) for table in CHECKPOINTS)
