"""A small part of `tests/programs/threads_chaos.py`, which is to be run with thousands of messages by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
@pytest.mark.timeout(300)
def test_threads_end_as_a_reader_expects_though_workers_die(dsn: str) -> None:
    options = "--messages 200 --threads 12 --workers 3 --seconds 200"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.programs.threads_chaos", *options.split(), "--dsn", dsn],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr[-5000:]
    assert "\n0 problems" in ran.stdout
