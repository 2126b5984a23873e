"""`lg-prod-nodes setup`: create or migrate all tables as their owner, so that services need no DDL privileges."""

from __future__ import annotations

import argparse
import sys
from typing import Any, LiteralString

from lg_prod_nodes.cli.arguments import TIMEOUT, add_dsn, dsn_of
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import hidden
from lg_prod_nodes.databases.dsn import host_of
from lg_prod_nodes.databases.postgres import Postgres
from lg_prod_nodes.ledger import rows as ledger
from lg_prod_nodes.service.set_up import LANGGRAPH_TABLES, set_up
from lg_prod_nodes.stores.accounts import postgres as accounts
from lg_prod_nodes.stores.circuits import postgres as circuits
from lg_prod_nodes.stores.failures import postgres as failures
from lg_prod_nodes.stores.limits import sql as limits
from lg_prod_nodes.stores.threads import postgres as threads
from lg_prod_nodes.stores.vault import postgres as vault

OURS: dict[str, LiteralString] = {
    name: statement
    for made in (
        accounts.TABLES,
        circuits.TABLES,
        failures.TABLES,
        ledger.TABLES,
        limits.TABLES,
        threads.TABLES,
        vault.TABLES,
    )
    for name, statement in made.items()
}
"""The tables, indexes and functions that stores create in a database, by name."""

TABLES = (*LANGGRAPH_TABLES, *(name for name in OURS if "TABLE IF NOT EXISTS" in OURS[name]))
"""All tables that a service may use."""

_HAS_ROLE: LiteralString = "SELECT 1 FROM pg_roles WHERE rolname = %(role)s"
_GRANTS: LiteralString = """
    SELECT format('GRANT USAGE ON SCHEMA %%I TO %%I', current_schema(), %(role)s::text) UNION ALL
    SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE%%s ON %%s TO %%I',
        CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ', MAINTAIN' ELSE '' END,
        to_regclass(name), %(role)s::text) FROM unnest(%(tables)s::text[]) AS name UNION ALL
    SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%I', to_regproc(name)::regprocedure, %(role)s::text)
    FROM unnest(%(functions)s::text[]) AS name"""


def add_setup(commands: Any) -> None:
    """Add the `setup` subcommand to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "setup", help="make or migrate all tables, as their owner"
    )
    add_dsn(parser)
    parser.add_argument(
        "--grant-to", metavar="ROLE", help="let the role of a service read and write them"
    )
    parser.set_defaults(run=make_all)


def make_all(given: argparse.Namespace) -> None:
    """Run `setup`."""
    dsn = hidden(dsn_of(given))
    set_up(dsn)
    database = Postgres(dsn, tables=OURS, timeout=TIMEOUT)
    try:
        database.set_up()
        if given.grant_to:
            _grant(database, given.grant_to)
    finally:
        database.close()
    sys.stdout.write(f"{len(TABLES)} tables are ready in the Postgres at {host_of(dsn)}\n")


def _grant(database: Postgres, role: str) -> None:
    if not database.rows(_HAS_ROLE, role=role):
        raise ConfigurationError(
            f"there is no role {role!r}; correct --grant-to, or CREATE ROLE it first"
        )
    functions = [name for name, made in OURS.items() if "FUNCTION" in made]
    for (grant,) in database.rows(_GRANTS, role=role, tables=list(TABLES), functions=functions):
        database.run(grant)
