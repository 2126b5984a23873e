"""A support desk in production: `make demo`, or `python examples/support_desk/demo.py --help`.

`graph.py` is the desk as its authors wrote it. `policies`, `NODES` and `Production` turn it into a service. The rest
plays conversations with it, then searches everything for their personal data.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
from rich.console import Console

import report
import shop
from books import Books
from conversations import HELP, BadFile, Conversation, read
from graph import builder
from leaks import Needles, search_database, search_texts
from lg_prod_nodes import (
    CaptureErrors,
    ContentFilter,
    Metrics,
    Policy,
    Production,
    ProductionError,
    RateLimit,
    RateLimitExceeded,
    Redact,
    Settings,
    TokenUsage,
    Tracing,
    by_user,
)
from lg_prod_nodes.service.persistence import database
from play import AT_ONCE, Play
from screen import Screen

BLOCKED = {
    "fraud": ["stolen card", "fake invoice"],
    "attack": ["ddos", "sql injection"],
    "injection": ["ignore all previous instructions"],
}


def slow_down(refused: RateLimitExceeded) -> str:
    return f"That was a lot of questions. Please come back in {(refused.retry_after or 0) / 60:.0f} minutes."


def policies(books: Books) -> list[Policy]:
    """The desk's policies, the first one outermost."""
    return [
        books.diary,
        Tracing(log_runs=True),
        Metrics(registry=books.registry),
        CaptureErrors(),
        TokenUsage(ledger=books.ledger),
        RateLimit("10/hour", by=by_user, reply=slow_down),
        ContentFilter(blocked=BLOCKED, reply="I cannot help with that."),
        Redact(),
    ]


# If the carrier fails for good, the agent continues without it. Any other error ends the run.
NODES = {"carrier": [CaptureErrors(then="continue")]}


async def serve(
    conversations: Sequence[Conversation],
    dsn: str,
    books: Books,
    policies: Sequence[Policy],
    screen: Screen,
) -> report.Verdict:
    """Open the desk, play the conversations, and search for leaked personal data."""
    screen.announce("Opening the desk")
    async with Production(builder, policies, nodes=NODES, postgres=dsn, name="support-desk") as app:
        play = Play(app, books, screen)
        screen.announce(None)
        await play.all(conversations)
        screen.announce("Searching the database")
        verdict = await asyncio.to_thread(search, conversations, dsn, books)
        if verdict.clean:
            await play.forget(conversations)
    return verdict


def search(conversations: Sequence[Conversation], dsn: str, books: Books) -> report.Verdict:
    """Search for all personal data that went in; and, to prove that the search works, for harmless turns."""
    personal = shop.personal_data() | {value for c in conversations for value in c.pii}
    harmless = {turn for c in conversations if not c.pii for turn in c.turns}
    needles = Needles(personal)
    return report.Verdict(
        values=len(personal),
        database=search_database(dsn, needles),
        control=search_database(dsn, Needles(harmless)),
        elsewhere={
            name: (len(texts), search_texts(texts, needles))
            for name, texts in books.texts().items()
        },
    )


def demo(
    conversations: Sequence[Conversation],
    dsn: str | None = None,
    *,
    policies: Callable[[Books], Sequence[Policy]] = policies,
) -> int:
    """Run everything and print the report; 0 if no personal data was found, else 1."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    books = Books(log=log_file())
    with Screen(console, books, len(conversations), AT_ONCE) as screen, ExitStack() as stack:
        screen.announce("Connecting to PostgreSQL")
        chosen = dsn or Settings().database_url or "embedded"
        url = stack.enter_context(database(chosen)).get_secret_value()
        start = time.perf_counter()
        verdict = asyncio.run(serve(conversations, url, books, policies(books), screen))
        seconds = time.perf_counter() - start
        screen.announce("Closing")
    report.show(console, books, verdict, len(conversations), seconds)
    return 0 if verdict.clean else 1


def log_file() -> Path:
    """Send all log lines to a file, away from the screen."""
    handle, name = tempfile.mkstemp(prefix="support-desk-", suffix=".log")
    file = os.fdopen(handle, "w", encoding="utf-8")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file),
    )
    logging.basicConfig(stream=file)
    return Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Play conversations with a support desk in production.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = Path(__file__).with_name("conversations.jsonl")
    parser.add_argument(
        "--dsn", help="a Postgres database; else DATABASE_URL, else a PostgreSQL of the demo's own"
    )
    parser.add_argument(
        "--conversations", type=Path, default=own, metavar="FILE", help="conversations of your own"
    )
    args = parser.parse_args()
    try:
        return demo(read(args.conversations), args.dsn)
    except (BadFile, ProductionError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
