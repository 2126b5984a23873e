from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.conftest import FakeClock

from lg_prod_nodes import Health
from lg_prod_nodes.service.health.process import LoopLag, check_memory

MIB = 1 << 20


async def test_a_loop_that_comes_late_is_degraded_and_one_that_is_stuck_is_down(
    clock: FakeClock,
) -> None:
    lag = LoopLag(0.5, clock)
    assert lag.check().detail == "no event loop was seen"
    lag.watch(asyncio.get_running_loop())
    clock.advance(1.0)
    assert (lag.check().status, lag.check().detail) == ("ok", "0.500 s behind")
    clock.advance(0.1)
    assert lag.check().status == "degraded"
    clock.advance(31)
    assert lag.check().status == "down"


async def test_a_lag_is_remembered_after_the_loop_has_caught_up(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lg_prod_nodes.service.health.process._PACE", 0.0)
    lag = LoopLag(0.5, clock)
    lag.watch(asyncio.get_running_loop())
    clock.advance(40)
    assert lag.check().status == "down"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (lag.check().status, lag.check().detail) == ("degraded", "40.000 s behind")
    for _ in range(200):
        await asyncio.sleep(0)
    assert lag.check().status == "ok", "half a minute of looks later"


async def test_the_loop_that_asks_is_watched(clock: FakeClock) -> None:
    health = Health(max_lag=0.5, clock=clock)
    assert (await health.alive()).status == "ok"
    clock.advance(10)
    report = await health.alive()
    assert report.checks["event_loop"].status == report.status == "degraded"
    clock.advance(40)
    assert health.live().status == "down", "another thread can tell"


def test_a_loop_that_is_closed_is_not_late(clock: FakeClock) -> None:
    health = Health(clock=clock)
    asyncio.run(health.aready())
    clock.advance(100)
    assert health.live().checks["event_loop"].detail == "no event loop was seen"


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(folder: str, used: int, limit: str) -> dict[str, str]:
    top = f"sys/fs/cgroup{folder}"
    return {
        f"{top}/memory.max": f"{limit}\n",
        f"{top}/memory.current": f"{used}\n",
        f"{top}/memory.stat": f"anon 1\ninactive_file {50 * MIB}\n",
    }


def test_a_container_close_to_its_limit_is_degraded(tmp_path: Path) -> None:
    group = {"proc/self/cgroup": "0::/\n"}
    root = files(tmp_path, group | v2("", 950 * MIB, str(1000 * MIB)))
    assert (check_memory(0.9, root).status, check_memory(0.9, root).detail) == (
        "ok",
        "900 of 1000 MiB",
    ), "what is only cached does not count"
    files(tmp_path, v2("", 951 * MIB, str(1000 * MIB)))
    assert check_memory(0.9, root).status == "degraded"


def test_the_innermost_group_with_a_limit_counts(tmp_path: Path) -> None:
    own = {"proc/self/cgroup": "0::/a/b\n"}
    root = files(
        tmp_path,
        own | v2("/a/b", 60 * MIB, "max") | v2("/a", 70 * MIB, str(100 * MIB)) | v2("", 1, "1"),
    )
    assert check_memory(0.9, root).detail == "20 of 100 MiB"


def test_the_older_version_of_groups_is_read_too(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory"
    contents = {
        "proc/self/cgroup": "5:cpu:/x\n4:memory:/not/mounted/here\n0::/\n",
        f"{top}/memory.limit_in_bytes": str(100 * MIB),
        f"{top}/memory.usage_in_bytes": str(95 * MIB),
        f"{top}/memory.stat": "inactive_file 7\ntotal_inactive_file 0\n",
    }
    result = check_memory(0.9, files(tmp_path, contents))
    assert (result.status, result.detail) == ("degraded", "95 of 100 MiB")


def test_without_a_limit_the_process_is_held_against_the_machine(tmp_path: Path) -> None:
    contents = {"proc/self/cgroup": "0::/\n", "proc/self/statm": "99999999999 25600 1\n"}
    root = files(tmp_path, contents | v2("", 950 * MIB, "max"))
    assert check_memory(0.9, root).detail.startswith("100 of ")


def test_a_system_that_tells_nothing_is_not_held_to_be_ill(tmp_path: Path) -> None:
    assert check_memory(0.9, tmp_path).detail == "this system does not tell"
    assert check_memory(0.9, tmp_path).status == "ok"
