"""`lg-prod-nodes failures`: which runs failed, what is known of one, and try it again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from importlib import import_module
from typing import Any

from lg_prod_nodes.errors import ConfigurationError
from lg_prod_nodes.settings import Settings
from lg_prod_nodes.stores.failures import Failure, FailureLog

_TIMEOUT = 60.0
_COLUMNS = ("id", "graph", "node", "type", "error_class", "count", "last")


def add_failures(commands: Any) -> None:
    """Add the subcommand to those of a parser."""
    parser = commands.add_parser("failures", help="runs that failed: list, show, retry")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = _action(actions, "list", "which runs failed, the latest first", show_list)
    listing.add_argument("--graph", help="those of this graph alone")
    listing.add_argument("--resolved", action="store_true", help="those that are done with")
    listing.add_argument("--limit", type=int, default=100, help="so many at most (100)")
    showing = _action(actions, "show", "what is known of one", show_one)
    showing.add_argument("id")
    retrying = _action(actions, "retry", "run it again from where it failed", retry)
    retrying.add_argument("id")
    retrying.add_argument(
        "--graph", required=True, metavar="MODULE:NAME", help="a compiled graph or a Production"
    )
    retrying.add_argument("--fork", action="store_true", help="also where the thread has gone on")


def _action(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.add_argument("--dsn", help="the database (the environment's DATABASE_URL)")
    parser.set_defaults(run=run)
    return parser


def show_list(given: argparse.Namespace) -> None:
    """`failures list`."""
    with _log(given) as log:
        found = log.list(graph=given.graph, resolved=given.resolved, limit=given.limit)
    rows = [_COLUMNS, *(_row(failure) for failure in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def show_one(given: argparse.Namespace) -> None:
    """`failures show`."""
    with _log(given) as log:
        failure = log.show(given.id)
    for name, value in asdict(failure).items():
        lines = value if isinstance(value, tuple) else (value,)
        for at, line in enumerate(lines):
            sys.stdout.write(f"{'' if at else name:<15}{'' if line is None else line}\n")


def retry(given: argparse.Namespace) -> None:
    """`failures retry`."""
    with _graph(given.graph) as graph, _log(given) as log:
        log.retry(given.id, graph, fork=given.fork)
    sys.stdout.write(f"{given.id} ran to its end and is done with\n")


def _row(failure: Failure) -> Sequence[str]:
    values = (getattr(failure, name) for name in _COLUMNS[:-1])
    texts = ("" if value is None else str(value) for value in values)
    return (*texts, f"{failure.last:%Y-%m-%d %H:%M:%S}")


def _log(given: argparse.Namespace) -> closing[FailureLog]:
    dsn = given.dsn or Settings().database_url
    if not dsn:
        raise ConfigurationError("no database is named; give --dsn or set DATABASE_URL")
    return closing(FailureLog(dsn, timeout=_TIMEOUT))


@contextmanager
def _graph(place: str) -> Generator[Any]:
    """A graph by its place; one that has to be opened is, and closed in the end."""
    module, _, name = place.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"there is no graph at {place!r}; give MODULE:NAME, such as desk.app:graph"
        ) from error
    finally:
        sys.path.remove("")
    if hasattr(found, "__enter__"):
        with found as graph:
            yield graph
    else:
        yield found
