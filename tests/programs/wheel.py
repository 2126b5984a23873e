"""Check a built wheel: it holds what the source does, and each of its modules can be imported from it alone.

The suite runs on the source. What a wheel may lack is files and metadata, so those are what is compared.

    python -m tests.programs.wheel dist/lg_prod_nodes-*.whl
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
IMPORTS = """
import pkgutil, sys
from importlib import import_module
import lg_prod_nodes
assert lg_prod_nodes.__file__.startswith(sys.argv[1]), lg_prod_nodes.__file__
for module in pkgutil.walk_packages(lg_prod_nodes.__path__, "lg_prod_nodes."):
    import_module(module.name)
for name in lg_prod_nodes.__all__:
    getattr(lg_prod_nodes, name)
from lg_prod_nodes.cli import main
main(["--help"])
"""


def problems(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    with ZipFile(wheel) as files, tempfile.TemporaryDirectory() as folder:
        files.extractall(folder)
        return [*_content(Path(folder)), *_metadata(Path(folder)), *_imports(folder)]


def _content(folder: Path) -> list[str]:
    package = "lg_prod_nodes"
    source = _files(SOURCE / package)
    built = _files(folder / package)
    changed = (name for name in source.keys() & built.keys() if source[name] != built[name])
    return [
        *(f"{name} is missing" for name in sorted(source.keys() - built.keys())),
        *(f"{name} is not in the source" for name in sorted(built.keys() - source.keys())),
        *(f"{name} differs" for name in sorted(changed)),
    ]


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _metadata(folder: Path) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (info,) = folder.glob("*.dist-info")
    said = message_from_string((info / "METADATA").read_text())
    entries = ConfigParser()
    entries.read(info / "entry_points.txt")
    checks = {
        "the version": said["Version"] == project["version"],
        "the extras": set(said.get_all("Provides-Extra", []))
        == set(project["optional-dependencies"]),
        "the command": dict(entries["console_scripts"]) == project["scripts"],
        "the pytest plugin": dict(entries["pytest11"]) == project["entry-points"]["pytest11"],
        "the license": any(info.glob("licenses/LICENSE")),
    }
    return [f"{what} is not that of pyproject.toml" for what, holds in checks.items() if not holds]


def _imports(folder: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": folder}
    command = [sys.executable, "-c", IMPORTS, folder]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    return [] if ran.returncode == 0 else [f"it cannot be imported: {ran.stderr.strip()[-600:]}"]


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]))
    sys.exit("\n".join(found) or None)
