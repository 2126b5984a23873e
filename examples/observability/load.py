"""The support desk under load, watched by a Prometheus, and the pictures of its dashboard: `make dashboard`.

Callers come in waves, and some leave in the middle of an answer. Once, the desk's database is unreachable.

    python examples/observability/load.py FOLDER [MINUTES]
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from contextlib import ExitStack, aclosing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from langchain_core.runnables import RunnableConfig
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1] / "support_desk"))

from books import Books
from conversations import read
from demo import NODES, log_file, policies
from graph import builder
from lg_prod_nodes import Bulkhead, Production, StoreUnavailable
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.service.production import App
from picture import DARK, LIGHT, Prometheus, Window, draw, save
from play import AT_ONCE, Play
from scraper import prometheus
from screen import Screen

CONVERSATIONS = Path(__file__).parents[1] / "support_desk" / "conversations.jsonl"
SCRAPE = 5.0  # seconds
WAVE = 5  # seconds from one group of callers to the next
OUTAGE = 20.0  # seconds


async def load(dsn: str, books: Books, minutes: float) -> None:
    """Let callers come in waves; when most have been served, the database is down for a while."""
    several = Bulkhead(6, max_wait=10.0, reply="All of us are busy. Please call again.")
    stack = [*policies(books), several]
    conversations, rng = read(CONVERSATIONS), random.Random(7)
    waves = int(minutes * 60 / WAVE)
    async with (
        Production(builder, stack, nodes=NODES, postgres=dsn, name="support-desk") as app,
        asyncio.TaskGroup() as group,
    ):
        for wave in range(waves):
            many = round(8 - 5 * math.cos(4 * math.pi * wave / waves))
            callers = [replace(c, user=f"{c.user}-{wave}") for c in rng.sample(conversations, many)]
            play = Play(app, books, Screen(Console(quiet=True), books, many, AT_ONCE))
            group.create_task(play.all(callers))
            group.create_task(leave_early(app, f"impatient-{wave}"))
            if wave == waves * 2 // 3:
                group.create_task(asyncio.to_thread(cut_off, dsn, OUTAGE))
            await asyncio.sleep(WAVE)


async def leave_early(app: App, caller: str) -> None:
    """Read the first words of an answer, and hang up."""
    config = RunnableConfig(configurable={"thread_id": caller, "user_id": caller})
    praise = {"messages": [("user", "Your shop is lovely.")]}
    with suppress(StoreUnavailable):
        async with aclosing(app.astream(praise, config, stream_mode="messages")) as words:
            async for _ in words:
                break


def cut_off(dsn: str, seconds: float) -> None:
    """Refuse all connections to the desk's database."""
    with psycopg.connect(dsn, dbname="template1", autocommit=True) as admin:
        admin.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'"
            )
            time.sleep(0.5)
        admin.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")


def main(folder: str, minutes: str = "10") -> None:
    books = Books(log=log_file())
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        Path(scratch).chmod(0o711)  # for PostgreSQL, which root runs as somebody else
        dsn = stack.enter_context(EmbeddedPostgres(Path(scratch, "postgres")))
        client = stack.enter_context(prometheus(books.registry, Path(scratch), f"{SCRAPE:.0f}s"))
        asyncio.run(load(dsn, books, float(minutes)))
        seen = Prometheus(client, Window(time.time(), float(minutes) * 60, SCRAPE))
        for theme in (LIGHT, DARK):
            save(draw(seen, theme), Path(folder, f"dashboard-{theme.name}.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
