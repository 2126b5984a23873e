"""A small part of `tests/programs/ledger_chaos.py`, which is to be run with a thousand runs by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs/ledger_chaos.py"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks here")
def test_ledger_and_provider_agree_while_processes_are_killed(dsn: str) -> None:
    told = subprocess.run(
        [sys.executable, str(PROGRAM), "--runs", "40", "--seed", "7", "--dsn", dsn],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert "'killed'" in told.stdout
