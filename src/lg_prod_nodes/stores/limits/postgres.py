"""Windows in Postgres, for all processes that share a database.

What the threads of a process ask while a statement is under way is decided by the next one, together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import DataError

from lg_prod_nodes.core.errors import StoreUnavailable
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.batches import Batches
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.stores.limits.sql import TABLES
from lg_prod_nodes.stores.limits.windows import Decision, Limits, Strategy, read_window

_DECIDE: LiteralString = """
    SELECT admitted, at, readings FROM lg_prod_nodes_limit_decide_1(
        %(strategy)s, %(ids)s, %(quotas)s, %(spans)s, %(cost)s, %(forced)s, %(since)s, %(charge)s, %(remember)s)"""
_DECIDE_ALL: LiteralString = """
    SELECT admitted, at, readings FROM lg_prod_nodes_limit_decide_all_1(%(requests)s::jsonb)"""
_SWEEP: LiteralString = "SELECT lg_prod_nodes_limit_sweep_1(%(block)s, %(blocks)s)"
_CLEAR: LiteralString = """
    WITH gone AS (DELETE FROM lg_prod_nodes_limit_entries WHERE id = ANY(%(ids)s))
    DELETE FROM lg_prod_nodes_limits WHERE id = ANY(%(ids)s) RETURNING id"""
_RESET: LiteralString = """
    WITH entries AS (DELETE FROM lg_prod_nodes_limit_entries),
    charges AS (DELETE FROM lg_prod_nodes_limit_charges)
    DELETE FROM lg_prod_nodes_limits RETURNING id"""

_DECISIONS_A_SWEEP = 200
_BLOCKS_A_SWEEP = 8


class PostgresDecision(NamedTuple):
    """What the database decides.

    Attributes:
        admitted: Whether no limit is exceeded; if so, all windows have counted the call.
        at: Its time.
        readings: The numbers of each window, see `read_window`.
    """

    admitted: bool
    at: float
    readings: Mapping[str, list[float]]


@dataclass(slots=True)
class _Request:
    """A decision to make, and its answer."""

    strategy: Strategy
    ids: list[UUID]
    quotas: list[int]
    spans: list[int]
    cost: int
    forced: bool
    since: float
    charge: UUID | None
    remember: float
    answer: tuple[bool, float, list[float]] = (False, 0.0, [])
    keys: tuple[()] = ()
    size: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of its statement."""
        return {name: getattr(self, name) for name in _PARAMETERS}


_PARAMETERS = (
    "strategy",
    "ids",
    "quotas",
    "spans",
    "cost",
    "forced",
    "since",
    "charge",
    "remember",
)


class PostgresWindows:
    """Windows by strategy and key, decided by one function of the database, on its clock.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.

    Raises:
        ConfigurationError: The DSN cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)
        self._batches = Batches(self._answer, _is_of_one)
        self._decisions = count(1)
        self._block = 0

    def decide(
        self,
        strategy: Strategy,
        windows: Mapping[str, tuple[int, int]],
        cost: int,
        *,
        once: str | None = None,
        remember: float = 0.0,
        forced: bool = False,
        since: float = 0.0,
    ) -> PostgresDecision:
        """Take from all windows or from none, see `LimitBackend.decide`; a cost of 0 looks only.

        Args:
            strategy: How the windows move.
            windows: The quota and the seconds of each, by key.
            cost: How much to take.
            once: Identifies the charge.
            remember: Seconds for which the charge is known.
            forced: Take or give back even if that exceeds a limit.
            since: When that which is given back was taken.
        """
        ids = {_id(strategy, key): key for key in windows}
        order = sorted(ids)
        quotas, spans = zip(*(windows[ids[id]] for id in order), strict=True)
        request = _Request(
            strategy,
            order,
            list(quotas),
            list(spans),
            cost,
            forced,
            since,
            _id("charge", once) if once is not None else None,
            remember,
        )
        self._ask(request)
        admitted, at, numbers = request.answer
        self._sweep()
        width = len(numbers) // len(order)
        readings = {ids[id]: numbers[i * width : (i + 1) * width] for i, id in enumerate(order)}
        return PostgresDecision(admitted, at, readings)

    def clear(self, *windows: tuple[Strategy, str]) -> None:
        """Forget windows, by strategy and key."""
        self._postgres.rows(_CLEAR, ids=[_id(strategy, key) for strategy, key in windows])

    def reset(self) -> int:
        """Forget all windows; gives how many there were."""
        return len(self._postgres.rows(_RESET))

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()

    def _ask(self, request: _Request) -> None:
        try:
            self._batches.put(request)
        except StoreUnavailable as error:  # which others of the batch may raise too
            raise StoreUnavailable(*error.args) from error.__cause__

    def _answer(self, batch: Sequence[_Request]) -> None:
        if len(batch) == 1:
            found = self._postgres.rows(_DECIDE, **batch[0].values)
        else:
            found = self._postgres.rows(_DECIDE_ALL, requests=_as_json(batch))
        for request, answer in zip(batch, found, strict=True):
            request.answer = answer

    def _sweep(self) -> None:
        """Now and then delete what is over, a few blocks of each table at a time."""
        if next(self._decisions) % _DECISIONS_A_SWEEP == 0:
            ((self._block,),) = self._postgres.rows(
                _SWEEP, block=self._block, blocks=_BLOCKS_A_SWEEP
            )


class PostgresLimits:
    """Windows of one strategy, see `LimitBackend`."""

    def __init__(self, dsn: Secret, strategy: Strategy, timeout: float) -> None:
        self._windows = PostgresWindows(dsn, timeout)
        self._strategy: Strategy = strategy

    def decide(
        self,
        limits: Limits,
        who: str,
        cost: int = 1,
        *,
        once: str | None = None,
        remember: float = 0.0,
        forced: bool = False,
        since: float = 0.0,
    ) -> Decision:
        """Take from all windows or from none, see `LimitBackend.decide`."""
        keys = {limit.item.key_for(who): limit for limit in limits}
        answer = self._windows.decide(
            self._strategy,
            {key: (limit.quota, limit.seconds) for key, limit in keys.items()},
            cost,
            once=once,
            remember=remember,
            forced=forced,
            since=since,
        )
        asked = 0 if answer.admitted else cost
        seen = [read_window(limit, asked, *answer.readings[key]) for key, limit in keys.items()]
        return Decision(answer.admitted, answer.at, seen)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._windows.close()


def _as_json(batch: Sequence[_Request]) -> str:
    return json.dumps([request.values for request in batch], default=str)


def _is_of_one(error: Exception) -> bool:
    return isinstance(error.__cause__, DataError)


def _id(kind: str, key: str) -> UUID:
    """A name of fixed length, from which the key cannot be read."""
    return UUID(bytes=blake2b(f"{kind}/{key}".encode(), digest_size=16).digest())
