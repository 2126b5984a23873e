"""Processes that are forked while a thread connects."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lg_prod_nodes.databases.forks import Forks

PROGRAM = Path(__file__).parents[1] / "programs/connect_and_fork.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_fork_waits_for_a_connection_that_opens(face: str) -> None:
    program = [sys.executable, str(PROGRAM), face]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "after\n"), ended.stderr


def test_a_fork_waits_for_other_threads_only() -> None:
    forks = Forks()
    opening, opened = threading.Event(), threading.Event()
    forked: list[bool] = []

    def open_one() -> None:
        with forks.held_off():
            opening.set()
            assert opened.wait(10)

    def fork() -> None:
        with forks.held_off():  # as an event loop has one while it forks
            forks.before()
            forked.append(opened.is_set())
            forks.after()

    threads = [threading.Thread(target=open_one), threading.Thread(target=fork)]
    threads[0].start()
    assert opening.wait(10)
    threads[1].start()
    opened.set()
    for thread in threads:
        thread.join(10)

    assert forked == [True]


def test_a_connection_that_never_opens_does_not_stop_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lg_prod_nodes.databases.forks._MOST_SECONDS", 0.01)
    forks = Forks()
    entered = threading.Event()
    end = threading.Event()

    def hang() -> None:
        with forks.held_off():
            entered.set()
            end.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    assert entered.wait(10)
    forks.before()
    forks.after()
    end.set()
    thread.join(10)
