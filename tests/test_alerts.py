"""The alerts and the dashboard of `examples/observability`, by Prometheus itself on what a graph exposes.

`make tests` brings `promtool` and `prometheus`.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from tests.policies.conftest import FakeModel

from lg_prod_nodes import (
    Call,
    Handler,
    Health,
    Ledger,
    Metrics,
    Policy,
    Production,
    Redact,
    TokenUsage,
    list_price,
    metrics_text,
)
from lg_prod_nodes.service.health.app import note_health

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "observability"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture
def observability(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of the folder, which is no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


class Troubles(Policy):
    """Tells what a graph in trouble does."""

    kinds = frozenset({"run"})
    role = "observe"

    async def wrap(self, call: Call, handler: Handler) -> Any:
        call.emit("call_delayed", policy="RateLimit", seconds=0.1)
        call.emit("store_unavailable", policy="RateLimit")
        return await handler(call)


@tool
def look_up(who: str) -> str:
    """Look somebody up."""
    return who


def agent(state: MessagesState) -> Any:
    if state["messages"][-1].text == "fail":
        raise ValueError("secret")
    return {"messages": [FakeModel().invoke([*state["messages"], look_up.invoke({"who": "ann"})])]}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def runs(dsn: str, registry: CollectorRegistry) -> Iterator[Callable[[], None]]:
    """Lets a graph run once in order, and fail once."""
    usage = TokenUsage(ledger=Ledger(price=list_price))
    policies = [Metrics(registry=registry), Troubles(), usage, Redact("EMAIL_ADDRESS")]
    builder = StateGraph(MessagesState).add_node(agent).add_edge(START, "agent")
    config: Any = {"configurable": {"thread_id": "1"}}
    with Production(builder, policies, postgres=dsn, name="desk") as app:

        def run() -> None:
            app.invoke({"messages": [("user", "I am ann@example.com")]}, config)
            with pytest.raises(ValueError, match="secret"):
                app.invoke({"messages": [("user", "fail")]}, config)
            note_health(Health(app).ready(), registry)

        yield run


def test_each_alert_fires_when_it_should(observability: Callable[[str], Any]) -> None:
    promtool = observability("scraper").binary("promtool")
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in RULES}


def test_every_name_in_alerts_and_dashboard_is_exposed(
    runs: Callable[[], None], registry: CollectorRegistry
) -> None:
    runs()

    families = text_string_to_metric_families(metrics_text(registry))
    exposed = {sample.name for family in families for sample in family.samples}
    variables = (FOLDER / "dashboard.json").read_text()
    named = set(re.findall(r"lg_prod_\w+", "\n".join([*QUERIES, variables, *map(str, RULES)])))
    assert len(named) > 10
    assert named - exposed == set()


@pytest.fixture
def prometheus(
    registry: CollectorRegistry, tmp_path: Path, observability: Callable[[str], Any]
) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes the registry four times a second, with the alerts."""
    with observability("scraper").prometheus(registry, tmp_path, "250ms") as client:
        yield client


def answer(prometheus: httpx.Client, query: str) -> list[Any]:
    response = prometheus.get("/api/v1/query", params={"query": query})
    told = response.json()
    assert told["status"] == "success", (query, told)
    return [row for row in told["data"]["result"] if row["value"][1] != "NaN"]


def test_prometheus_answers_every_query_of_the_dashboard_and_knows_every_alert(
    runs: Callable[[], None], prometheus: httpx.Client
) -> None:
    left = [q.replace("$__rate_interval", "1m").replace("$graph", ".*") for q in QUERIES]
    while left:
        runs()
        time.sleep(0.3)  # Prometheus scrapes by a clock of its own
        left = [query for query in left if not answer(prometheus, query)]
    for rule in RULES:
        answer(prometheus, rule["expr"])
    told = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert [rule["name"] for rule in told] == [rule["alert"] for rule in RULES]


def test_the_picture_has_every_panel_with_its_lines(
    runs: Callable[[], None],
    prometheus: httpx.Client,
    observability: Callable[[str], Any],
    tmp_path: Path,
) -> None:
    picture = observability("picture")
    while True:
        runs()
        seen = picture.Prometheus(prometheus, picture.Window(time.time(), 5.0, 0.25))
        if all(seen.lines(panel) for panel in PANELS):
            break
    figure = picture.draw(seen)
    picture.save(figure, tmp_path / "dashboard.png")

    assert [axes.get_label() for axes in figure.axes] == [panel["title"] for panel in PANELS]
    assert not [axes.get_label() for axes in figure.axes if not axes.lines]
    names = {text.get_text() for text in figure.texts}
    assert names >= {"ok", "error", "p50", "p99", "tool look_up", "Redact found"}
    assert (tmp_path / "dashboard.png").stat().st_size > 50_000


def test_the_page_tells_of_each_panel_and_alert() -> None:
    page = (ROOT / "docs" / "how-to" / "dashboard.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `?([^|`]+?)`? (?:\(page\) )?\|", page, re.MULTILINE)
    panels, alerts = [panel["title"] for panel in PANELS], [rule["alert"] for rule in RULES]
    assert rows == ["panel", *panels, "alert", *alerts]


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0625, "s", "62.5 ms"),
        (2.5, "s", "2.5 s"),
        (0.3, "percentunit", "30 %"),
        (0.0025, "currencyUSD", "$0.0025"),
        (1500.0, "suffix:/s", "1.5 K/s"),
        (4.0, "short", "4"),
    ],
)
def test_the_picture_writes_units_as_grafana_does(
    value: float, unit: str, said: str, observability: Callable[[str], Any]
) -> None:
    assert observability("picture").with_unit(value, unit) == said
