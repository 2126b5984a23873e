"""The support desk of `examples/`: it keeps its promise, and its search can fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

DESK = Path(__file__).parents[1] / "examples" / "support_desk"
PLAYED = (
    "account-1",
    "all-at-once",
    "bank-down",
    "blocked-pii",
    "flaky-1",
    "refund-card",
    "refund-open",
)
WITHOUT_REDACT = """
import sys
from pathlib import Path
from conversations import read
from demo import Redact, demo, policies

def leaky(books):
    return [policy for policy in policies(books) if not isinstance(policy, Redact)]

sys.exit(demo(read(Path(sys.argv[1])), sys.argv[2], policies=leaky))
"""


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A file with a handful of the demo's conversations."""
    lines = (DESK / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "some.jsonl"
    file.write_text(
        "\n".join(line for line in lines if json.loads(line)["thread"] in PLAYED), encoding="utf-8"
    )
    return file


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the demo, which is no package."""
    monkeypatch.syspath_prepend(str(DESK))
    return import_module


def run(*words: object, scratch: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=DESK,
        env={**os.environ, "TMPDIR": str(scratch)},  # for the log
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )


def test_leaves_no_personal_data_anywhere(dsn: str, some: Path, tmp_path: Path) -> None:
    played = run("demo.py", "--dsn", dsn, "--conversations", some, scratch=tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    assert re.findall(r"(\d+) found\b", played.stdout) == ["0"] * 5
    for said in (
        "7 conversations of 7 users",
        "ended their run",
        "by user",
        "p95",
        r"carrier .* \d",
        "FRAUD 1",
    ):
        assert re.search(said, played.stdout), said
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)


def test_fails_when_personal_data_is_not_redacted(dsn: str, some: Path, tmp_path: Path) -> None:
    played = run("-c", WITHOUT_REDACT, some, dsn, scratch=tmp_path)
    assert played.returncode == 1, played.stdout + played.stderr
    assert re.search(r"Rows by table: .*checkpoint_blobs \d+", played.stdout)
    assert "4012888888881881" not in played.stdout


@pytest.mark.parametrize("column", ["text", "jsonb", "bytea", "text[]"])
@pytest.mark.parametrize(
    "stored", ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"]
)
def test_search_reads_every_kind_of_column(dsn: str, desk: Any, column: str, stored: str) -> None:
    leaks = desk("leaks")
    cell = {
        "jsonb": json.dumps({"card": [stored]}),
        "bytea": f"\\x{stored.encode().hex()}",
        "text[]": f'{{"{stored}"}}',
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA apart CREATE TABLE kept (id int, cell {column})")
        connection.execute(
            "INSERT INTO apart.kept VALUES (1, %s), (2, NULL)", (cell.get(column, stored),)
        )
    search = leaks.search_database(dsn, leaks.Needles({"4111 1111 1111 1111"}))
    assert (search.tables, search.rows, search.found) == (1, 2, {"kept": 1})
    assert not leaks.search_database(dsn, leaks.Needles({"4242 4242 4242 4242"})).found


def test_says_what_is_wrong_with_a_file(tmp_path: Path, desk: Any) -> None:
    conversations = desk("conversations")
    file = tmp_path / "own.jsonl"
    file.write_text(
        '{"thread": "a", "user": "ada", "turns": ["hi"]}\n{"thread": "b"}\n{', encoding="utf-8"
    )
    with pytest.raises(conversations.BadFile) as refused:
        conversations.read(file)
    said = str(refused.value)
    assert 'line 2: "user" is missing' in said
    assert 'line 2: "turns" is missing' in said
    assert "line 3: this is not JSON" in said
    assert "line 1" not in said
