"""Health as custom routes of a real LangGraph Server, which looks for blocking calls in its event loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving import langgraph_server

SERVED = """
import os
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_sdk import Auth
from lg_prod_nodes import Health, Metrics, RateLimit, harden, health_app

async def agent(state: MessagesState):
    return {"messages": [("assistant", "hello")]}

builder = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")
limit = RateLimit("5/minute", store=os.environ["VALKEY_URL"])
graph = harden(builder, [Metrics(), limit])
app = health_app(Health(graph, os.environ["DATABASE_URL"], timeout=10.0, slow=10.0, max_lag=20.0))
auth = Auth()

@auth.authenticate
async def authenticate(authorization: str | None):
    if authorization != "Bearer ada":
        raise Auth.exceptions.HTTPException(401, "who are you?")
    return "ada"
"""


@contextmanager
def served(folder: Path, environment: dict[str, str], http: dict[str, Any]) -> Iterator[str]:
    """`langgraph dev` on the graph, with these settings of `http`."""
    (folder / "graph.py").write_text(SERVED)
    settings = {
        "dependencies": ["."],
        "graphs": {"desk": "./graph.py:graph"},
        "checkpointer": {"path": "lg_prod_nodes.service.persistence.checkpointer"},
        "auth": {"path": "./graph.py:auth"},
        "http": {"app": "./graph.py:app", **http},
    }
    (folder / "langgraph.json").write_text(json.dumps(settings))
    with langgraph_server(folder, environment) as server:
        yield server.url


@pytest.fixture
def environment(dsn: str, valkey_url: str) -> dict[str, str]:
    return {"DATABASE_URL": dsn, "VALKEY_URL": valkey_url}


def test_custom_routes_are_open(tmp_path: Path, environment: dict[str, str]) -> None:
    with served(tmp_path, environment, {}) as url:
        assert httpx.post(f"{url}/threads", json={}).status_code == 401
        live, ready = httpx.get(f"{url}/health"), httpx.get(f"{url}/ready", timeout=30)
        assert live.status_code == 200, live.text
        assert live.json()["status"] == "ok", live.text
        assert ready.status_code == 200, ready.text
        found = ready.json()["checks"]
        assert set(found) == {"event_loop", "memory", "graph", "limits", "postgres"}
        assert {check["status"] for check in found.values()} == {"ok"}
        assert "connections in use" in found["postgres"]["detail"]
        shown = httpx.get(f"{url}/metrics").text
        assert 'lg_prod_health{check="postgres"} 1.0' in shown, "the server's own page"
    log = (tmp_path / "server.log").read_text()
    assert "BlockingError" not in log
    assert "Blocking call" not in log


def test_custom_routes_ask_who_it_is_where_that_is_wanted(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with served(tmp_path, environment, {"enable_custom_route_auth": True}) as url:
        assert httpx.get(f"{url}/ready").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 401
        ada = {"authorization": "Bearer ada"}
        assert httpx.get(f"{url}/ready", headers=ada, timeout=30).json()["status"] == "ok"
