from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from tests.policies.conftest import Runner, notes, one

from lg_prod_nodes import RateLimit, Run, StoreUnavailable, harden


@pytest.fixture
def nowhere() -> str:
    """The URL of a Valkey that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"valkey://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_store_that_is_down_refuses(run: Runner, nowhere: str) -> None:
    graph = harden(one(notes("ran")), [RateLimit("1/hour", store=nowhere)]).compile()
    told = Run()

    with pytest.raises(StoreUnavailable, match="valkey"):
        await run(graph, {"text": "1"}, control=told)
    assert told.report.facts["store_unavailable"] == 1


async def test_a_store_that_is_down_admits_where_that_was_chosen(run: Runner, nowhere: str) -> None:
    limit = RateLimit("1/hour", store=nowhere, store_down="admit")
    graph = harden(one(notes("ran")), [limit]).compile()

    for _ in range(2):
        assert (await run(graph, {"text": "1"}))["log"] == ["ran"]


PROCESS = """
import sys
from lg_prod_nodes import RateLimit, RateLimitExceeded, harden
from tests.policies.conftest import notes, one
graph = harden(one(notes("ran")), [RateLimit("50/hour", store=sys.argv[1])]).compile()
print("ready", flush=True)
sys.stdin.readline()
admitted = 0
for _ in range(25):
    try:
        graph.invoke({"log": []})
        admitted += 1
    except RateLimitExceeded:
        pass
print(admitted)
"""


def test_four_processes_together_admit_exactly_the_limit(valkey_url: str) -> None:
    command = [sys.executable, "-c", PROCESS, valkey_url]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 4
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()

    admitted = [int(worker.communicate()[0]) for worker in workers]

    assert sum(admitted) == 50
