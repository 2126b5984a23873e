"""The tree is what ARCHITECTURE.md and the linter say that it is."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from lg_prod_nodes import Policy

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/lg_prod_nodes"


def layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (down,) = (c for c in contracts["contracts"] if c["type"] == "layers")
    return list(down["layers"])


def test_the_diagram_shows_the_layers_that_the_linter_enforces() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    diagram = text.partition("```text\n")[2].partition("```")[0]
    assert re.findall(r"^(\w+)/", diagram, re.MULTILINE) == layers()


def test_every_layer_is_a_package_and_every_package_a_layer() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(packages) == sorted(layers())


def test_nothing_is_loose_at_the_top() -> None:
    loose = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__init__.pyi", "py.typed"}


def test_the_linter_sees_type_checking_imports_and_cycles_in_every_package() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert linter["exclude_type_checking_imports"] is False
    (cycles,) = (c for c in linter["contracts"] if c["type"] == "acyclic_siblings")
    assert cycles["ancestors"] == ["lg_prod_nodes", "lg_prod_nodes.**"]


def test_the_contract_loads_at_most_twelve_modules() -> None:
    program = (
        "import sys; from lg_prod_nodes import Policy; "
        "print(*[m for m in sys.modules if m.startswith('lg_prod_nodes')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert len(ran.stdout.split()) <= 12, ran.stdout


def test_a_policy_has_few_hooks() -> None:
    refused = {"wrap_model_call", "awrap_model_call", "wrap_tool_call", "awrap_tool_call"}
    hooks = [name for name in vars(Policy) if not name.startswith("_")]
    settings = {"kinds", "role", "single", "reveal_to"} | refused
    assert sorted(set(hooks) - settings) == [
        "gives_up",
        "kinds_at",
        "observe",
        "recovery",
        "resources",
        "wrap",
        "writes",
    ]


def test_no_module_is_longer_than_a_sitting() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert long == {}
