"""`lg-prod-nodes failures`: list failed runs, show one, retry it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from langchain_core.runnables import RunnableConfig

from lg_prod_nodes.cli.arguments import TIMEOUT, add_dsn, dsn_of, named
from lg_prod_nodes.core.error_class import type_of
from lg_prod_nodes.core.errors import ConfigurationError, ProductionError
from lg_prod_nodes.stores.failures.store import Failure, FailureLog

_COLUMNS = ("id", "graph", "node", "type", "error_class", "count", "last")


def add_failures(commands: Any) -> None:
    """Add the `failures` subcommand to a parser."""
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
    retrying.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="a setting of configurable that no checkpoint holds, such as one that was redacted",
    )
    retrying.add_argument("--fork", action="store_true", help="also where the thread has gone on")


def _setting(text: str) -> tuple[str, str]:
    name, is_pair, value = text.partition("=")
    if not (name and is_pair):
        raise argparse.ArgumentTypeError("give NAME=VALUE")
    return name, value


def _action(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    add_dsn(parser)
    parser.set_defaults(run=run)
    return parser


def show_list(given: argparse.Namespace) -> None:
    """Run `failures list`."""
    with _log(given) as log:
        found = log.list(graph=given.graph, resolved=given.resolved, limit=given.limit)
    rows = [_COLUMNS, *(_row(failure) for failure in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def show_one(given: argparse.Namespace) -> None:
    """Run `failures show`."""
    with _log(given) as log:
        failure = log.show(given.id)
    shown: dict[str, Any] = asdict(failure) | {"settings": tuple(failure.settings)}
    for name, value in shown.items():
        lines = value if isinstance(value, tuple) else (value,)
        for at, line in enumerate(lines):
            sys.stdout.write(f"{'' if at else name:<15}{'' if line is None else line}\n")


def retry(given: argparse.Namespace) -> None:
    """Run `failures retry`."""
    graph = _graph(given.graph)
    with _log(given) as log:
        try:
            if hasattr(graph, "__aenter__"):
                asyncio.run(_retry_in(graph, log, given))
            else:
                log.retry(given.id, graph, config=_config(given), fork=given.fork)
        except ProductionError:
            raise
        except Exception as error:  # its message is content
            raise ProductionError(f"{given.id} failed again: {type_of(error)}") from error
    sys.stdout.write(f"{given.id} ran to its end and is done with\n")


async def _retry_in(service: Any, log: FailureLog, given: argparse.Namespace) -> None:
    """Open a service and retry in it; asynchronously, since its nodes may be asynchronous."""
    async with service as graph:
        await log.aretry(given.id, graph, config=_config(given), fork=given.fork)


def _config(given: argparse.Namespace) -> RunnableConfig:
    return RunnableConfig(configurable=dict(given.set))


def _row(failure: Failure) -> Sequence[str]:
    values = (getattr(failure, name) for name in _COLUMNS[:-1])
    texts = ("" if value is None else str(value) for value in values)
    return (*texts, f"{failure.last:%Y-%m-%d %H:%M:%S}")


def _log(given: argparse.Namespace) -> closing[FailureLog]:
    return closing(FailureLog(dsn_of(given), timeout=TIMEOUT))


def _graph(place: str) -> Any:
    """Import a graph, or a service that has one."""
    try:
        return named(place)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"there is no graph at {place!r}; give MODULE:NAME, such as desk.app:graph"
        ) from error
