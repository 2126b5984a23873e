"""Callers of accounts who are cancelled while their store is being asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from lg_prod_nodes.stores.accounts.account import Account, Balance
from lg_prod_nodes.stores.accounts.store import AccountStore
from lg_prod_nodes.stores.blocking import BlockingStep

ADA = Account("ada", limit=1000)


async def eventually(store: AccountStore, expected: Balance) -> None:
    found = None
    async with asyncio.timeout(20):  # well before a lease of 30 s would end
        while found != expected:
            found = await store.balance(ADA, blocking=False)


async def test_what_a_cancelled_caller_was_to_get_is_given_back(dsn: str) -> None:
    store = AccountStore(dsn, timeout=30)
    spent = await store.reserve(ADA, 300, blocking=False, charge="paid before")
    await store.settle(spent, 200, blocking=False)
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE lg_prod_nodes_accounts IN ACCESS EXCLUSIVE MODE")
        asked = [
            asyncio.create_task(store.reserve(ADA, 100, blocking=False)),
            asyncio.create_task(store.reserve(ADA, 300, blocking=False, charge="paid before")),
        ]
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while other.execute(query).fetchone() == (0,):
            await asyncio.sleep(0)
            other.execute("SELECT pg_stat_clear_snapshot()")
        for task in asked:
            task.cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    await eventually(store, Balance(spent=200))
    store.close()


async def test_an_answer_that_came_just_before_is_given_back_too() -> None:
    given_back: list[str] = []
    came, done = threading.Event(), threading.Event()

    def step() -> str:
        came.set()
        return "a place"

    def undo(outcome: str) -> None:
        given_back.append(outcome)
        done.set()

    asked = asyncio.create_task(BlockingStep(step, undo).answer())
    await asyncio.sleep(0)
    came.wait(10)  # and the event loop does not hear of it before the cancellation
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.to_thread(done.wait, 10)
    assert given_back == ["a place"]


async def test_a_caller_that_is_not_cancelled_gets_the_answer_and_errors() -> None:
    given_back: list[Any] = []
    assert await BlockingStep(lambda: 1, given_back.append).answer() == 1
    with pytest.raises(ZeroDivisionError):
        await BlockingStep(lambda: 1 // 0, given_back.append).answer()
    assert given_back == []
