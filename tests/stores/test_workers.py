"""When limits in memory are said to be wrong: where several workers are seen, and never else."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lg_prod_nodes import LimitStore, MemoryStoreWarning, RateLimit
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.stores.limits.store import parse_limits
from lg_prod_nodes.stores.limits.workers import visible_workers, warn_of_workers


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    warn_of_workers.cache_clear()
    yield
    warn_of_workers.cache_clear()


@pytest.mark.parametrize(
    ("command", "environ", "workers"),
    [
        ("app.py", {}, 1),
        ("pytest -n 8", {}, 1),
        ("app.py --workers 8", {}, 1),
        ("uvicorn app:api", {}, 1),
        ("uvicorn app:api --reload", {}, 1),
        ("uvicorn app:api --workers 4", {}, 4),
        ("uvicorn app:api --workers=4", {}, 4),
        ("/venv/uvicorn/__main__.py app:api --workers 3", {}, 3),
        ("/usr/bin/gunicorn -w 4 app", {}, 4),
        ("gunicorn -w4 app", {}, 4),
        ("gunicorn -w 1 app", {}, 1),
        ("fastapi run --workers 2", {}, 2),
        ("hypercorn -w 2 app", {}, 2),
        ("gunicorn app", {"SERVER_SOFTWARE": "gunicorn/23", "GUNICORN_CMD_ARGS": "-w 5"}, 5),
        ("app.py", {"WEB_CONCURRENCY": "3"}, 3),
        ("app.py", {"WEB_CONCURRENCY": "1"}, 1),
        ("app.py", {"WEB_CONCURRENCY": "auto"}, 1),
        ("", {}, 1),
    ],
)
def test_sees_workers(command: str, environ: dict[str, str], workers: int) -> None:
    assert visible_workers(command.split(), environ) == workers


def test_sees_that_it_is_a_worker_of_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SimpleNamespace(_kwargs={"config": SimpleNamespace(workers=6)})
    monkeypatch.setattr(multiprocessing, "current_process", lambda: worker)

    assert visible_workers(["serve.py"], {}) == 6


def test_says_once_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    with pytest.warns(MemoryStoreWarning, match=r"4 times as many.*store='redis://"):
        RateLimit("1/second", store="memory://")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LimitStore("memory://")


def test_a_store_without_a_backend_warns_at_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = LimitStore()  # which may get its place from `Production`

    with pytest.warns(MemoryStoreWarning, match="4 times as many"):
        drive(store.acquire(parse_limits("1/second"), "ann", blocking=True))


def test_says_nothing_of_a_store_that_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RateLimit("1/second", store="valkey://localhost")


SCRIPT = """
import multiprocessing
from lg_prod_nodes import LimitStore
if __name__ == "__main__":
    LimitStore("memory://")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.apply(repr, (LimitStore,)), pool.map(LimitStore, ["memory://"] * 0))
"""


def test_says_nothing_in_a_script_with_processes_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
