"""What the journal saves from processes that die and databases that are down: real processes, a real Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.policies.conftest import FakeModel, asks, one

from lg_prod_nodes import Ledger, Production, StoreUnavailable, TokenUsage, Usage, harden
from lg_prod_nodes.ledger import Entry
from lg_prod_nodes.ledger import journal as _journal

PROGRAM = Path(__file__).parent / "programs/ledger_worker.py"
ENTRY = Entry(
    id="call-1",
    run="run-1",
    graph="desk",
    model="gpt-4o-mini",
    usage=Usage.of({"input_tokens": 3, "output_tokens": 4}),
)
AT_ONCE = timedelta(0)


class Worker:
    """Another process with a ledger."""

    def __init__(self, dsn: str, journal: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), dsn, str(journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


class Absent:
    """A database that is not there until it is made."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = f"test_{uuid4().hex}"
        self.dsn = urlsplit(server)._replace(path=f"/{self._name}").geturl()

    def create(self) -> None:
        self._do("CREATE DATABASE {} TEMPLATE template0")

    def drop(self) -> None:
        self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _do(self, statement: LiteralString) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._name)))


@pytest.fixture
def absent(postgres_server: str) -> Iterator[Absent]:
    database = Absent(postgres_server)
    yield database
    database.drop()


def only(ledger: Ledger) -> Any:
    (row,) = ledger.usage()
    return row


def files(journal: Path) -> list[Path]:
    return sorted(journal.glob("*/*.jsonl"))


def test_a_call_that_a_killed_process_was_in_is_in_doubt(dsn: str, tmp_path: Path) -> None:
    worker = Worker(dsn, tmp_path)
    worker.send("call")
    _, call = worker.send("hang").split()
    worker.kill()

    with Ledger(dsn, journal=tmp_path) as ledger:
        ledger.flush()
        row = only(ledger)
        assert (row.spent.calls, row.effective.calls, row.in_doubt.calls) == (1, 1, 1)
        assert row.in_doubt.input_tokens > 0
        (doubtful,) = ledger.entries(in_doubt=True)
        assert (doubtful.id, doubtful.graph, doubtful.node) == (call, "desk", "ask")
        assert files(tmp_path) == []

        billed = Usage.of({"input_tokens": 30, "output_tokens": 40})
        assert ledger.reconcile({call: billed}.get, older_than=AT_ONCE) == 1
        row = only(ledger)
        assert (row.spent.total_tokens, row.effective.total_tokens) == (77, 7)


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        counted = connection.execute("SELECT count(*) FROM lg_prod_nodes_ledger").fetchone()
    assert counted
    return int(counted[0])


def wait_for_rows(dsn: str, expected: int) -> None:
    """Return once a process has sent them by itself."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(psycopg.errors.UndefinedTable):
            if rows(dsn) == expected:
                return
        assert time.monotonic() < deadline, "the rows do not come"


def test_what_a_killed_process_could_not_send_is_sent_by_the_next(
    absent: Absent, tmp_path: Path
) -> None:
    worker = Worker(absent.dsn, tmp_path)
    worker.send("call")
    worker.send("call")
    worker.kill()
    (left,) = files(tmp_path)
    with left.open("ab") as torn:
        torn.write(b'{"id":"torn')
    absent.create()

    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        ledger.flush()
        assert (only(ledger).spent.calls, only(ledger).effective.calls) == (2, 2)
    assert list(tmp_path.glob("*/*")) == []


def test_a_process_that_begins_to_count_sends_what_is_left(absent: Absent, tmp_path: Path) -> None:
    worker = Worker(absent.dsn, tmp_path)
    worker.send("call")
    worker.kill()
    absent.create()

    worker = Worker(absent.dsn, tmp_path)
    worker.send("call")

    wait_for_rows(absent.dsn, 2)
    worker.end()


def test_the_journal_of_a_living_process_is_its_own(absent: Absent, tmp_path: Path) -> None:
    worker = Worker(absent.dsn, tmp_path)
    worker.send("call")
    absent.create()

    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        ledger.flush()
        assert len(files(tmp_path)) == 1
        worker.kill()
        ledger.flush()
        assert (only(ledger).spent.calls, files(tmp_path)) == (1, [])


def test_two_processes_count_beside_each_other(dsn: str, tmp_path: Path) -> None:
    workers = [Worker(dsn, tmp_path) for _ in range(2)]
    for _ in range(3):
        for worker in workers:
            worker.send("call")
    for worker in workers:
        worker.end()

    with Ledger(dsn, journal=tmp_path) as ledger:
        assert [row.spent.calls for row in ledger.usage(by="user")] == [3, 3]
        assert only(ledger).effective.calls == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_has_a_journal_of_its_own(dsn: str, tmp_path: Path) -> None:
    worker = Worker(dsn, tmp_path)
    for line in ("call", "fork", "call", "fork"):
        assert worker.send(line) == "done"
    worker.end()

    with Ledger(dsn, journal=tmp_path) as ledger:
        assert [row.spent.calls for row in ledger.usage(by="user")] == [2, 1, 1]
        assert only(ledger).effective.calls == 4
    assert files(tmp_path) == []


def test_a_process_that_ends_sends_what_waits(dsn: str, tmp_path: Path) -> None:
    worker = Worker(dsn, tmp_path)
    worker.send("call")
    worker.end()

    assert (rows(dsn), list(tmp_path.glob("*/*"))) == (1, [])


def test_what_a_run_spent_is_sent_when_it_ends(dsn: str, tmp_path: Path) -> None:
    with Ledger(dsn, journal=tmp_path) as ledger:
        graph = harden(one(asks(FakeModel())), [TokenUsage(ledger=ledger)]).compile()
        graph.invoke({"messages": [("user", "hi")]})
        wait_for_rows(dsn, 1)


def test_what_waits_is_sent_when_a_service_ends(dsn: str, tmp_path: Path) -> None:
    usage = TokenUsage(ledger=Ledger(dsn, journal=tmp_path))
    with Production(one(asks(FakeModel())), [usage], postgres=dsn) as app:
        app.invoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "1"}})

    assert (rows(dsn), list(tmp_path.glob("*/*"))) == (1, [])


def test_while_the_database_is_down_nothing_is_lost(absent: Absent, tmp_path: Path) -> None:
    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        ledger.add(ENTRY)
        with pytest.raises(StoreUnavailable):
            ledger.flush()
        with pytest.raises(StoreUnavailable):
            ledger.usage()
        assert ledger.unsent > 0

        absent.create()
        ledger.add(replace(ENTRY, id="call-2"))
        ledger.flush()

        assert (only(ledger).spent.calls, ledger.unsent) == (2, 0)


def test_what_is_not_sent_at_the_end_is_left_to_the_next(absent: Absent, tmp_path: Path) -> None:
    with Ledger(absent.dsn, journal=tmp_path, timeout=1) as ledger:
        ledger.add(ENTRY)
    absent.create()

    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        ledger.flush()
        assert only(ledger).spent.calls == 1


def test_journals_for_another_database_are_left_alone(
    absent: Absent, dsn: str, tmp_path: Path
) -> None:
    with Ledger(absent.dsn, journal=tmp_path, timeout=1) as ledger:
        ledger.add(ENTRY)

    with Ledger(dsn, journal=tmp_path) as ledger:
        ledger.flush()
        assert (only(ledger).spent.calls, len(files(tmp_path))) == (0, 1)


def test_a_journal_that_is_full_says_so(
    absent: Absent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal, "MOST_BYTES", 1000)
    with Ledger(absent.dsn, journal=tmp_path, timeout=1) as ledger:
        ledger.add(ENTRY)
        ledger.add(replace(ENTRY, id="call-2"))
        with pytest.raises(StoreUnavailable, match="1000 bytes"):
            ledger.add(replace(ENTRY, id="call-3"))
        absent.create()
        ledger.flush()
        ledger.add(replace(ENTRY, id="again"))

        assert only(ledger).spent.calls == 3


def test_files_that_are_sent_are_deleted(
    absent: Absent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal, "_FILE_BYTES", 1000)
    monkeypatch.setattr(_journal, "_PIECE_BYTES", 700)
    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        for number in range(20):
            ledger.add(replace(ENTRY, id=str(number)))
        assert len(files(tmp_path)) > 3
        absent.create()
        ledger.flush()

        assert len(files(tmp_path)) == 1
        assert only(ledger).spent.calls == 20


def test_a_disk_that_fills_up_tears_one_record_at_most(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Ledger(dsn, journal=tmp_path) as ledger:
        ledger.add(ENTRY)
        monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:20]))
        with pytest.raises(StoreUnavailable, match="disk is full"):
            ledger.add(replace(ENTRY, id="torn"))
        monkeypatch.undo()
        ledger.add(replace(ENTRY, id="call-2"))

        assert [entry.id for entry in ledger.entries()] == ["call-1", "call-2"]


def test_rows_that_are_too_old_are_deleted(dsn: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with Ledger(dsn, journal=tmp_path, retention=timedelta(days=7)) as ledger:
        for days in (1, 8, 9):
            at = now - timedelta(days=days)
            ledger.add(replace(ENTRY, id=str(days), at=at, task=str(days), execution="e"))
            ledger.keep(str(days), "e", at)
        ledger.flush()

        assert rows(dsn) == 1
        with psycopg.connect(dsn) as connection:
            kept = connection.execute("SELECT task FROM lg_prod_nodes_ledger_kept").fetchall()
        assert kept == [("1",)]


def test_nothing_of_a_conversation_is_in_a_journal_or_row(absent: Absent, tmp_path: Path) -> None:
    secret = "4111-1111"
    with Ledger(absent.dsn, journal=tmp_path) as ledger:
        model = FakeModel(says=f"{secret} {secret}")
        graph = harden(one(asks(model)), [TokenUsage(ledger=ledger)]).compile()
        graph.invoke({"messages": [("user", secret)]})
        list(graph.stream({"messages": [("user", secret)]}, stream_mode="messages"))
        (journal,) = files(tmp_path)
        assert journal.read_bytes().count(b'"calls":1') == 4
        assert secret.encode() not in journal.read_bytes()
        absent.create()
        ledger.flush()
        with psycopg.connect(absent.dsn) as connection:
            held = connection.execute("SELECT l::text FROM lg_prod_nodes_ledger l").fetchall()
        assert len(held) == 2
        assert secret not in repr(held)


def test_lag_is_the_age_of_the_oldest_entry_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(_journal, "monotonic", lambda: now[0])
    journal = _journal.Journal(tmp_path)
    assert journal.lag == 0
    for seconds in (0, 0.5, 10, 20):
        now[0] = 100.0 + seconds
        journal.write({"id": str(seconds)})
    assert journal.lag == 20
    piece = journal.next()
    assert piece is not None
    journal.sent(replace(piece, end=piece.end // 2))
    assert journal.lag == 10, "those of the first second are sent"
    journal.sent(piece)
    assert journal.lag == 0
    now[0] += 50
    journal.write({"id": "new"})
    now[0] += 3
    assert journal.lag == 3
    journal.close()


def test_lag_grows_while_the_database_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger("postgresql://127.0.0.1:1/nowhere", journal=tmp_path, timeout=0.1)
    assert ledger.lag == 0
    ledger.add(ENTRY)
    later = time.monotonic() + 70
    monkeypatch.setattr(_journal, "monotonic", lambda: later)
    assert 69 < ledger.lag <= 71
    assert Ledger().lag == 0
    ledger.close()


def test_schemas_of_one_database_have_journals_of_their_own(dsn: str, tmp_path: Path) -> None:
    schemas = ["tenant_a", "tenant_b"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for schema in schemas:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    names = [f"{dsn}?options=-csearch_path%3D{schema}" for schema in schemas]
    first = Ledger(names[0], journal=tmp_path)
    first.add(ENTRY)
    with Ledger(names[1], journal=tmp_path) as second:
        second.flush()  # takes over what dead processes left, of its own schema
        assert second.entries() == ()
    first.flush()
    assert [entry.id for entry in first.entries()] == [ENTRY.id]
    first.close()
    folders = {folder.name for folder in tmp_path.iterdir()}
    with Ledger(f"{dsn}?application_name=desk", journal=tmp_path):
        assert {folder.name for folder in tmp_path.iterdir()} > folders


def test_a_role_s_own_options_name_the_schema_too(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(dsn, journal=tmp_path).close()
    monkeypatch.setenv("PGOPTIONS", "-c search_path=tenant_a")
    Ledger(dsn, journal=tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2
