from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from tests.policies.conftest import FakeModel, Runner, asks, notes, one

from lg_prod_nodes import (
    LimitStore,
    RateLimit,
    RateLimitExceeded,
    Run,
    StoreUnavailable,
    by_tokens,
    harden,
)
from lg_prod_nodes.stores.limits import store as limits


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
    assert told.report.events["store_unavailable"] == 1


async def test_a_store_that_is_down_admits_where_that_was_chosen(run: Runner, nowhere: str) -> None:
    limit = RateLimit("1/hour", store=nowhere, store_down="admit")
    graph = harden(one(notes("ran")), [limit]).compile()

    for _ in range(2):
        assert (await run(graph, {"text": "1"}))["log"] == ["ran"]


async def test_a_store_that_is_down_leaves_each_worker_its_share(run: Runner, nowhere: str) -> None:
    limit = RateLimit("6/hour", store=nowhere, store_down="share", workers=2)
    graph = harden(one(notes("ran")), [limit]).compile()
    told = Run()

    for _ in range(3):
        await run(graph, {"text": "1"}, control=told)
    with pytest.raises(RateLimitExceeded) as refused:
        await run(graph, {"text": "1"}, control=told)

    assert refused.value.limit == "3 per hour"
    assert told.report.events["store_unavailable"] == 4


def test_each_worker_s_share_is_at_least_one(nowhere: str) -> None:
    limit = RateLimit("3/hour", store=nowhere, store_down="share", workers=10)
    graph = harden(one(notes("ran")), [limit]).compile()
    graph.invoke({"log": []})

    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []})


def test_the_store_takes_over_again(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(limits, "monotonic", lambda: now[0])
    store = LimitStore(valkey_url, pause=5.0)
    limit = RateLimit("4/hour", store=store, store_down="share", workers=4)
    graph = harden(one(notes("ran")), [limit]).compile()

    with monkeypatch.context() as patch:
        patch.setattr(store._backend, "decide", _down)
        graph.invoke({"log": []})
        with pytest.raises(RateLimitExceeded):
            graph.invoke({"log": []})
    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []})  # it is not asked yet
    now[0] += 5.1
    for _ in range(4):
        graph.invoke({"log": []})
    with pytest.raises(RateLimitExceeded):
        graph.invoke({"log": []})
    store.close()


def test_what_a_share_gave_goes_back_to_it(nowhere: str, model: FakeModel) -> None:
    limit = RateLimit("100/minute", cost=by_tokens, store=nowhere, store_down="share", workers=2)
    told = Run()
    harden(one(asks(model)), [limit]).compile().invoke({"messages": ["hello " * 9]}, control=told)

    assert [state.remaining for state in told.report.limits] == [50 - 7]


def test_a_correction_that_cannot_be_stored_fails_no_call(
    valkey_url: str, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = LimitStore(valkey_url), Run()
    limit = RateLimit("100/minute", cost=by_tokens, store=store)
    decide = store._backend.decide

    def lost(*args: Any, forced: bool = False, **options: Any) -> Any:
        return _down() if forced else decide(*args, **options)

    monkeypatch.setattr(store._backend, "decide", lost)
    graph = harden(one(asks(model)), [limit]).compile()
    result = graph.invoke({"messages": ["hello " * 9]}, control=told)
    store.close()

    assert result["messages"][-1].text == "hello there"
    assert told.report.events["store_unavailable"] == 1


def _down(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("down")


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


@pytest.mark.parametrize("server", ["valkey_url", "dsn"])
def test_four_processes_together_admit_exactly_the_limit(
    request: pytest.FixtureRequest, server: str
) -> None:
    command = [sys.executable, "-c", PROCESS, request.getfixturevalue(server)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 4
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()

    admitted = [int(worker.communicate()[0]) for worker in workers]

    assert sum(admitted) == 50
