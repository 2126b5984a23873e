from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.conftest import FakeClock

from lg_prod_nodes import Check, CheckResult, ConfigurationError, Health, HealthReport
from lg_prod_nodes.runtime.in_flight import IN_FLIGHT


class Dependency:
    """Something to ask: counts how often, and answers when it is let go."""

    def __init__(self, *, hangs: bool = False, answer: Any = None) -> None:
        self.asked, self.answer = 0, answer
        self.let_go, self.was_asked = threading.Event(), threading.Event()
        if not hangs:
            self.let_go.set()

    def __call__(self) -> Any:
        self.asked += 1
        self.was_asked.set()
        self.let_go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


Ask = Callable[[Health], HealthReport]


def both() -> dict[str, Ask]:
    return {
        "ready": lambda health: health.ready(),
        "aready": lambda health: asyncio.run(health.aready()),
    }


@pytest.fixture(params=both().values(), ids=both())
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (None, "ok", ""),
        (True, "ok", ""),
        ("PONG", "ok", ""),
        (False, "down", ""),
        (CheckResult("degraded", "3 of 5"), "degraded", "3 of 5"),
        (CheckResult("down", "0 of 5"), "down", "0 of 5"),
        (ConnectionError("to ada's host"), "down", "ConnectionError"),
    ],
)
def test_a_check_of_ones_own(ask: Ask, answer: Any, status: str, detail: str) -> None:
    report = ask(Health(checks={"own": Dependency(answer=answer)}))
    assert (report.checks["own"].status, report.checks["own"].detail) == (status, detail)
    assert report.status == status


def test_a_check_that_is_not_critical_degrades() -> None:
    checks = {"own": Check(Dependency(answer=False), critical=False)}
    report = Health(checks=checks).ready()
    assert report.checks["own"].status == report.status == "degraded"


def test_a_hanging_check_is_down_in_time_and_not_started_again(ask: Ask) -> None:
    hung, well = Dependency(hangs=True), Dependency()
    health = Health(checks={"hung": hung, "well": well}, timeout=0.05)
    for _ in range(3):
        report = ask(health)
        assert report.checks["hung"].status == "down"
        assert report.checks["hung"].detail == "no answer in 0.05 s"
        assert report.checks["well"].status == "ok"
    assert hung.asked == 1
    hung.let_go.set()


def test_who_asks_after_the_time_is_over_does_not_wait(clock: FakeClock) -> None:
    hung = Dependency(hangs=True)
    health = Health(checks={"hung": hung}, timeout=60.0, clock=clock)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(health.ready)
        hung.was_asked.wait()
        clock.advance(60)
        assert health.ready().checks["hung"] == CheckResult("down", "no answer in 60 s", 60.0)
        hung.let_go.set()
        first.result()


def test_a_late_answer_is_asked_for_anew(clock: FakeClock) -> None:
    hung = Dependency(hangs=True)
    health = Health(checks={"hung": hung}, timeout=0.05, slow=0.05, clock=clock)
    assert health.ready().status == "down"
    clock.advance(1)
    hung.let_go.set()
    while health.ready().checks["hung"].status != "ok":
        pass
    assert hung.asked == 2


def test_an_answer_is_given_again_until_it_is_old(ask: Ask, clock: FakeClock) -> None:
    own = Dependency()
    health = Health(checks={"own": own}, clock=clock)
    ask(health)
    clock.advance(4.9)
    ask(health)
    assert own.asked == 1
    clock.advance(0.1)
    ask(health)
    assert own.asked == 2


def test_probes_at_the_same_time_each_get_the_answer_that_they_asked_for() -> None:
    own = Dependency(hangs=True)
    health = Health(checks={"own": own}, max_age=1e-9)
    with ThreadPoolExecutor(16) as threads:
        reports = [threads.submit(health.ready) for _ in range(16)]
        own.was_asked.wait()
        own.let_go.set()
        assert {report.result().status for report in reports} == {"ok"}


async def test_tasks_at_the_same_time_share_one_question() -> None:
    own = Dependency(hangs=True)
    health = Health(checks={"own": own})
    tasks = [asyncio.create_task(health.aready()) for _ in range(50)]
    await asyncio.to_thread(own.was_asked.wait)
    own.let_go.set()
    assert {report.status for report in await asyncio.gather(*tasks)} == {"ok"}
    assert own.asked == 1


async def test_who_stops_waiting_does_not_end_the_question_for_others() -> None:
    own = Dependency(hangs=True)
    health = Health(checks={"own": own})
    gone, stays = (asyncio.create_task(health.aready()) for _ in range(2))
    await asyncio.to_thread(own.was_asked.wait)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    own.let_go.set()
    assert (await stays).status == "ok"
    assert own.asked == 1


async def test_an_asynchronous_check_runs_in_the_loop_that_asks() -> None:
    seen: list[object] = []

    async def own() -> None:
        seen.append(asyncio.get_running_loop())

    report = await Health(checks={"own": own, "other": lambda: own()}).aready()
    assert report.status == "ok"
    assert seen == [asyncio.get_running_loop()] * 2


def test_an_asynchronous_check_runs_for_synchronous_callers_too() -> None:
    async def own() -> CheckResult:
        await asyncio.sleep(0)
        return CheckResult("degraded")

    assert Health(checks={"own": own}).ready().status == "degraded"


def test_an_asynchronous_check_is_cancelled_when_its_time_is_over(ask: Ask) -> None:
    cancelled: list[bool] = []

    async def own() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    report = ask(Health(checks={"own": own}, timeout=0.05))
    assert report.checks["own"].status == "down"
    while not cancelled:
        pass


def test_a_slow_answer_is_degraded(clock: FakeClock) -> None:
    health = Health(checks={"own": lambda: clock.advance(0.6)}, slow=0.5, clock=clock)
    assert health.ready().checks["own"] == CheckResult("degraded", seconds=0.6)


def test_readiness_is_down_at_once_while_draining_and_liveness_is_not(ask: Ask) -> None:
    own = Dependency()
    health = Health(checks={"own": own})
    assert ask(health).status == "ok"
    IN_FLIGHT.drain("SIGTERM")
    try:
        report = ask(health)
        assert report.status == "down"
        assert report.checks == {"shutdown": CheckResult("down", "the process is ending")}
        assert health.live().status == asyncio.run(health.alive()).status == "ok"
    finally:
        IN_FLIGHT.reopen()
    assert ask(health).status == "ok"


def test_liveness_asks_no_dependency() -> None:
    own = Dependency(answer=False)
    health = Health(checks={"own": own})
    report = health.live()
    assert report.status == "ok"
    assert set(report.checks) == {"event_loop", "memory"}
    assert not own.asked


def test_a_report_reads_as_json() -> None:
    report = HealthReport({"own": CheckResult("degraded", "3 of 5", 0.123456)})
    assert report.as_dict() == {
        "status": "degraded",
        "checks": {"own": {"status": "degraded", "seconds": 0.1235, "detail": "3 of 5"}},
    }


@pytest.mark.parametrize(
    "settings",
    [
        *({name: 0} for name in ("timeout", "slow", "max_age", "max_lag", "max_memory")),
        {"max_memory": 90},
        {"checks": {"": Dependency()}},
        {"checks": {"memory": Dependency()}},
        {"checks": {"own": "postgresql://"}},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Health(**settings)
