"""What the demo says at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from books import Books
from leaks import Search
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lg_prod_nodes import Usage


@dataclass(frozen=True)
class Verdict:
    """What the search for personal data found, in the database and elsewhere."""

    values: int
    database: Search
    control: Search
    elsewhere: dict[str, tuple[int, int]]

    @property
    def clean(self) -> bool:
        """Whether none of the values was found anywhere."""
        return not self.database.found and not any(hits for _, hits in self.elsewhere.values())


def show(
    console: Console, books: Books, verdict: Verdict, conversations: int, seconds: float
) -> None:
    """Print the whole report."""
    users = len(books.ledger.total(by="user"))
    head = (
        f"{conversations} conversations of {users} users, {len(books.runs)} runs in {seconds:.1f} s"
    )
    console.print(Text.assemble(("\nSupport desk", "bold"), ("  " + head, "dim")))
    console.print(_section("What each policy did", _policies(books)))
    console.print(
        _beside(
            _section("Runs by outcome", _outcomes(books)),
            _section("Errors captured", _errors(books)),
        )
    )
    console.print(_section("Latency in milliseconds", _latency(books)))
    console.print(
        _beside(
            _section("Tokens and cost by user, top 10", _usage(books.ledger.total(by="user"), 10)),
            _section("Tokens and cost by node", _usage(books.ledger.total(by="node"))),
        )
    )
    console.print(_section("Search for the personal data that went in", _searched(verdict)))
    console.print(Text(f"The log is in {books.log}\n", style="dim"), soft_wrap=True)


def _policies(books: Books) -> RenderableType:
    told, found, runs = books.diary.told, books.diary.found, books.runs
    raised = sum(run.report.outcome == "error" for run in runs)
    errors = told["CaptureErrors error_captured"]
    total = sum((entry.usage for entry in books.ledger.entries()), Usage())
    series = sum(len(metric.samples) for metric in books.registry.collect())
    lines = len(books.log.read_text(encoding="utf-8").splitlines())
    rows = {
        "Tracing": f"bound run, thread, user and trace to {lines} log lines",
        "Metrics": f"kept {series} samples for Prometheus",
        "CaptureErrors": f"recorded {errors} errors by name: {raised} ended their run, {errors - raised} runs went on",
        "TokenUsage": f"counted {total.calls} model calls, {total.total_tokens:,} tokens, {_dollars(total)}",
        "RateLimit": f"turned away {told['RateLimit call_rejected']} runs beyond a user's 10 an hour, with a reply",
        "ContentFilter": f"blocked {told['ContentFilter call_rejected']} runs: {_counts(found['ContentFilter'])}",
        "Redact": f"replaced {found['Redact'].total()} values: {_counts(found['Redact'])}",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    for name, deed in rows.items():
        table.add_row(name, Text(deed))
    return table


def _outcomes(books: Books) -> RenderableType:
    samples = (sample for metric in books.registry.collect() for sample in metric.samples)
    outcomes = Counter[str]()
    for sample in samples:
        if sample.name == "lg_prod_runs_total":
            outcomes[sample.labels["outcome"]] += int(sample.value)
    return _table(
        ("outcome", "runs"), ((name, f"{count:,}") for name, count in outcomes.most_common())
    )


def _errors(books: Books) -> RenderableType:
    errors = Counter(error for run in books.runs for error in run.report.errors)
    return _table(
        ("node", "type", "tries", "times"),
        ((e.node or "", e.type, str(e.attempts), str(times)) for e, times in errors.most_common()),
        texts=2,
    )


def _latency(books: Books) -> RenderableType:
    def row(name: str, seconds: Sequence[float]) -> tuple[str, ...]:
        ms = sorted(1000 * s for s in seconds)
        p50, p95 = (ms[math.ceil(part * len(ms)) - 1] for part in (0.5, 0.95))
        return (name, f"{len(ms):,}", f"{p50:,.0f}", f"{p95:,.0f}", f"{ms[-1]:,.0f}")

    spans = sorted(books.diary.seconds.items(), key=lambda span: (span[0] != "run", span[0]))
    spans = [
        span for span in spans if not span[0].startswith("__")
    ]  # LangGraph's own error handlers
    return _table(("run, nodes", "times", "p50", "p95", "max"), (row(*span) for span in spans))


def _usage(total: dict[str | None, Usage], most: int | None = None) -> RenderableType:
    rows = (
        (name or "nobody", f"{u.calls}", f"{u.total_tokens:,}", _dollars(u))
        for name, u in total.items()
    )
    return _table(("", "calls", "tokens", "cost"), [*rows][:most])


def _searched(verdict: Verdict) -> RenderableType:
    where, control = verdict.database, verdict.control
    lines = [
        _line(
            f"searched {verdict.values} values in {where.tables} tables, {where.rows:,} rows",
            where.found.total(),
        ),
        *(
            _line(f"searched {texts:,} {name}", hits)
            for name, (texts, hits) in verdict.elsewhere.items()
        ),
    ]
    if where.found:
        lines.append(
            Text(
                f"in {_counts(where.found)} rows; the threads are left there to be looked at",
                style="red",
            )
        )
    lines.append(
        Text(
            f"as a control, what holds no personal data is found in {control.found.total():,} rows",
            style="dim",
        )
    )
    return Group(*lines)


def _line(text: str, found: int) -> Text:
    return Text.assemble(f"{text}: ", (f"{found:,} found", "bold red" if found else "bold green"))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for at, name in enumerate(head):
        table.add_column(
            name,
            justify="left" if at < texts else "right",
            style="cyan" if at == 0 else "",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(body, (0, 0, 0, 2), expand=False))


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 4))
    grid.add_row(left, right)
    return grid


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _dollars(usage: Usage) -> str:
    return f"${usage.cost:.5f}"
