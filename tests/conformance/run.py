"""LangGraph's own test suites, bare and hardened, compared test by test.

The suites come from the source distributions of the installed versions; the work folder
`.conformance/` keeps them and a virtual environment of their own. Only their `tests/` and pytest
settings are unpacked: what they test is the installed package. The environment has no `langchain`,
because its mere presence adds to run metadata that nine of the tests compare exactly.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".conformance"
PYTHON = WORK / "venv" / "bin" / "python"
DISTRIBUTIONS = {"langgraph": "langgraph", "prebuilt": "langgraph-prebuilt"}
ROUNDS = 3
STACKS = "full", "recovering", "observing"
EXPECTED = {
    "tests/test_runtime.py::test_foreign_object_in_runtime_slot_is_coerced": (
        "asks `runtime.store is store`: under Redact and ContentFilter a node's store is a proxy, which filters what "
        "is put, in whatever thread; with the stack `observing` it is the store itself"
    ),
}
"""Differences that are the purpose of a policy, and why."""
PYTEST: list[str | Path] = [PYTHON, "-m", "pytest", "-q", "--continue-on-collection-errors"]
PYTEST += ["--timeout=60", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "outcomes_plugin"]
HEADINGS = "suite", "tests", "pass bare", "pass hardened", "flaky", "graphs hardened"
COLUMNS = "{:28}{:>7}{:>12}{:>16}{:>8}{:>18}"

Kind = Literal["bare", "hardened"]
Tests = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Suite:
    distribution: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.distribution.replace('-', '_')}-{self.version}"

    @property
    def folder(self) -> Path:
        return WORK / self.name

    def fetch(self) -> None:
        """Downloads the source distribution once, and keeps its tests and its pytest settings."""
        if self.folder.exists():
            return
        what = f"{self.distribution}=={self.version}"
        options = ["--quiet", "--no-deps", f"--no-binary={self.distribution}", f"--dest={WORK}"]
        shell([PYTHON, "-m", "pip", "download", *options, what])
        with tarfile.open(WORK / f"{self.name}.tar.gz") as archive:
            wanted = (f"{self.name}/tests/", f"{self.name}/pyproject.toml")
            members = [member for member in archive if member.name.startswith(wanted)]
            archive.extractall(WORK, members, filter="data")

    def run(self, kind: Kind, *selection: str, log: str = "") -> Tests:
        """Runs the suite, or a selection of it, and gives back what became of each test."""
        outcomes = WORK / f"{self.name}-{kind}{log}.json"
        outcomes.unlink(missing_ok=True)
        printed = outcomes.with_suffix(".log")
        plugin = ["-p", "hardened_plugin"] if kind == "hardened" else []
        command = [*PYTEST, *plugin, f"--outcomes={outcomes}", *selection]
        with printed.open("w") as output:
            subprocess.run(
                command, cwd=self.folder, env=environment(), stdout=output, stderr=output
            )
        if not outcomes.exists():
            raise SystemExit(f"pytest did not come to its end:\n{printed.read_text()[-3000:]}")
        return load(outcomes)

    def bare(self, versions: str, selection: Sequence[str], fresh: bool) -> Tests:
        """The suite without us: it is the same while the versions are, so a whole run is kept."""
        kept = WORK / f"{self.name}-bare-{versions}.json"
        if kept.exists() and not fresh:
            return load(kept)
        tests = self.run("bare", *selection)
        if "-k" not in selection:
            kept.write_text(json.dumps(tests))
        return tests


@dataclass(frozen=True)
class Comparison:
    suite: Suite
    tests: int
    passing: int
    graphs: int
    flaky: dict[str, str]
    expected: dict[str, str]
    differences: Tests

    @property
    def row(self) -> tuple[str, int, int, int, int, int]:
        hardened = self.passing - len(self.differences) - len(self.expected)
        return self.suite.name, self.tests, self.passing, hardened, len(self.flaky), self.graphs

    @property
    def report(self) -> dict[str, Any]:
        details = {
            "flaky": self.flaky,
            "expected": self.expected,
            "differences": self.differences,
        }
        return dict(zip(HEADINGS, self.row, strict=True)) | details


def compare(suite: Suite, bare: Tests, hardened: Tests, selected: bool) -> Comparison:
    """Sets the hardened run against the bare one; tests that came out differently run again."""
    passing = [test for test in passed(bare) if not selected or test in hardened]
    failing = [test for test in passing if not is_passed(hardened, test)]
    expected = {test: EXPECTED[test] for test in failing if test in EXPECTED}
    flaky, differences = settle(suite, [test for test in failing if test not in expected])
    failures = {test: error(hardened, test) | {"again": differences[test]} for test in differences}
    graphs = sum(test.get("hardened graphs", 0) for test in hardened.values())
    tests = len(hardened) if selected else len(bare)
    return Comparison(suite, tests, len(passing), graphs, flaky, expected, failures)


def settle(suite: Suite, failing: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """A test is only flaky when, run again one by one, it passes hardened, and as often as bare."""
    flaky: dict[str, str] = {}
    differences: dict[str, str] = {}
    if not failing:
        return flaky, differences
    print(f"  {len(failing)} tests again, {ROUNDS} times bare and hardened", flush=True)
    (WORK / "again.txt").write_text("\n".join(failing))
    counts: dict[Kind, Counter[str]] = {"bare": Counter(), "hardened": Counter()}
    for _ in range(ROUNDS):
        for kind, count in counts.items():
            count.update(passed(suite.run(kind, f"@{WORK / 'again.txt'}", log="-again")))
    for test in failing:
        bare, hardened = counts["bare"][test], counts["hardened"][test]
        kept = flaky if 0 < hardened >= bare else differences
        kept[test] = f"passed {bare}/{ROUNDS} bare, {hardened}/{ROUNDS} hardened"
    return flaky, differences


def load(path: Path) -> Tests:
    tests: Tests = json.loads(path.read_text())
    return tests


def is_passed(tests: Tests, test: str) -> bool:
    return tests.get(test, {}).get("outcome") == "passed"


def passed(tests: Tests) -> list[str]:
    return [test for test in tests if is_passed(tests, test)]


def error(tests: Tests, test: str) -> dict[str, Any]:
    """What a test failed with; where it did not run, what its module failed with."""
    module = test.partition("::")[0]
    missing = {"outcome": "missing", "error": "did not run", "traceback": ""}
    return tests.get(test) or tests.get(module) or missing


def prepare(suites: list[Suite]) -> str:
    """Makes the work folder and its environment, and gives back a key for its versions."""
    uv = find_uv()
    if not PYTHON.exists():
        shell([*uv, "venv", "--quiet", "--seed", "--python", sys.executable, WORK / "venv"])
    for suite in suites:
        suite.fetch()
    constraints = WORK / "installed.txt"
    constraints.write_text("\n".join(installed()))
    what = [f"--group={suite.folder / 'pyproject.toml'}:test" for suite in suites]
    what += ["--no-sources", f"--constraints={constraints}", "--editable=."]
    what += ["pytest-timeout", "pytest-xdist"]
    shell([*uv, "pip", "install", "--quiet", "--python", PYTHON, *what])
    versions = shell([*uv, "pip", "freeze", "--quiet", "--python", PYTHON, "--exclude-editable"])
    return hashlib.sha256(f"{versions}{sys.version}".encode()).hexdigest()[:12]


def find_uv() -> list[str | Path]:
    local, on_path = ROOT / ".tools" / "bin" / "uv", shutil.which("uv")
    if local.exists():
        return [local]
    return [on_path] if on_path else [sys.executable, "-m", "uv"]


def installed() -> list[str]:
    """The versions of LangGraph's and LangChain's packages here, as constraints."""
    found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return [f"{name}=={version}" for name, version in found.items() if name.startswith("lang")]


def environment() -> dict[str, str]:
    """What a run sees: our plugins importable, no services, nothing traced to the outside."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "NO_DOCKER": "true", "LANGSMITH_TRACING": "false"}


def shell(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"failed ({done.returncode}): {' '.join(map(str, command))}")
    return done.stdout


def show(comparisons: list[Comparison], traceback: bool) -> None:
    print("\n" + COLUMNS.format(*HEADINGS))
    for found in comparisons:
        print(COLUMNS.format(*found.row))
    for found in comparisons:
        for test, again in found.flaky.items():
            print(f"\nflaky: {found.suite.name} {test}\n  {again}")
        for test, why in found.expected.items():
            print(f"\nexpected: {found.suite.name} {test}\n  {why}")
        for test, failure in found.differences.items():
            print(f"\ndifference: {found.suite.name} {test}\n  {failure['error'][:200]}")
            print(f"  again: {failure['again']}")
            if traceback:
                print(failure["traceback"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="LangGraph's own tests, bare and hardened.")
    parser.add_argument("--suite", choices=DISTRIBUTIONS, help="only this one")
    parser.add_argument("--stack", choices=STACKS, default=STACKS[0], help="which policies")
    parser.add_argument("-k", metavar="EXPR", help="only the tests that match, as in pytest")
    parser.add_argument("--fresh", action="store_true", help="do not reuse a bare run")
    parser.add_argument("--tb", action="store_true", help="show whole tracebacks")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    os.environ["CONFORMANCE_STACK"] = options.stack
    suites = [Suite(name, importlib.metadata.version(name)) for name in DISTRIBUTIONS.values()]
    versions = prepare(suites)
    selection = ["tests", "-nauto", "--dist=worksteal", *(("-k", options.k) if options.k else ())]
    comparisons = []
    for suite in suites:
        if options.suite and suite.distribution != DISTRIBUTIONS[options.suite]:
            continue
        print(f"{suite.name}: bare", flush=True)
        bare = suite.bare(versions, selection, options.fresh)
        print(f"{suite.name}: hardened", flush=True)
        comparisons.append(compare(suite, bare, suite.run("hardened", *selection), bool(options.k)))
    show(comparisons, options.tb)
    report = {found.suite.distribution: found.report for found in comparisons}
    (WORK / "report.json").write_text(json.dumps(report, indent=2))
    if not any(found.graphs for found in comparisons):
        raise SystemExit("no graph was hardened: nothing was measured")
    failed = sum(len(found.differences) for found in comparisons)
    passing = sum(found.row[3] for found in comparisons)
    expected = sum(len(found.expected) for found in comparisons)
    print(f"\n{passing} passed, {expected} differ as expected, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
