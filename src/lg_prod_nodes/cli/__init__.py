"""The `lg-prod-nodes` command line tool.

Each subcommand is a module with one function that adds its parser and sets the function to run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lg_prod_nodes.cli.check import add_check
from lg_prod_nodes.cli.failures import add_failures
from lg_prod_nodes.cli.setup import add_setup
from lg_prod_nodes.cli.usage import add_usage
from lg_prod_nodes.core.errors import ProductionError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; report errors in one line."""
    parser = argparse.ArgumentParser(prog="lg-prod-nodes", description="Asks a database of yours.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_setup, add_check, add_usage, add_failures):
        add(commands)
    given = parser.parse_args(arguments)
    try:
        return given.run(given) or 0
    except ProductionError as error:
        sys.stderr.write(f"lg-prod-nodes: {error}\n")
        return 1
