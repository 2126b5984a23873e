"""A ledger without a backend of its own, in memory first and then in the database of a `Production`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conftest import fresh_database
from tests.policies.conftest import FakeModel, asks, one

from lg_prod_nodes import ConfigurationError, Ledger, Production, TokenUsage, Usage, harden
from lg_prod_nodes.ledger import Entry

HI: Any = {"messages": [("user", "hi")]}
ENTRY = Entry(id="call-1", run="1", graph="desk", model="gpt-4o", usage=Usage.of({}))
AT_ONCE = timedelta(0)


def ada(thread: str) -> Any:
    return {"configurable": {"thread_id": thread, "user_id": "ada"}}


def graph() -> Any:
    return one(asks(FakeModel()))


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        if connection.execute("SELECT to_regclass('lg_prod_nodes_ledger')").fetchone() == (None,):
            return 0
        found = connection.execute("SELECT count(*) FROM lg_prod_nodes_ledger").fetchone()
    return found[0] if found else 0


def calls(ledger: Ledger) -> tuple[int, int, int]:
    """Calls that were spent, those of them that were kept, and those in doubt."""
    (row,) = ledger.usage()
    return row.spent.calls, row.effective.calls, row.in_doubt.calls


@pytest.fixture
def other_dsn(postgres_server: str) -> Iterator[str]:
    yield from fresh_database(postgres_server)


@pytest.fixture
def make() -> Iterator[Callable[..., TokenUsage]]:
    """Makes policies with ledgers of these settings, and closes them."""
    made: list[TokenUsage] = []

    def make(*place: str, **settings: Any) -> TokenUsage:
        made.append(TokenUsage(ledger=Ledger(*place, **settings)))
        return made[-1]

    yield make
    for usage in made:
        usage.ledger.close()


Make = Callable[..., TokenUsage]


def test_counts_are_in_the_database_that_all_workers_have(dsn: str, make: Make) -> None:
    one_worker, another = make(), make()
    for usage, thread in ((one_worker, "1"), (another, "2")):
        with Production(graph(), [usage], postgres=dsn) as app:
            app.invoke(HI, ada(thread))

    assert rows(dsn) == 2
    assert calls(one_worker.ledger) == calls(another.ledger) == (2, 2, 0)


async def test_an_asynchronous_service_counts_there_too(dsn: str, make: Make) -> None:
    usage = make()
    async with Production(graph(), [usage], postgres=dsn) as app:
        await app.ainvoke(HI, ada("1"))

    assert rows(dsn) == 1


def test_the_policy_s_own_ledger_is_such_a_one(dsn: str) -> None:
    usage = TokenUsage()
    with Production(graph(), [usage], postgres=dsn) as app:
        app.invoke(HI, ada("1"))
        assert calls(usage.ledger) == (1, 1, 0)
    usage.ledger.close()

    assert rows(dsn) == 1


def test_earlier_counts_stay_in_memory_and_in_every_sum(dsn: str, make: Make) -> None:
    usage = make()
    alone = harden(graph(), [usage]).compile()
    alone.invoke(HI, {"configurable": {"user_id": "bob"}})
    with Production(graph(), [usage], postgres=dsn) as app:
        app.invoke(HI, ada("1"))
        assert calls(usage.ledger) == (2, 2, 0)
    alone.invoke(HI, ada("2"))

    by_user = {user: spent.calls for user, spent in usage.ledger.total(by="user").items()}
    assert by_user == {"ada": 2, "bob": 1}
    assert rows(dsn) == 2
    assert [entry.user for entry in usage.ledger.entries()] == ["bob", "ada", "ada"]


def test_entering_again_counts_nothing_twice(dsn: str, make: Make) -> None:
    usage = make()
    harden(graph(), [usage]).compile().invoke(HI)
    production = Production(graph(), [usage], postgres=dsn)
    for _ in range(2):
        with production as app:
            app.invoke(HI, ada("1"))

    assert calls(usage.ledger) == (3, 3, 0)


def test_the_latest_database_is_the_one_that_counts(dsn: str, other_dsn: str, make: Make) -> None:
    usage = make()
    for database in (dsn, other_dsn):
        with Production(graph(), [usage], postgres=database) as app:
            app.invoke(HI, ada("1"))

    assert (rows(dsn), rows(other_dsn)) == (1, 1)
    assert calls(usage.ledger) == (1, 1, 0)


def test_a_call_in_progress_meanwhile_counts_once(dsn: str, make: Make) -> None:
    ledger = make().ledger
    ledger.begin(ENTRY)
    ledger.open(dsn)
    ledger.add(ENTRY)
    ledger.add(replace(ENTRY, id="call-2"))

    assert calls(ledger) == (2, 2, 0)
    assert rows(dsn) == 1


def test_a_task_that_is_done_again_replaces_the_earlier_execution(dsn: str, make: Make) -> None:
    ledger = make().ledger
    earlier = replace(ENTRY, task="task", execution="1:1")
    ledger.add(earlier)
    ledger.keep("task", "1:1", earlier.at)
    ledger.open(dsn)
    ledger.add(replace(earlier, id="call-2", execution="2:1"))
    ledger.keep("task", "2:1", earlier.at + timedelta(seconds=1))

    assert calls(ledger) == (2, 1, 0)


def test_calls_in_doubt_are_settled_where_they_are(dsn: str, make: Make) -> None:
    ledger = make().ledger
    ledger.begin(ENTRY)
    ledger.open(dsn)
    ledger.begin(replace(ENTRY, id="call-2"))
    assert calls(ledger) == (0, 0, 2)

    billed = Usage.of({"input_tokens": 5, "output_tokens": 6})
    assert ledger.reconcile(lambda id: billed, older_than=AT_ONCE) == 2
    assert calls(ledger) == (2, 2, 0)


def test_a_backend_that_was_given_stays(
    dsn: str, other_dsn: str, tmp_path: Path, make: Make
) -> None:
    for given in (make("memory://"), make(other_dsn, journal=tmp_path)):
        with Production(graph(), [given], postgres=dsn) as app:
            app.invoke(HI, ada("1"))
        assert calls(given.ledger) == (1, 1, 0)

    assert (rows(dsn), rows(other_dsn)) == (0, 1)


def test_the_folder_for_the_journal_may_be_given_alone(
    dsn: str, tmp_path: Path, make: Make
) -> None:
    usage = make(journal=tmp_path)
    with Production(graph(), [usage], postgres=dsn) as app:
        app.invoke(HI, ada("1"))
        assert list(tmp_path.glob("*/*"))


def test_a_folder_that_cannot_be_is_reported_before_the_service_begins(
    dsn: str, tmp_path: Path, make: Make
) -> None:
    (tmp_path / "file").touch()
    production = Production(graph(), [make(journal=tmp_path / "file")], postgres=dsn)

    with pytest.raises(ConfigurationError, match=r"Ledger\(journal=\.\.\.\)"), production:
        pass
