"""Every notebook runs to its end: with and without `DATABASE_URL`, on an empty database and on a used one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(params=["with DATABASE_URL", "without DATABASE_URL"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty database, in a server that runs or in one that the notebook has to start."""
    if request.param == "with DATABASE_URL":
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("dsn"))
        yield
        return
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with TemporaryDirectory(prefix="lg-prod-nodes-") as folder:
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        monkeypatch.setenv("LG_PROD_NODES_DATA", folder)
        yield


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("database")
@each
def test_runs_to_its_end_twice(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    with client.setup_kernel():
        for _ in ("on an empty database", "on a used one"):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)


@each
def test_is_stored_without_outputs_and_with_steady_ids(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    nbformat.validate(notebook)
    assert text == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    for index, cell in enumerate(notebook["cells"]):
        assert cell["id"] == f"cell-{index:02}"
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
