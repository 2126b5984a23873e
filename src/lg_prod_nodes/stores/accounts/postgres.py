"""Accounts in Postgres, for all processes: three tables, and a function for each step that nothing may come between."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import Any, LiteralString

from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.stores.accounts.account import Account, Balance, Reservation

_SWEEP_EVERY = 256  # reservations of a process
_SWEPT = 1000  # rows at most, of each table

TABLES: dict[str, LiteralString] = {
    "lg_prod_nodes_accounts": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_accounts (
            account text PRIMARY KEY, spent bigint NOT NULL, kept_until timestamptz NOT NULL)""",
    "lg_prod_nodes_accounts_kept": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_accounts_kept ON lg_prod_nodes_accounts (kept_until)""",
    # A charge is what was settled for it, and what it holds while `holder` has it reserved.
    "lg_prod_nodes_charges": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_charges (
            account text, entry text, settled bigint NOT NULL DEFAULT 0, held bigint NOT NULL DEFAULT 0,
            holder text, lease interval, leased_until timestamptz, kept_until timestamptz NOT NULL,
            PRIMARY KEY (account, entry))""",
    "lg_prod_nodes_charges_held": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_charges_held
        ON lg_prod_nodes_charges (account) WHERE holder IS NOT NULL""",
    "lg_prod_nodes_charges_kept": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_charges_kept ON lg_prod_nodes_charges (kept_until)""",
    "lg_prod_nodes_grants": """
        CREATE TABLE IF NOT EXISTS lg_prod_nodes_grants (
            account text, id text, amount bigint NOT NULL, kept_until timestamptz NOT NULL,
            PRIMARY KEY (account, id))""",
    "lg_prod_nodes_grants_kept": """
        CREATE INDEX IF NOT EXISTS lg_prod_nodes_grants_kept ON lg_prod_nodes_grants (kept_until)""",
    "lg_prod_nodes_balance": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_balance(
            of text, OUT spent bigint, OUT reserved bigint, OUT granted bigint)
        LANGUAGE plpgsql STABLE AS $$ BEGIN
            spent := coalesce((SELECT a.spent FROM lg_prod_nodes_accounts a WHERE a.account = of), 0);
            granted := coalesce((SELECT sum(g.amount) FROM lg_prod_nodes_grants g WHERE g.account = of), 0);
            reserved := coalesce((
                SELECT sum(greatest(c.held - c.settled, 0)) FROM lg_prod_nodes_charges c
                WHERE c.account = of AND c.holder IS NOT NULL AND c.leased_until > clock_timestamp()), 0);
        END $$""",
    # Whoever changes an account holds its lock until the commit, and each statement after it sees all that is
    # committed. A reservation that a crash of the server forgets is not worth waiting for the disk.
    "lg_prod_nodes_reserve": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_reserve(
            of text, what text, by text, amount bigint, most bigint, for_seconds float8,
            OUT room bigint, OUT earlier bigint)
        LANGUAGE plpgsql AS $$ DECLARE now timestamptz; own bigint; BEGIN
            PERFORM set_config('synchronous_commit', 'off', true);
            PERFORM pg_advisory_xact_lock(hashtextextended(of, 0));
            now := clock_timestamp();
            SELECT c.settled, CASE WHEN c.leased_until > now THEN greatest(c.held, c.settled) ELSE c.settled END
                INTO earlier, own FROM lg_prod_nodes_charges c WHERE c.account = of AND c.entry = what;
            earlier := coalesce(earlier, 0);
            SELECT most + b.granted - b.spent - b.reserved + coalesce(own, 0)
                INTO room FROM lg_prod_nodes_balance(of) b;
            IF amount <= room THEN
                INSERT INTO lg_prod_nodes_charges AS c
                    (account, entry, held, holder, lease, leased_until, kept_until)
                VALUES (of, what, amount, by, make_interval(secs => for_seconds),
                        now + make_interval(secs => for_seconds), now + interval '1 day')
                ON CONFLICT (account, entry) DO UPDATE SET
                    held = excluded.held, holder = excluded.holder, lease = excluded.lease,
                    leased_until = excluded.leased_until,
                    kept_until = greatest(c.kept_until, excluded.kept_until);
            END IF;
        END $$""",
    "lg_prod_nodes_settle": """
        CREATE OR REPLACE FUNCTION lg_prod_nodes_settle(
            of text, what text, by text, actual bigint, lasts float8, remembered float8)
        RETURNS bigint
        LANGUAGE plpgsql AS $$ DECLARE
            earlier bigint; b record;
            kept timestamptz := coalesce(now() + make_interval(secs => lasts), 'infinity');
            remembered_until timestamptz := now() + make_interval(secs => remembered);
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended(of, 0));
            SELECT c.settled INTO earlier
                FROM lg_prod_nodes_charges c WHERE c.account = of AND c.entry = what;
            earlier := coalesce(earlier, 0);
            IF actual = 0 AND earlier = 0 THEN
                PERFORM set_config('synchronous_commit', 'off', true);
                DELETE FROM lg_prod_nodes_charges c
                    WHERE c.account = of AND c.entry = what AND c.holder = by;
            ELSE
                INSERT INTO lg_prod_nodes_charges AS c (account, entry, settled, kept_until)
                VALUES (of, what, actual, remembered_until)
                ON CONFLICT (account, entry) DO UPDATE SET
                    settled = actual, held = CASE WHEN c.holder = by THEN 0 ELSE c.held END,
                    holder = nullif(c.holder, by), kept_until = greatest(c.kept_until, remembered_until);
                INSERT INTO lg_prod_nodes_accounts AS a (account, spent, kept_until)
                VALUES (of, actual - earlier, kept)
                ON CONFLICT (account) DO UPDATE SET
                    spent = a.spent + actual - earlier, kept_until = greatest(a.kept_until, kept);
            END IF;
            SELECT * INTO b FROM lg_prod_nodes_balance(of);
            RETURN b.granted - b.spent - b.reserved;
        END $$""",
}

_RESERVE: LiteralString = """
    SELECT room, earlier FROM lg_prod_nodes_reserve(
        %(account)s, %(entry)s, %(id)s, %(amount)s, %(limit)s, %(lease)s)"""
_SETTLE: LiteralString = """
    SELECT lg_prod_nodes_settle(
        %(account)s, %(entry)s, %(id)s, %(actual)s, %(lasts)s, %(remembered)s)"""
_RENEW: LiteralString = """
    UPDATE lg_prod_nodes_charges c SET leased_until = clock_timestamp() + c.lease,
        kept_until = greatest(c.kept_until, clock_timestamp() + interval '1 day')
    FROM unnest(%(accounts)s::text[], %(entries)s::text[], %(ids)s::text[]) AS mine (account, entry, id)
    WHERE c.account = mine.account AND c.entry = mine.entry AND c.holder = mine.id
        AND c.leased_until > clock_timestamp()
    RETURNING c.holder"""
_GRANT: LiteralString = """
    INSERT INTO lg_prod_nodes_grants (account, id, amount, kept_until)
    VALUES (%(account)s, %(id)s, %(more)s, coalesce(now() + make_interval(secs => %(lasts)s), 'infinity'))
    ON CONFLICT (account, id) DO UPDATE SET amount = excluded.amount
    RETURNING amount"""
_GRANTED: LiteralString = """
    SELECT amount FROM lg_prod_nodes_grants WHERE account = %(account)s AND id = %(id)s"""
_BALANCE: LiteralString = "SELECT spent, reserved, granted FROM lg_prod_nodes_balance(%(account)s)"
_SWEEP: LiteralString = """
    WITH charges AS (
        DELETE FROM lg_prod_nodes_charges WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM lg_prod_nodes_charges WHERE kept_until < now()
            ORDER BY kept_until LIMIT %(most)s FOR UPDATE SKIP LOCKED))),
    grants AS (
        DELETE FROM lg_prod_nodes_grants WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM lg_prod_nodes_grants WHERE kept_until < now()
            ORDER BY kept_until LIMIT %(most)s FOR UPDATE SKIP LOCKED)))
    DELETE FROM lg_prod_nodes_accounts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM lg_prod_nodes_accounts WHERE kept_until < now()
        ORDER BY kept_until LIMIT %(most)s FOR UPDATE SKIP LOCKED))
    RETURNING account"""


class PostgresAccounts:
    """Accounts in Postgres.

    Args:
        dsn: The database.
        timeout: Seconds to wait at most for a connection, and for a statement.

    Raises:
        ConfigurationError: The DSN cannot be read.
        StoreUnavailable: From the methods: the database cannot be reached in time.
    """

    def __init__(self, dsn: Secret, timeout: float) -> None:
        self._postgres = Postgres(dsn, tables=TABLES, timeout=timeout)
        self._lock = threading.Lock()
        self._until_sweep = random.randrange(_SWEEP_EVERY)

    def reserve(self, wanted: Reservation) -> Reservation:
        """Reserve an amount if enough is available."""
        self._sweep_now_and_then()
        ((room, earlier),) = self._postgres.rows(
            _RESERVE,
            **_names(wanted),
            amount=wanted.amount,
            limit=wanted.account.limit,
            lease=wanted.lease,
        )
        granted = wanted.amount <= room
        left = room - wanted.amount if granted else max(room, 0)
        return replace(wanted, granted=granted, available=left, earlier=earlier)

    def settle(self, reservation: Reservation, actual: int) -> int:
        """End a reservation and let its charge be `actual`."""
        account = reservation.account
        ((left,),) = self._postgres.rows(
            _SETTLE,
            **_names(reservation),
            actual=actual,
            lasts=account.lasts,
            remembered=reservation.remembered,
        )
        return max(account.limit + int(left), 0)

    def renew(self, reservations: list[Reservation]) -> None:
        """Let the leases that hold still begin anew."""
        self._postgres.rows(
            _RENEW,
            accounts=[reservation.account.key for reservation in reservations],
            entries=[reservation.entry for reservation in reservations],
            ids=[reservation.id for reservation in reservations],
        )

    def grant(self, account: Account, more: int, id: str) -> None:
        """Let a grant be `more`."""
        self._postgres.rows(_GRANT, account=account.key, id=id, more=more, lasts=account.lasts)

    def granted(self, account: Account, id: str) -> int | None:
        """What a grant is."""
        rows = self._postgres.rows(_GRANTED, account=account.key, id=id)
        return int(rows[0][0]) if rows else None

    def balance(self, account: Account) -> Balance:
        """How an account stands."""
        ((spent, reserved, granted),) = self._postgres.rows(_BALANCE, account=account.key)
        return Balance(spent, reserved, granted)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._postgres.close()

    def _sweep_now_and_then(self) -> None:
        with self._lock:
            self._until_sweep -= 1
            if self._until_sweep >= 0:
                return
            self._until_sweep = _SWEEP_EVERY
        self._postgres.rows(_SWEEP, most=_SWEPT)


def _names(reservation: Reservation) -> dict[str, Any]:
    return {"account": reservation.account.key, "entry": reservation.entry, "id": reservation.id}
