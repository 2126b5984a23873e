"""Double texting among workers that die: `python -m tests.programs.threads_chaos --messages 10000 --seed 7`.

Workers send messages to threads, each thread with one strategy. At random moments a worker gets a SIGKILL, and another
one takes its place, or a SIGSTOP and, some seconds later, a SIGCONT. What was in flight in a killed worker is sent
again, with the same message id. Triggers in the database note in which order runs came to their thread, and every
checkpoint of a run that did not hold its thread. In the end each thread has to have the messages that a reader expects,
and one history. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, LiteralString, get_args
from uuid import NAMESPACE_URL, uuid5

import psycopg
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import (
    DoubleTexting,
    LeaseLost,
    Production,
    RunInterrupted,
    StoreUnavailable,
    ThreadBusy,
    ThreadStore,
)
from lg_prod_nodes.core.engine import drive
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres
from lg_prod_nodes.stores.threads.store import LEASE_SECONDS, Strategy

ROOT = Path(__file__).parents[2]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
AT_ONCE = 12  # runs in each worker

SET_UP: LiteralString = """
    CREATE TABLE messages (
        id serial PRIMARY KEY, thread text NOT NULL, strategy text NOT NULL, worker int, tries int NOT NULL DEFAULT 0,
        outcome text);
    CREATE INDEX ON messages (id) WHERE worker IS NULL;
    CREATE TABLE came (number bigserial, thread text, run text, PRIMARY KEY (thread, run));
    CREATE TABLE fenced (thread text, checkpoint_id text, claim text);
    CREATE FUNCTION runs_in(line jsonb) RETURNS TABLE (run text, place bigint) LANGUAGE sql AS $$
        SELECT line->'holder'->>'run', 0 WHERE line->'holder'->>'run' IS NOT NULL UNION ALL
        SELECT claim->>'run', place FROM jsonb_array_elements(line->'waiting') WITH ORDINALITY AS waiting (claim, place)
        $$;
    CREATE FUNCTION note_came() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO came (thread, run) SELECT NEW.name, now_in.run FROM runs_in(NEW.line::jsonb) AS now_in
        WHERE TG_OP = 'INSERT' OR now_in.run NOT IN (SELECT run FROM runs_in(OLD.line::jsonb))
        ORDER BY place  -- whoever was taken for dead comes again
        ON CONFLICT (thread, run) DO UPDATE SET number = excluded.number;
        RETURN NULL;
    END $$;
    CREATE TRIGGER came AFTER INSERT OR UPDATE ON lg_prod_nodes_threads FOR EACH ROW EXECUTE FUNCTION note_came();
    CREATE FUNCTION note_fenced() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT EXISTS (SELECT FROM lg_prod_nodes_threads WHERE name = NEW.thread_id
            AND line::jsonb->'holder'->>'id' = NEW.metadata->>'run_id') THEN
            INSERT INTO fenced VALUES (NEW.thread_id, NEW.checkpoint_id, NEW.metadata->>'run_id');
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER fenced AFTER INSERT OR UPDATE ON checkpoints FOR EACH ROW EXECUTE FUNCTION note_fenced()"""
TAKE: LiteralString = """
    UPDATE messages SET worker = %s, tries = tries + 1 WHERE id = (
        SELECT id FROM messages WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, thread, strategy"""
FORKS: LiteralString = """
    SELECT thread_id, parent_checkpoint_id FROM checkpoints WHERE checkpoint_ns = ''
    GROUP BY 1, 2 HAVING count(*) > 1"""

SENT: LiteralString = """
    SELECT thread, strategy, id::text, outcome, tries FROM messages WHERE outcome IS NOT NULL"""
OUTCOMES: LiteralString = """
    SELECT strategy, outcome, count(*), count(*) FILTER (WHERE tries > 1)
    FROM messages GROUP BY 1, 2 ORDER BY 1, 2"""


class State(MessagesState):
    asked: str


async def think(state: State) -> None:
    await asyncio.sleep(random.uniform(0, 0.03))


async def answer(state: State) -> Any:
    await asyncio.sleep(random.uniform(0, 0.03))
    return {"messages": [AIMessage("", id=f"re {state['asked']}")]}


def graph() -> StateGraph[Any]:
    builder = StateGraph(State).add_node("think", think).add_node("answer", answer)
    return builder.add_edge(START, "think").add_edge("think", "answer")


def policy() -> DoubleTexting:
    return DoubleTexting("enqueue", allow=STRATEGIES, max_queue=1000, max_wait=120.0)


async def send(app: Any, id: int, thread: str, strategy: str) -> str | None:
    """Send a message; give the outcome, `None` if it is unknown and the message has to be sent again."""
    config: Any = {
        "run_id": uuid5(NAMESPACE_URL, str(id)),
        "configurable": {"thread_id": thread, "multitask_strategy": strategy},
    }
    message = {"messages": [HumanMessage("", id=str(id))], "asked": str(id)}
    try:
        await app.ainvoke(message, config)
    except ThreadBusy:
        return "busy"
    except RunInterrupted as error:
        return error.action if error.started else "unstarted"
    except (LeaseLost, StoreUnavailable):
        return None
    return "ok"


async def work(dsn: str) -> None:
    """Send messages until there are none."""
    async with (
        Production(graph(), [policy()], postgres=dsn, pool_size=5) as app,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):

        async def sender() -> None:
            while True:
                found = await (await connection.execute(TAKE, [os.getpid()])).fetchone()
                if found is None:
                    await asyncio.sleep(0.2)
                    continue
                outcome = await send(app, *found)
                worker = None if outcome is None else os.getpid()
                await connection.execute(
                    "UPDATE messages SET outcome = %s, worker = %s WHERE id = %s AND worker = %s",
                    [outcome, worker, found[0], os.getpid()],
                )

        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


class Workers:
    """Worker processes, of which each that is killed is replaced."""

    def __init__(self, dsn: str, number: int, seed: int) -> None:
        self._dsn, self._random = dsn, random.Random(seed)
        self._workers = [self._new() for _ in range(number)]
        self._stopped: dict[int, float] = {}
        self.did: Counter[str] = Counter()
        self._admin = psycopg.connect(dsn, autocommit=True)

    def _new(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", __spec__.name, "--worker", "--dsn", self._dsn]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def disturb(self) -> None:
        """Kill or stop a worker that has taken messages, now and then."""
        self.wake(due=time.monotonic())
        busy = {
            row[0]
            for row in self._admin.execute(
                "SELECT DISTINCT worker FROM messages WHERE outcome IS NULL AND worker IS NOT NULL"
            )
        }
        able = [w for w in self._workers if w.pid in busy and w.pid not in self._stopped]
        if len(able) < 2:
            return
        worker = self._random.choice(able)
        if self._random.random() < 0.5:
            self._kill(worker)
        else:
            worker.send_signal(signal.SIGSTOP)
            self._stopped[worker.pid] = time.monotonic() + self._random.uniform(
                1, 2 * LEASE_SECONDS
            )
            self.did["SIGSTOP"] += 1

    def wake(self, due: float) -> None:
        for worker in self._workers:
            if worker.pid in self._stopped and self._stopped[worker.pid] <= due:
                worker.send_signal(signal.SIGCONT)
                del self._stopped[worker.pid]

    def _kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.did["SIGKILL"] += 1
        self._workers[self._workers.index(worker)] = self._new()
        self._admin.execute(
            "UPDATE messages SET worker = NULL WHERE worker = %s AND outcome IS NULL", [worker.pid]
        )

    def end(self) -> None:
        self.wake(due=float("inf"))
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self._admin.close()


def set_up(dsn: str, messages: int, threads: int, seed: int) -> None:
    pick = random.Random(seed)
    with Production(graph(), [policy()], postgres=dsn) as app:
        warms_up: Any = {"configurable": {"thread_id": "warms up"}}
        app.update_state(warms_up, {"asked": ""}, as_node="answer")  # which makes the tables
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(SET_UP)
        with admin.cursor().copy("COPY messages (thread, strategy) FROM STDIN") as copy:
            for _ in range(messages):
                number = pick.randrange(threads)
                strategy = STRATEGIES[number % len(STRATEGIES)]
                copy.write_row((f"{strategy} {number}", strategy))


def left(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM messages WHERE outcome IS NULL").fetchone()
    return int(row[0]) if row else 0


def histories(dsn: str) -> dict[str, list[str]]:
    """The ids of each thread's messages, in order."""
    with psycopg.connect(dsn) as connection, PostgresSaver.from_conn_string(dsn) as saver:
        threads = connection.execute("SELECT DISTINCT thread FROM messages").fetchall()
        found = {
            thread: saver.get_tuple({"configurable": {"thread_id": thread}})
            for (thread,) in threads
        }
    return {
        thread: [message.id for message in each.checkpoint["channel_values"].get("messages", ())]
        if each
        else []
        for thread, each in found.items()
    }


def checked(dsn: str) -> list[str]:
    """What is wrong."""
    with psycopg.connect(dsn) as connection:
        sent = connection.execute(SENT).fetchall()
        problems = [
            f"a fenced run wrote {row}" for row in connection.execute("SELECT * FROM fenced")
        ]
        problems += [f"history forks in {row}" for row in connection.execute(FORKS)]
        runs = {str(uuid5(NAMESPACE_URL, id)): id for _, _, id, _, _ in sent}
        came: defaultdict[str, list[str]] = defaultdict(list)
        for thread, run in connection.execute("SELECT thread, run FROM came ORDER BY number"):
            came[thread].append(runs.get(run, run))
    said = histories(dsn)
    once = {id for _, _, id, _, tries in sent if tries == 1}
    for thread, strategy, id, outcome, _ in sent:
        at, answers = said[thread].count(id), said[thread].count(f"re {id}")
        expected = {
            "ok": at == answers == 1,
            "interrupt": at <= 1,
        }.get(outcome, at == answers == 0 or id not in once)  # an earlier try may have written
        if not expected or outcome not in ALLOWED[strategy]:
            problems.append(
                f"{thread}: message {id} ended {outcome!r}, is there {at}, answered {answers} times"
            )
    for thread, order in came.items():
        if thread.startswith("enqueue"):
            heard = [id for id in said[thread] if id in once]
            if heard != [id for id in order if id in once]:
                problems.append(f"{thread} is out of order")
    return problems


ALLOWED = {
    "reject": {"ok", "busy"},
    "enqueue": {"ok"},
    "interrupt": {"ok", "interrupt", "unstarted"},
    "rollback": {"ok", "rollback", "unstarted"},
}


def busy_threads(dsn: str) -> list[str]:
    """The threads that are busy 5 seconds after all workers were killed."""
    time.sleep(5.0)
    with ThreadStore(dsn, timeout=30) as store, psycopg.connect(dsn) as connection:
        names = connection.execute("SELECT name FROM lg_prod_nodes_threads").fetchall()
        asked = {name: store.lease(name, run="last") for (name,) in names}
        return [
            f"{name} is busy, though all workers are dead"
            for name, lease in asked.items()
            if drive(store.ask(lease, "reject", blocking=True)).state != "held"
        ]


def run(dsn: str, given: argparse.Namespace) -> list[str]:
    set_up(dsn, given.messages, given.threads, given.seed)
    workers, start = Workers(dsn, given.workers, given.seed), time.monotonic()
    calm = max(given.messages // 10, 2 * given.workers)
    try:
        while (waiting := left(dsn)) and time.monotonic() - start < given.seconds:
            time.sleep(given.pause)
            if waiting > calm:
                workers.disturb()
            else:
                workers.wake(due=float("inf"))
            if given.verbose:
                sys.stdout.write(
                    f"{time.monotonic() - start:.0f} s: {waiting} left, {dict(workers.did)}\n"
                )
    finally:
        workers.end()
    with psycopg.connect(dsn) as connection:
        outcomes = connection.execute(OUTCOMES).fetchall()
    sys.stdout.write(
        f"{given.messages} messages to {given.threads} threads by {given.workers} workers in "
        f"{time.monotonic() - start:.0f} s, {dict(workers.did)}\n"
    )
    for strategy, outcome, number, again in outcomes:
        sys.stdout.write(f"{strategy:10} {outcome!s:10} {number:6} ({again} sent again)\n")
    if left(dsn):
        return [f"{left(dsn)} messages did not end", *checked(dsn)]
    return [*busy_threads(dsn), *checked(dsn)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=300)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1800.0, help="to wait at most")
    parser.add_argument("--pause", type=float, default=0.7, help="seconds between two disturbances")
    parser.add_argument("--dsn", help="an empty database; by default one of its own")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.worker:
        asyncio.run(work(given.dsn))
        return
    with ExitStack() as stack:
        if given.dsn is None:
            folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
            os.chmod(folder, 0o711)  # for root, the server runs as somebody else
            given.dsn = stack.enter_context(EmbeddedPostgres(folder))
        problems = run(given.dsn, given)
    for problem in problems[:50]:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{len(problems)} problems\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
