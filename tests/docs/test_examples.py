"""Every Python block of the documents runs; the blocks of one document share a namespace and an event loop."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from inspect import CO_COROUTINE
from pathlib import Path
from types import ModuleType

import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path.relative_to(ROOT)
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if "```py" in path.read_text(encoding="utf-8")
]
SERVICES = {"DSN": "dsn", "VALKEY_URL": "valkey_url"}


@pytest.mark.usefixtures("logging_as_it_was", "fresh_services")
@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_code_blocks_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    with asyncio.Runner() as runner:

        def run(example: Example) -> None:
            source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
            code = compile(
                source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
            result = eval(code, vars(module))
            if code.co_flags & CO_COROUTINE:
                runner.run(result)

        document = Document.parse(str(ROOT / path), SkipParser(), CodeBlockParser("python", run))
        for name in SERVICES.keys() & re.findall(r"\w+", document.text):
            setattr(module, name, request.getfixturevalue(SERVICES[name]))
        for example in document.examples():
            example.evaluate()


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_python_fences_are_spelled_so_that_they_run(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert set(re.findall(r"^[ >]*```(py.*)$", text, re.MULTILINE)) == {"python"}
