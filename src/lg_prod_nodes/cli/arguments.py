"""Arguments shared by several subcommands: a database, and a `MODULE:NAME` reference."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.service.settings import Settings

TIMEOUT = 60.0
"""Maximum seconds to wait for the database."""


def add_dsn(parser: argparse.ArgumentParser) -> None:
    """Add the option that `dsn_of` reads."""
    parser.add_argument("--dsn", help="the database (the environment's DATABASE_URL)")


def dsn_of(given: argparse.Namespace) -> Secret:
    """Return the database given by option or environment.

    Raises:
        ConfigurationError: No database was given.
    """
    dsn: Secret | None = given.dsn or Settings().database_url
    if not dsn:
        raise ConfigurationError("no database is named; give --dsn or set DATABASE_URL")
    return dsn


def named(place: str) -> Any:
    """Import MODULE:NAME, also from the current folder. Raises whatever the import raises."""
    module, _, name = place.partition(":")
    sys.path.insert(0, "")
    try:
        return getattr(import_module(module or "?"), name)
    finally:
        sys.path.remove("")
