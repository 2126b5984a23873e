"""What several subcommands are given: a database, and a name in a module."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.service.settings import Settings

TIMEOUT = 60.0
"""Seconds to wait at most for the database."""


def add_dsn(parser: argparse.ArgumentParser) -> None:
    """Add the option that `dsn_of` reads."""
    parser.add_argument("--dsn", help="the database (the environment's DATABASE_URL)")


def dsn_of(given: argparse.Namespace) -> Secret:
    """The database that was named.

    Raises:
        ConfigurationError: None was.
    """
    dsn: Secret | None = given.dsn or Settings().database_url
    if not dsn:
        raise ConfigurationError("no database is named; give --dsn or set DATABASE_URL")
    return dsn


def named(place: str) -> Any:
    """What is at MODULE:NAME, where the module may be in the current folder. Raises whatever the import does."""
    module, _, name = place.partition(":")
    sys.path.insert(0, "")
    try:
        return getattr(import_module(module or "?"), name)
    finally:
        sys.path.remove("")
