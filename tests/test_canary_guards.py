"""Take out any guard, and the canary goes red."""

from __future__ import annotations

from typing import Any

import pytest
from tests.canary.guards import GUARDS, Guard
from tests.canary.site import opened
from tests.test_canary import played, pytestmark, reported

__all__ = ["pytestmark"]


def leaking(guard: Guard) -> list[str]:
    """Which of a guard's surfaces leak."""

    async def scenery() -> Any:
        async with opened("", guard.face, guard.policies()) as site:
            await guard.play(site, guard.chosen)
        return site.leaks()

    leaks = reported(played(scenery, guard.face))
    return [shows for shows in guard.shows if any(leak.startswith(shows) for leak in leaks)]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_a_guard_its_surfaces_leak(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaking(guard) == []

    guard.disable(monkeypatch)

    assert leaking(guard) == list(guard.shows)
