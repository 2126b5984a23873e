"""`lg-prod-nodes usage`: the usage and cost of model calls as a table, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lg_prod_nodes.cli.arguments import TIMEOUT, add_dsn, dsn_of
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.usage import Usage
from lg_prod_nodes.ledger import DIMENSIONS, Ledger, UsageRow

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_usage(commands: Any) -> None:
    """Add the `usage` subcommand to a parser."""
    parser = commands.add_parser(
        "usage", help="what model calls spent, and what their results cost"
    )
    parser.add_argument(
        "--by",
        default="user",
        help=f"one or more of {','.join(DIMENSIONS)} (user)",
        metavar="NAMES",
    )
    times = "such as 7d, 12h, 2026-11-01 or 2026-11-01T08:30"
    parser.add_argument("--since", type=_time, metavar="TIME", help=f"from then on, {times}")
    parser.add_argument("--until", type=_time, metavar="TIME", help="before then")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    add_dsn(parser)
    parser.set_defaults(run=_show_usage)


def _show_usage(given: argparse.Namespace) -> None:
    by = given.by.split(",")
    with Ledger(dsn_of(given), timeout=TIMEOUT) as ledger:
        rows = ledger.usage(by, since=given.since, until=given.until)
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[given.format](by, rows)


def _time(text: str) -> datetime | timedelta:
    """Parse a time, or a duration before now."""
    if span := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        point = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give how long ago (30m, 12h, 7d, 2w) or a date, in UTC where it names no zone "
            "(2026-11-01, 2026-11-01T08:30+01:00)"
        ) from None
    return point if point.tzinfo else point.replace(tzinfo=UTC)


def _record(by: Sequence[str], row: UsageRow) -> dict[str, Any]:
    """Convert a row to a flat record."""
    spent, effective, in_doubt = row.spent, row.effective, row.in_doubt
    return {
        **dict(zip(by, row.key, strict=True)),
        "calls": spent.calls,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cache_read_tokens": spent.cache_read_tokens,
        "cache_write_tokens": spent.cache_write_tokens,
        "reasoning_tokens": spent.reasoning_tokens,
        "cost": _dollars(spent),
        "unpriced_calls": spent.unpriced_calls,
        "estimated_calls": spent.estimated_calls,
        "effective_tokens": effective.total_tokens,
        "effective_cost": _dollars(effective),
        "in_doubt_calls": in_doubt.calls,
        "in_doubt_tokens": in_doubt.total_tokens,
    }


def _dollars(usage: Usage) -> str | None:
    """Return a price; `None` if no call has one."""
    return None if 0 < usage.calls == usage.unpriced_calls else f"{usage.cost:f}"


def _print_csv(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    writer = csv.DictWriter(sys.stdout, list(_record(by, UsageRow(tuple(by), *[Usage()] * 3))))
    writer.writeheader()
    writer.writerows(_record(by, row) for row in rows)


def _print_json(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    sys.stdout.write(json.dumps([_record(by, row) for row in rows], indent=2) + "\n")


def _print_table(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    try:
        from rich.bar import Bar
        from rich.console import Console
        from rich.table import Table
    except ImportError as error:
        raise ConfigurationError(
            "a table needs an extra: pip install 'lg-prod-nodes[cli]', or give --format csv or json"
        ) from error
    console, table = Console(), Table(box=None, header_style="bold", pad_edge=False)
    for name in by:
        table.add_column(name)
    for name in ("calls", "tokens", "USD", "effective", "USD", "in doubt", "unpriced"):
        table.add_column(name, justify="right")
    if console.is_terminal:
        table.add_column("", min_width=10, ratio=1)
    most = max((row.spent.total_tokens for row in rows), default=0)
    for row in rows:
        bar = [Bar(most, 0, row.spent.total_tokens, color="cyan")] if console.is_terminal else []
        table.add_row(*("-" if key is None else key for key in row.key), *_cells(row), *bar)
    console.print(table)


def _cells(row: UsageRow) -> list[str]:
    spent, effective = row.spent, row.effective
    return [
        f"{spent.calls:,}",
        f"{spent.total_tokens:,}",
        _rounded(spent),
        f"{effective.total_tokens:,}",
        _rounded(effective),
        str(row.in_doubt.calls or "-"),
        str(spent.unpriced_calls or "-"),
    ]


def _rounded(usage: Usage) -> str:
    return "-" if _dollars(usage) is None else f"{usage.cost:,.4f}"
