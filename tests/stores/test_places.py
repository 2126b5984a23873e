"""Stores that have no place of their own, and move to the database of the production that they are used in."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from lg_prod_nodes import CircuitStore, LimitStore


@pytest.mark.parametrize("kind", [CircuitStore, LimitStore])
def test_a_place_that_a_store_has_left_is_forgotten(kind: Any, dsn: str) -> None:
    store = kind()
    store.open(dsn)
    left = weakref.ref(store._backend)

    store.close()
    gc.collect()

    assert left() is None
