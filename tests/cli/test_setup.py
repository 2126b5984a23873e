"""The command `lg-prod-nodes setup`, and services whose role may make nothing."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import (
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    ConfigurationError,
    FailureLog,
    LimitStore,
    Production,
    RateLimit,
    Redact,
    StoreUnavailable,
    TokenBudget,
    TokenUsage,
    Vault,
)
from lg_prod_nodes.cli import main
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.service.persistence import open_postgres
from lg_prod_nodes.stores.limits.store import parse_limits

PASSWORD = "hunter2canary"
KEY = bytes(range(32))
MODEL = FakeListChatModel(responses=["Hello."])


def agent(state: MessagesState) -> dict[str, object]:
    return {"messages": [MODEL.invoke(state["messages"])]}


BUILDER = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")
HELLO = {"messages": [("user", "I am ada@example.org")]}
THREAD = {"configurable": {"thread_id": "1", "user_id": "ada"}}


@pytest.fixture
def service(dsn: str) -> Iterator[tuple[str, str]]:
    """A role that may make nothing: its name, and its DSN."""
    name = f"service_{uuid4().hex}"
    parts = urlsplit(dsn)
    execute(dsn, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield name, parts._replace(netloc=f"{name}:{PASSWORD}@127.0.0.1:{parts.port}").geturl()
    execute(dsn, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def test_a_service_that_may_make_nothing_works_after_the_owner_s_setup(
    dsn: str, service: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, theirs = service
    assert main(["setup", "--dsn", dsn, "--grant-to", name]) == 0
    assert "tables are ready in the Postgres at 127.0.0.1" in capsys.readouterr().out
    policies = [
        CaptureErrors(failures=FailureLog(theirs)),
        TokenUsage(),
        RateLimit("10/second"),
        TokenBudget("100000/day", max_output=100),
        Bulkhead(10),
        CircuitBreaker(),
        Redact("EMAIL_ADDRESS", strategy="tokenize", vault=(vault := Vault(theirs, key=KEY))),
    ]
    with Production(BUILDER, policies, postgres=theirs) as app:
        result = app.invoke(HELLO, THREAD)
    assert result["messages"][0].content.startswith("I am [EMAIL_ADDRESS_")
    vault.load(vault.session("ada"))
    assert vault.forget("ada")


def test_tables_that_the_owner_s_own_service_made_are_enough(
    dsn: str, service: tuple[str, str]
) -> None:
    name, theirs = service
    with Production(BUILDER, postgres=dsn):
        pass
    execute(dsn, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    with Production(BUILDER, postgres=theirs) as app:
        app.invoke(HELLO, THREAD)


def test_tables_that_langgraph_itself_made_are_enough(dsn: str, service: tuple[str, str]) -> None:
    name, theirs = service
    with open_postgres(dsn):
        pass
    execute(
        dsn,
        "DROP INDEX lg_prod_nodes_checkpoints_run",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
    )
    with Production(BUILDER, postgres=theirs) as app:
        app.invoke(HELLO, THREAD)


def test_what_is_missing_is_named_with_the_command_that_makes_it(service: tuple[str, str]) -> None:
    with (
        pytest.raises(ConfigurationError, match="lg-prod-nodes setup --dsn") as raised,
        Production(BUILDER, postgres=service[1]),
    ):
        pass
    assert PASSWORD not in str(raised.value)


def test_tables_that_may_not_be_used_are_named_with_the_grant(
    dsn: str, service: tuple[str, str]
) -> None:
    name, theirs = service
    with open_postgres(dsn):
        pass
    execute(
        dsn,
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        f"REVOKE UPDATE ON checkpoint_writes FROM {name}",
    )
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoint_writes TO {name}"
    with pytest.raises(ConfigurationError, match=grant), Production(BUILDER, postgres=theirs):
        pass


def test_a_store_without_its_tables_names_the_command(service: tuple[str, str]) -> None:
    with LimitStore(service[1]) as store, pytest.raises(StoreUnavailable, match="nodes setup"):
        drive(store.acquire(parse_limits("1/second"), "ada", blocking=True))


def test_an_unknown_role_is_refused(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "--dsn", dsn, "--grant-to", "nobody-at-all"]) == 1
    assert "there is no role 'nobody-at-all'" in capsys.readouterr().err


def test_setup_again_changes_nothing(dsn: str) -> None:
    state = "SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_class"
    assert main(["setup", "--dsn", dsn]) == 0
    with psycopg.connect(dsn) as connection:
        before = connection.execute(state).fetchone()
        assert main(["setup", "--dsn", dsn]) == 0
        assert connection.execute(state).fetchone() == before
