"""`lg-prod-nodes failures`, as it is typed."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any, cast

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, FailureLog, Production, harden
from lg_prod_nodes.cli import main


class State(TypedDict, total=False):
    text: str


down = True


def search(state: State) -> State:
    if down:
        raise ConnectionError("secret")
    return {"text": "found"}


def built() -> Any:
    return StateGraph(State).add_node("search", search).add_edge(START, "search")


@pytest.fixture
def failed(dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a failure of a graph that is at `desk:graph`, and of a service at `desk:service`."""
    monkeypatch.setattr(sys.modules[__name__], "down", True)
    log = FailureLog(dsn)
    desk: Any = ModuleType("desk")
    desk.graph = harden(built(), [CaptureErrors(failures=log)]).compile(
        InMemorySaver(), name="desk"
    )
    desk.service = Production(built(), [CaptureErrors(failures=log)], postgres=dsn)
    monkeypatch.setitem(sys.modules, "desk", desk)
    monkeypatch.setenv("DATABASE_URL", dsn)
    with pytest.raises(ConnectionError):
        desk.graph.invoke({"text": "x"}, {"configurable": {"thread_id": "1"}})
    (failure,) = log.list()
    log.close()
    return failure.id


def test_lists_shows_and_retries(
    failed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    assert main(["failures", "list", "--graph", "desk"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "graph", "node", "type", "error_class", "count", "last"]
    assert row.split()[:6] == [failed, "desk", "search", "ConnectionError", "transient", "1"]

    assert main(["failures", "show", failed]) == 0
    shown = capsys.readouterr().out
    assert "thread_id      1\n" in shown
    assert "frames         test_failures_command.py:" in shown

    monkeypatch.setattr(sys.modules[__name__], "down", False)
    assert main(["failures", "retry", failed, "--graph", "desk:graph"]) == 0
    assert capsys.readouterr().out == f"{failed} ran to its end and is done with\n"
    assert main(["failures", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["failures", "list", "--resolved"]) == 0
    assert failed in capsys.readouterr().out


@pytest.mark.usefixtures("failed")
def test_retries_in_a_service_that_has_to_be_opened(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sys.modules["desk"].service as app, pytest.raises(ConnectionError):
        app.invoke({"text": "x"}, {"configurable": {"thread_id": "2"}})
    log = FailureLog(dsn)
    latest = log.list()[0]
    log.close()
    monkeypatch.setattr(sys.modules[__name__], "down", False)
    assert main(["failures", "retry", latest.id, "--graph", "desk:service"]) == 0
    assert "is done with" in capsys.readouterr().out


def test_retries_what_is_asynchronous_in_a_service(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asearch(state: State) -> State:
        return search(state)

    async def fail() -> None:
        async with desk.service as app:
            await app.ainvoke({"text": "x"}, {"configurable": {"thread_id": "3"}})

    monkeypatch.setattr(sys.modules[__name__], "down", True)
    log, desk = FailureLog(dsn), cast(Any, ModuleType("desk"))
    asynchronous = StateGraph(State).add_node("search", asearch).add_edge(START, "search")
    desk.service = Production(asynchronous, [CaptureErrors(failures=log)], postgres=dsn)
    monkeypatch.setitem(sys.modules, "desk", desk)
    with pytest.raises(ConnectionError):
        asyncio.run(fail())
    (failure,) = log.list()
    retry = ["failures", "retry", failure.id, "--graph", "desk:service", "--dsn", dsn]

    assert main(retry) == 1
    assert capsys.readouterr().err == f"lg-prod-nodes: {failure.id} failed again: ConnectionError\n"
    monkeypatch.setattr(sys.modules[__name__], "down", False)
    assert main(retry) == 0
    log.close()


def test_says_in_a_line_what_is_wrong(
    failed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["failures", "show", "x"]) == 1
    assert main(["failures", "retry", failed, "--graph", "desk:nothing"]) == 1
    monkeypatch.delenv("DATABASE_URL")
    assert main(["failures", "list"]) == 1
    unknown, nowhere, unnamed = capsys.readouterr().err.splitlines()
    assert "no failure 'x'" in unknown
    assert "no graph at 'desk:nothing'" in nowhere
    assert "no database is named" in unnamed
