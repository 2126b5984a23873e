"""What holds for the repository as a whole."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lg_prod_nodes

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

OF_ONE_MACHINE = re.compile(
    r"/(?:work|root|home|opt|Users)/\w|[A-Z]:\\Users|pypi[.]org/simple|files[.]pythonhosted"
)


def test_public_names_are_sorted_and_importable() -> None:
    names = lg_prod_nodes.__all__
    assert list(names) == sorted(names)
    assert all(hasattr(lg_prod_nodes, name) for name in names)


def test_no_file_names_a_machine_or_a_registry() -> None:
    assert [
        str(path.relative_to(ROOT)) for path in _files() if OF_ONE_MACHINE.search(_text(path))
    ] == []


def test_no_lock_file_names_a_host() -> None:
    assert not [name for name in ("uv.lock", "pylock.toml") if (ROOT / name).exists()]
    assert "://" not in LOCK
    assert not re.search(r"^(?:-|[./])", LOCK, re.MULTILINE)


def test_lock_satisfies_the_declared_dependencies() -> None:
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE))
    for requirement in _declared():
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), (
            requirement
        )


def test_the_readme_names_each_package_and_each_extra_that_is_installed() -> None:
    table = _text(ROOT / "README.md").split("## What gets installed")[1].split("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", table))
    extras = PROJECT["project"]["optional-dependencies"].keys() - {"all"}
    packages = {re.split(r"[<>=,]", entry)[0] for entry in PROJECT["project"]["dependencies"]}
    assert (extras | packages) - named == set()


def _declared() -> Iterator[Requirement]:
    project = PROJECT["project"]
    ours = {name: group for name, group in PROJECT["dependency-groups"].items() if name != "texts"}
    groups = [*project["optional-dependencies"].values(), *ours.values()]
    for entry in [*project["dependencies"], *(entry for group in groups for entry in group)]:
        if isinstance(entry, str) and not entry.startswith(project["name"]):
            yield Requirement(entry)


def _files() -> Iterator[Path]:
    for top in ROOT.iterdir():
        made = top.name in {"site", "dist"} or top.name.startswith(".")
        if not made or top.name in {".ci", ".gitignore"}:
            inside = [top, *top.rglob("*")]
            yield from (
                path for path in inside if path.is_file() and "__pycache__" not in path.parts
            )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")
