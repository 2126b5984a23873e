"""A pytest plugin: writes what became of every test, by node id, to the JSON file that `--outcomes` names."""

import json
from pathlib import Path
from typing import Any

import pytest


class Outcomes:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)
        self.tests[report.nodeid] |= dict(report.user_properties)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note(report)

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.tests, indent=1))

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        test = self.tests.setdefault(report.nodeid, {"outcome": "passed"})
        if test["outcome"] == "passed" and not report.passed:
            test |= {"outcome": report.outcome, "error": _first_line(report)}
            test["traceback"] = report.longreprtext


def _first_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else report.longreprtext).strip().splitlines()
    return lines[0 if crash else -1] if lines else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers report to the main process
        config.pluginmanager.register(Outcomes(config.getoption("outcomes")))
