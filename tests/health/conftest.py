"""What tests of health lean on."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lg_prod_nodes import Health


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets checks take their time: what runs beside the tests makes them slow."""
    defaults = cast(Any, Health.__init__).__kwdefaults__
    for name in ("timeout", "slow", "max_lag"):
        monkeypatch.setitem(defaults, name, 30.0)
