"""The command `lg-prod-nodes`, as a shell runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lg_prod_nodes import Ledger, Usage
from lg_prod_nodes.cli import main
from lg_prod_nodes.ledger import Entry

COMMAND = str(Path(sys.executable).parent / "lg-prod-nodes")
ENTRY = Entry(
    id="1",
    run="run-1",
    graph="desk",
    model="gpt-4o-mini",
    user="ada",
    usage=Usage.of({"input_tokens": 1000, "output_tokens": 200}),
)
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


def price(model: str, usage: Usage) -> Decimal | None:
    return Decimal(usage.total_tokens) / 1000 if model == "gpt-4o-mini" else None


@pytest.fixture
def full(dsn: str, tmp_path: Path) -> str:
    """The DSN of a database with a ledger of four calls, the oldest eight days old."""
    with Ledger(dsn, journal=tmp_path, price=price) as ledger:
        ledger.add(ENTRY)
        ledger.add(replace(ENTRY, id="2", model="of-our-own", task="t", execution="e"))
        ledger.begin(replace(ENTRY, id="3", user="bob"))
        ledger.add(replace(ENTRY, id="4", user=None, at=datetime.now(UTC) - timedelta(days=8)))
    return dsn


@pytest.fixture
def shell(full: str, tmp_path: Path) -> Shell:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        named = {"DATABASE_URL": full, "COLUMNS": "100", "XDG_STATE_HOME": str(tmp_path)}
        return subprocess.run(
            [COMMAND, *arguments],
            env={**os.environ, **named, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_prints_a_table(shell: Shell) -> None:
    told = shell("usage", "--since", "7d")

    header, *lines = told.stdout.splitlines()
    assert header.split() == [
        *("user", "calls", "tokens", "USD", "effective", "USD", "in", "doubt", "unpriced")
    ]
    assert [line.split() for line in lines] == [
        ["ada", "2", "2,400", "1.2000", "1,200", "1.2000", "-", "1"],
        ["bob", "0", "0", "0.0000", "0", "0.0000", "1", "-"],
    ]
    assert told.returncode == 0


def test_draws_bars_on_a_terminal(full: str, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "usage", "--dsn", full],
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm", "XDG_STATE_HOME": str(tmp_path)},
        stdout=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
    os.close(master)

    assert process.wait() == 0
    bars = [line.count("█") for line in shown.decode().splitlines()]
    assert bars[1] == 2 * bars[2] > bars[3] == 0


def test_gives_csv(shell: Shell) -> None:
    told = shell("usage", "--by", "user,model", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    assert [(row["user"], row["model"], row["calls"], row["cost"]) for row in rows] == [
        ("", "gpt-4o-mini", "1", "1.2"),
        ("ada", "gpt-4o-mini", "1", "1.2"),
        ("ada", "of-our-own", "1", ""),
        ("bob", "gpt-4o-mini", "0", "0"),
    ]
    assert rows[3]["in_doubt_calls"] == "1"


def test_gives_json(shell: Shell) -> None:
    until = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()

    told = json.loads(shell("usage", "--until", until, "--format", "json").stdout)

    (row,) = told
    assert (row["user"], row["calls"], row["input_tokens"]) == (None, 1, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("usage", "--since", "yesterday"), "'yesterday' is no time; give how long ago"),
        (("usage", "--until", "7x"), "'7x' is no time"),
        (("usage", "--by", "colour"), "'colour' is nothing to sum or select by"),
        (("usage", "--format", "xml"), "invalid choice"),
        (("use",), "invalid choice"),
        ((), "required"),
        (("usage", "--dsn", "postgresql://localhost:1/x"), "refuses connections; start the server"),
        (("usage", "--dsn", "postgresql://u:p@ss@word@h/x"), "the Postgres DSN cannot be read"),
    ],
)
def test_says_in_a_line_what_is_wrong(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path))
        patch.setenv("DATABASE_URL", "postgresql://localhost:1/x")
        try:
            code = main(arguments)
        except SystemExit as exit:
            code = int(exit.code or 0)

    told = capsys.readouterr().err
    assert code > 0
    assert message in told
    assert "Traceback" not in told


def test_needs_a_database(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert main(["usage"]) == 1
    assert "give --dsn or set DATABASE_URL" in capsys.readouterr().err


def test_a_table_says_which_extra_it_needs(
    full: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "rich.bar", None)

    assert main(["usage", "--dsn", full]) == 1
    assert "lg-prod-nodes[cli]" in capsys.readouterr().err


def test_times_are_read_as_they_are_written() -> None:
    from lg_prod_nodes.cli.usage import _time

    assert [_time(text) for text in ("30m", "12h", "7d", "2w")] == [
        timedelta(minutes=30),
        timedelta(hours=12),
        timedelta(days=7),
        timedelta(weeks=2),
    ]
    assert _time("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    assert _time("2026-11-01T08:30+01:00") == datetime(2026, 11, 1, 7, 30, tzinfo=UTC)
