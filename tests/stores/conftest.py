"""The backends of rate limits, and how time passes for them in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
import time_machine
import valkey
from tests.conftest import fresh_database

START = 1_800_000_000.0

Later = Callable[[float], None]
"""Lets seconds pass for everything that a backend stores."""


class Clock:
    """The clock of a test database, which stands still: what is called without a schema finds it first."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute("""
            CREATE SCHEMA clock;
            CREATE TABLE clock.time AS SELECT 1800000000::float8 AS now;
            CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
            AS 'SELECT to_timestamp(now) FROM clock.time';
            DO $$ BEGIN EXECUTE format(
                'ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
            END $$""")

    def reset(self) -> None:
        self._connection.execute("UPDATE clock.time SET now = 1800000000")
        for name in ("limits", "limit_entries", "limit_charges"):
            table = f"clock.lg_prod_nodes_{name}"
            (there,) = self._connection.execute("SELECT to_regclass(%s)", [table]).fetchone() or ()
            if there:
                self._connection.execute(f"DELETE FROM {table}")

    def pass_(self, seconds: float) -> None:
        self._connection.execute("UPDATE clock.time SET now = now + %s", [seconds])

    def close(self) -> None:
        self._connection.close()


def age(client: valkey.Valkey, seconds: float) -> None:
    """Age everything in a Valkey: its own clock cannot be moved."""
    for key in client.keys("*"):
        left = client.pttl(key)
        if client.type(key) == b"list":
            entries = [float(entry) - seconds for entry in client.lrange(key, 0, -1)]
            client.delete(key)
            client.rpush(key, *(f"{entry:.6f}" for entry in entries))
        if left > 0:
            client.pexpire(key, round(left - seconds * 1000))


@pytest.fixture(scope="session")
def frozen_database(postgres_server: str) -> Iterator[tuple[str, Clock]]:
    for dsn in fresh_database(postgres_server):
        clock = Clock(dsn)
        yield dsn, clock
        clock.close()


@pytest.fixture
def frozen_dsn(frozen_database: tuple[str, Clock]) -> tuple[str, Clock]:
    """An empty database whose clock stands still."""
    frozen_database[1].reset()
    return frozen_database


@pytest.fixture(params=["memory", "valkey", "postgres"])
def backend(request: pytest.FixtureRequest) -> Iterator[tuple[str, Later]]:
    """The URL of an empty backend, and a function that lets time pass there."""
    if request.param == "memory":
        with time_machine.travel(START, tick=False) as traveller:
            yield "memory://", traveller.shift
    elif request.param == "valkey":
        url = request.getfixturevalue("valkey_url")
        with valkey.from_url(url) as client:
            yield url, lambda seconds: age(client, seconds)
    else:
        dsn, clock = request.getfixturevalue("frozen_dsn")
        yield dsn, clock.pass_


@pytest.fixture
def url(backend: tuple[str, Later]) -> str:
    return backend[0]


@pytest.fixture
def later(backend: tuple[str, Later]) -> Later:
    return backend[1]
