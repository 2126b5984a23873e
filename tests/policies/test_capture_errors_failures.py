"""What is kept of failed runs, and that it can be tried again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from tests.conftest import FakeClock
from tests.policies.conftest import AT_ONCE, THREAD, Runner, State, notes, one

from lg_prod_nodes import (
    CaptureErrors,
    ConfigurationError,
    ContentBlocked,
    FailureLog,
    Policy,
    ProductionError,
    Redact,
    Run,
    StoreUnavailable,
    UnknownFailure,
    current_run,
    harden,
)
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.report import Kind

pytestmark = pytest.mark.usefixtures("logged")


class Service:
    """A node that fails as long as it is told to."""

    def __init__(self) -> None:
        self.error: type[Exception] | None = ConnectionError

    def __call__(self, state: State) -> Any:
        if self.error is not None:
            raise self.error("secret of ada@example.com")
        return {"log": ["served"]}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> Any:
    made = FailureLog(request.getfixturevalue("dsn") if request.param == "postgres" else None)
    yield made
    made.close()


def graph_of(service: Any, log: FailureLog, clock: Any = None, **options: Any) -> Any:
    policies = [CaptureErrors(failures=log)]
    chosen = {"clock": clock} if clock is not None else {}
    builder = one(service, **options).add_node("after", notes("after")).add_edge("node", "after")
    return harden(builder, policies, **chosen).compile(InMemorySaver(), name="desk")


async def failing(run: Runner, graph: Any, *args: Any, **options: Any) -> None:
    with pytest.raises(ConnectionError):
        await run(graph, *args, **options)


async def test_a_failed_run_is_kept_by_names_alone(
    run: Runner, service: Service, log: FailureLog, clock: FakeClock
) -> None:
    graph, told = graph_of(service, log, clock, retry_policy=AT_ONCE), Run()

    await failing(run, graph, {"log": []}, THREAD, control=told)

    (failure,) = log.list()
    assert log.show(failure.id) == failure
    assert (failure.graph, failure.node, failure.thread_id) == ("desk", "node", "thread-1")
    assert (failure.type, failure.error_class, failure.attempts) == (
        "ConnectionError",
        "transient",
        3,
    )
    assert (failure.run_id, failure.count, failure.resolved) == (told.id, 1, None)
    assert failure.first == failure.last == datetime.fromtimestamp(clock.time(), UTC)
    assert failure.checkpoint_id == graph.get_state(THREAD).config["configurable"]["checkpoint_id"]
    assert len(failure.frames) == 1
    assert failure.frames[0].startswith("test_capture_errors_failures.py:")
    assert failure.frames[0].endswith(" __call__")
    assert "secret" not in repr(failure)
    assert "example.com" not in repr(failure)  # hexadecimal ids may well say "ada"


async def test_the_same_failure_of_a_thread_counts_and_others_stand_by_themselves(
    run: Runner, service: Service, log: FailureLog, clock: FakeClock
) -> None:
    graph = graph_of(service, log, clock)
    for thread in ("a", "a", "b"):
        await failing(run, graph, {"log": []}, {"configurable": {"thread_id": thread}})
        clock.advance(1.0)

    last, first = log.list()
    assert (first.thread_id, first.count) == ("a", 2)
    assert (last.thread_id, last.count, last.fingerprint) == ("b", 1, first.fingerprint)
    assert (first.last - first.first).total_seconds() == 1.0
    assert log.list(limit=1) == [last]
    assert list(log.list(graph="other")) == []


async def test_what_went_on_is_not_kept(run: Runner, service: Service, log: FailureLog) -> None:
    goes_on = CaptureErrors(then="continue", failures=log)
    await run(harden(one(service), [goes_on]).compile(), {"log": []})
    asking = harden(one(lambda state: interrupt("how?")), [goes_on]).compile(InMemorySaver())
    await run(asking, {"log": []}, THREAD)
    service.error = ContentBlocked
    with pytest.raises(ContentBlocked):
        await run(harden(one(service), [CaptureErrors(failures=log)]).compile(), {"log": []})
    assert list(log.list()) == []


async def test_a_failure_in_a_subgraph_is_one_failure(
    run: Runner, service: Service, log: FailureLog
) -> None:
    inner = harden(one(service, "inner"), [CaptureErrors(failures=log)]).compile()
    graph = harden(one(inner, "sub"), [CaptureErrors(failures=log)]).compile(InMemorySaver())

    await failing(run, graph, {"log": []}, THREAD)

    (failure,) = log.list()
    assert (failure.node, failure.count) == ("inner", 1)
    assert str(failure.checkpoint_ns).startswith("sub:")


def test_a_failed_run_goes_on_from_where_it_failed(service: Service, log: FailureLog) -> None:
    graph = graph_of(service, log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": ["given"]}, THREAD)
    (failure,) = log.list()

    with pytest.raises(ConnectionError):
        log.retry(failure.id, graph)
    assert log.show(failure.id).count == 2
    service.error = None
    assert log.retry(failure.id, graph)["log"] == ["given", "served", "after"]
    assert log.show(failure.id).resolved is not None
    assert (list(log.list()), [f.id for f in log.list(resolved=True)]) == ([], [failure.id])


ADA: Any = {
    "configurable": {
        "thread_id": "thread-1",
        "user_id": "ada",
        "tenant_id": "acme",
        "role": "reader",
        "level": 3,
    }
}


def told(run: Run | None, config: RunnableConfig) -> Any:
    """Who a node works for."""
    assert run is not None
    settings = {name: config["configurable"].get(name) for name in ("role", "level")}
    return (run.user_id, run.tenant_id, settings)


def sees(service: Service, seen: list[Any]) -> Any:
    def node(state: State, config: RunnableConfig) -> Any:
        seen.append(told(current_run(), config))
        return service(state)

    return node


async def retried(log: FailureLog, graph: Any) -> None:
    log.retry(log.list()[0].id, graph)


async def aretried(log: FailureLog, graph: Any) -> None:
    await log.aretry(log.list()[0].id, graph)


@pytest.mark.parametrize("again", [retried, aretried])
async def test_a_retried_run_is_its_caller_s(service: Service, log: FailureLog, again: Any) -> None:
    seen: list[Any] = []
    graph = graph_of(sees(service, seen), log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, ADA)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await again(log, graph)
    assert seen == [("ada", "acme", {"role": "reader", "level": 3})] * 3


def test_values_of_settings_are_not_kept_with_a_failure(service: Service, log: FailureLog) -> None:
    graph = graph_of(service, log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, ADA)
    (failure,) = log.list()

    assert set(failure.settings) == {"user_id", "tenant_id", "role", "level"}
    assert not {"ada", "acme", "reader", "3"} & set(failure.settings.values())
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, ADA)
    assert set(log.show(failure.id).settings.values()).isdisjoint(failure.settings.values())


def test_what_no_checkpoint_holds_has_to_be_given(service: Service, log: FailureLog) -> None:
    seen: list[Any] = []
    policies = [CaptureErrors(failures=log), Redact("EMAIL_ADDRESS")]
    graph = harden(one(sees(service, seen)), policies).compile(InMemorySaver())
    more = {"user_id": "ada@example.com", "plan": {"name": "pro"}, "api_key": "secret"}
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, {"configurable": ADA["configurable"] | more})
    (failure,) = log.list()

    assert failure.settings["api_key"] is failure.settings["plan"] is None
    with pytest.raises(
        ProductionError, match="does not hold: api_key, plan, user_id; pass config="
    ):
        log.retry(failure.id, graph)
    service.error = None
    log.retry(failure.id, graph, config={"configurable": {**more, "api_key": None}})
    assert seen[0] == seen[1] == ("ada@example.com", "acme", {"role": "reader", "level": 3})


def test_a_checkpoint_of_somebody_else_is_not_taken_for_the_run_s(
    service: Service, log: FailureLog
) -> None:
    """Ada's run waits for a person; Bob answers, and his run fails."""
    seen: list[Any] = []

    def asks_first(state: State, config: RunnableConfig) -> Any:
        interrupt("how?")
        return sees(service, seen)(state, config)

    graph = graph_of(asks_first, log)
    bob: Any = {"configurable": ADA["configurable"] | {"user_id": "bob"}}
    graph.invoke({"log": []}, ADA)
    with pytest.raises(ConnectionError):
        graph.invoke(Command(resume="so"), bob)
    (failure,) = log.list()

    with pytest.raises(ProductionError, match="does not hold: user_id"):
        log.retry(failure.id, graph)
    service.error = None
    log.retry(failure.id, graph, config={"configurable": {"user_id": "bob"}})
    assert seen[0] == seen[1] == ("bob", "acme", {"role": "reader", "level": 3})


def test_a_user_of_the_context_or_the_metadata_is_known_too(
    service: Service, log: FailureLog
) -> None:
    graph = graph_of(service, log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, THREAD, context={"user_id": "ada"})
    (failure,) = log.list()
    with pytest.raises(ProductionError, match="does not hold: user_id"):
        log.retry(failure.id, graph)
    service.error = None
    log.retry(failure.id, graph, context={"user_id": "ada"})

    service.error = ConnectionError
    with pytest.raises(ConnectionError):
        graph.invoke(
            {"log": []}, {"configurable": {"thread_id": "2"}, "metadata": {"user_id": "bob"}}
        )
    service.error, run = None, Run()
    log.retry(log.list()[0].id, graph, control=run)
    assert run.user_id == "bob"


def test_metadata_of_the_caller_s_never_becomes_a_setting(
    service: Service, log: FailureLog
) -> None:
    seen: list[Any] = []
    graph = graph_of(sees(service, seen), log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []}, THREAD | {"metadata": {"role": "admin"}})
    service.error = None
    log.retry(log.list()[0].id, graph)

    assert seen == [(None, None, {"role": None, "level": None})] * 2


def test_a_table_of_an_earlier_version_gets_the_column(dsn: str, service: Service) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection, FailureLog(dsn) as log:
        connection.execute(
            "CREATE TABLE lg_prod_nodes_failures (id text PRIMARY KEY, graph text NOT NULL, run_id text NOT NULL, "
            "thread_id text, checkpoint_id text, checkpoint_ns text, node text, type text NOT NULL, "
            "error_class text NOT NULL, fingerprint text NOT NULL, frames jsonb NOT NULL, attempts integer NOT NULL, "
            "first timestamptz NOT NULL, last timestamptz NOT NULL, count integer NOT NULL, resolved timestamptz)"
        )
        connection.execute(
            "INSERT INTO lg_prod_nodes_failures VALUES ('1', 'desk', 'r', '1', NULL, NULL, 'node', 'E', 'unknown', "
            "'f', '[]', 1, now(), now(), 1, NULL)"
        )
        assert log.show("1").settings == {}
        with pytest.raises(ConnectionError):
            graph_of(service, log).invoke({"log": []}, ADA)
        assert len(log.list()[0].settings) == 4


async def test_and_asynchronously(service: Service, log: FailureLog) -> None:
    graph = graph_of(service, log)
    with pytest.raises(ConnectionError):
        await graph.ainvoke({"log": ["given"]}, THREAD)
    (failure,) = log.list()
    service.error = None
    assert (await log.aretry(failure.id, graph))["log"] == ["given", "served", "after"]
    assert list(log.list()) == []


def test_a_thread_that_has_gone_on_is_left_alone_unless_told(
    service: Service, log: FailureLog
) -> None:
    graph = graph_of(service, log)
    with pytest.raises(ConnectionError):
        graph.invoke({"log": ["first"]}, THREAD)
    (failure,) = log.list()
    service.error = None
    graph.invoke({"log": ["second"]}, THREAD)

    with pytest.raises(ProductionError, match="has continued since"):
        log.retry(failure.id, graph)
    assert log.retry(failure.id, graph, fork=True)["log"] == ["first", "served", "after"]


def test_a_failure_that_comes_back_is_open_again(service: Service, log: FailureLog) -> None:
    graph = graph_of(service, log)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            graph.invoke({"log": []}, THREAD)
        (failure,) = log.list()
        log.resolve(failure.id)
    assert [f.count for f in log.list(resolved=True)] == [2]


def test_without_a_thread_there_is_nothing_to_go_on_from(service: Service, log: FailureLog) -> None:
    graph = harden(one(service), [CaptureErrors(failures=log)]).compile()
    with pytest.raises(ConnectionError):
        graph.invoke({"log": []})
    (failure,) = log.list()
    with pytest.raises(ProductionError, match="had no thread"):
        log.retry(failure.id, graph)
    with pytest.raises(UnknownFailure, match="no failure 'x'"):
        log.show("x")


@dataclass(frozen=True)
class Refuses(Policy):
    """Fails before a run begins, as a store does that is down."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run"})

    async def wrap(self, call: Call, handler: Handler) -> Any:
        raise ConnectionError("secret")


@pytest.mark.parametrize("thread", ["new", "\udc80"])
def test_a_run_that_failed_before_it_began_is_not_taken_for_done(thread: str) -> None:
    log, saver = FailureLog(), InMemorySaver()
    builder, config = one(notes("served")), RunnableConfig(configurable={"thread_id": thread})
    serving = harden(builder, [CaptureErrors(failures=log)]).compile(saver)
    refusing = harden(builder, [CaptureErrors(failures=log), Refuses()]).compile(saver)
    serving.invoke({"log": ["before"]}, config)
    with pytest.raises(ConnectionError):
        refusing.invoke({"log": ["lost"]}, config)
    (failure,) = log.list()

    with pytest.raises(ProductionError, match="give the graph its input again"):
        log.retry(failure.id, serving)
    assert log.list() == [failure]


async def test_a_log_that_is_down_takes_nothing_from_the_error(
    run: Runner, service: Service
) -> None:
    log, told = FailureLog("postgresql://127.0.0.1:1/app", timeout=0.2), Run()
    await failing(run, graph_of(service, log), {"log": []}, THREAD, control=told)
    assert told.report.events["store_unavailable"] == 1
    with pytest.raises(StoreUnavailable):
        log.list()
    log.close()


def test_many_threads_of_many_processes_keep_each_failure(dsn: str, service: Service) -> None:
    logs = [FailureLog(dsn) for _ in range(3)]
    barrier = threading.Barrier(6)

    def work(number: int) -> None:
        graph = graph_of(service, logs[number % 3])
        barrier.wait()
        for at in range(5):
            with pytest.raises(ConnectionError):
                graph.invoke({"log": []}, {"configurable": {"thread_id": f"{at}"}})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert sorted(f.count for f in logs[0].list()) == [6] * 5
    for log in logs:
        log.close()


def test_nothing_of_what_a_redaction_removes_is_kept(log: FailureLog) -> None:
    def node(state: State) -> Any:
        raise ValueError(state["text"])

    policies = [CaptureErrors(failures=log), Redact("EMAIL_ADDRESS")]
    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    with pytest.raises(ValueError, match="EMAIL_ADDRESS"):
        harden(builder, policies).compile().invoke({"text": "ada@example.com"})
    assert "ada@example.com" not in repr(log.list())


async def test_failures_that_came_last_long_ago_are_forgotten(
    run: Runner, service: Service, log: FailureLog, clock: FakeClock
) -> None:
    graph = graph_of(service, log, clock)
    for days, thread in ((0, "a"), (89, "b"), (2, "c")):
        clock.advance(days * 86_400.0)
        await failing(run, graph, {"log": []}, {"configurable": {"thread_id": thread}})

    assert [failure.thread_id for failure in log.list()] == ["c", "b"]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="timeout is 0"):
        FailureLog(timeout=0)
    with pytest.raises(ConfigurationError, match=r"retention is 0:00:00; give a timedelta above 0"):
        FailureLog(retention=timedelta(0))
