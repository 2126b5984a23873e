"""A small part of `tests/programs/shutdown_chaos.py`, which is to be run with hundreds of runs by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.timeout(300)
def test_each_run_ends_though_its_workers_do_too(dsn: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.programs.shutdown_chaos", "--runs", "30", "--dsn", dsn],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert "each run ended" in told.stdout
