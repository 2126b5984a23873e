"""The report that the demo prints at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from books import Books
from leaks import Search
from lg_prod_nodes import Ledger, Usage


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
    callers = len({run.user_id for run in books.runs})
    held = f"{conversations} conversations of {callers} users"
    head = f"{held}, {len(books.runs)} runs in {seconds:.1f} s"
    console.print(Text.assemble(("\nSupport desk", "bold"), ("  " + head, "dim")))
    console.print(_section("What each policy did", _policies(books)))
    outcomes = _section("Runs by outcome", _outcomes(books))
    console.print(_beside(outcomes, _section("Errors captured", _errors(books))))
    console.print(_section("Latency in milliseconds", _latency(books)))
    users = _section("Tokens and cost by user, top 10", _by_user(books.ledger))
    console.print(_beside(users, _section("Tokens and cost by node", _by_node(books.ledger))))
    console.print(_section("Search for the personal data that went in", _searched(verdict)))
    console.print(Text(f"\nThe log is in {books.log}", style="dim"), soft_wrap=True)


def _policies(books: Books) -> RenderableType:
    events, found, runs = books.diary.events, books.diary.found, books.runs
    raised = sum(run.report.outcome == "error" for run in runs)
    errors = events["CaptureErrors error_captured"]
    total = sum((entry.usage for entry in books.ledger.entries()), Usage())
    series = sum(len(metric.samples) for metric in books.registry.collect())
    lines = len(books.log.read_text(encoding="utf-8").splitlines())
    rows = {
        "Tracing": f"bound run, thread, user and trace to {lines} log lines",
        "Metrics": f"kept {series} samples for Prometheus",
        "CaptureErrors": f"recorded {errors} errors by name: {raised} ended their run, {errors - raised} runs went on",
        "TokenUsage": f"counted {total.calls} model calls, {total.total_tokens:,} tokens, {_dollars(total)}",
        "RateLimit": f"turned away {events['RateLimit call_rejected']} runs beyond a user's 10 an hour, with a reply",
        "ContentFilter": f"blocked {events['ContentFilter call_rejected']} runs: {_counts(found['ContentFilter'])}",
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
    rows = (row(*span) for span in spans if not span[0].startswith("__"))  # error handlers
    return _table(("run, nodes", "times", "p50", "p95", "max"), rows)


def _by_user(ledger: Ledger) -> RenderableType:
    total = [*ledger.total(by="user").items()][:10]
    rows = ((user or "nobody", f"{u.total_tokens:,}", _dollars(u)) for user, u in total)
    return _table(("user", "tokens", "cost"), rows)


def _by_node(ledger: Ledger) -> RenderableType:
    total = ledger.total(by="node").items()
    rows = ((n or "", f"{u.calls}", f"{u.total_tokens:,}", _dollars(u)) for n, u in total)
    return _table(("node", "calls", "tokens", "cost"), rows)


def _searched(verdict: Verdict) -> RenderableType:
    where, control = verdict.database, verdict.control
    searched = f"{verdict.values} values in {where.tables} tables, {where.rows:,} rows"
    end = "The demo's threads are deleted again."
    if not verdict.clean:
        end = f"Rows by table: {_counts(where.found) or 'none'}. The threads are left for you to look at."
    return Group(
        _line(searched, where.found.total()),
        *(_line(f"{texts:,} {name}", hits) for name, (texts, hits) in verdict.elsewhere.items()),
        Text(
            f"As a control, harmless turns are found in {control.found.total():,} rows.",
            style="dim",
        ),
        Text(end, style="dim" if verdict.clean else "red"),
    )


def _line(text: str, found: int) -> Text:
    style = "bold red" if found else "bold green"
    return Text.assemble(f"searched {text}: ", (f"{found:,} found", style))


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
