"""A ledger against its provider's own books, while all goes wrong: `python ledger_chaos.py --runs 1000 --seed 7`.

Processes run graphs on Postgres: with retries, failures, interrupts, forks, subgraphs and parallel nodes, synchronous,
asynchronous and streamed. At random moments they are killed (SIGKILL), and what they were at goes on elsewhere. A fake
provider writes down each call that it serves, by its id. In the end the ledger has to agree with it to the token, and
what it calls effective with the calls whose results are in the threads' checkpoints. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import operator
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict

from lg_prod_nodes import Ledger, Production, TokenUsage, Usage
from lg_prod_nodes.databases.embedded.server import EmbeddedPostgres

WORKERS = 2
FORKED = multiprocessing.get_context("fork")


class Transient(Exception):
    """Tried again."""


class Fatal(Exception):
    """Not tried again: the run fails."""


class State(TypedDict, total=False):
    said: Annotated[list[tuple[str, int]], operator.add]


class Provider:
    """A fake provider, with books of its own: a line for each call that it serves."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "provider.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def serve(self, call: str) -> dict[str, int]:
        rng = random.Random(call)
        sent, received = rng.randrange(1, 1000), rng.randrange(1, 500)
        line = json.dumps({"id": call, "input_tokens": sent, "output_tokens": received})
        os.write(self._file, line.encode() + b"\n")
        return {"input_tokens": sent, "output_tokens": received, "total_tokens": sent + received}

    def billed(self) -> dict[str, Usage]:
        lines = map(json.loads, self.path.read_text().splitlines())
        return {line["id"]: Usage.of(line) for line in lines}


class CallId(BaseCallbackHandler):
    """Tells the model the id of the call that begins in its thread; LangChain hands none to one that streams."""

    run_inline = True

    def __init__(self) -> None:
        self.thread = threading.local()

    def on_chat_model_start(self, *args: Any, run_id: UUID, **options: Any) -> None:
        self.thread.call = str(run_id)


CALL = CallId()


class Model(BaseChatModel):
    """Says the call's id and its tokens; takes its time before and after the provider knows of it."""

    provider: Any

    @property
    def _llm_type(self) -> str:
        return "chaos"

    def _asked(self, messages: Any) -> tuple[str, Any]:
        if messages[-1].text == "refuse":
            raise Transient
        pause()
        usage = self.provider.serve(CALL.thread.call)
        pause()
        return json.dumps([CALL.thread.call, usage["total_tokens"]]), usage

    def _generate(self, messages: Any, *args: Any, **options: Any) -> ChatResult:
        text, usage = self._asked(messages)
        message = AIMessage(text, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        text, usage = self._asked(messages)
        for at in range(0, len(text), 20):
            yield ChatGenerationChunk(message=AIMessageChunk(text[at : at + 20]))
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=usage))


def pause() -> None:
    time.sleep(random.random() / 300)


class Trouble:
    """Decides what goes wrong, by a seed."""

    def __init__(self) -> None:
        self.rng = random.Random()

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def before(self, model: Model) -> None:
        if self.chance(0.04):
            model.invoke("refuse")

    def after(self) -> None:
        if self.chance(0.12):
            raise Transient
        if self.chance(0.03):
            raise Fatal


def graph(model: Model, trouble: Trouble) -> StateGraph[Any]:
    """Nodes one after the other, side by side, in a subgraph, and one that asks a person."""
    again = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=Transient)

    def ask(state: State) -> Any:
        trouble.before(model)
        said = json.loads(model.invoke("hi").text)
        trouble.after()
        return {"said": [tuple(said)]}

    def approve(state: State) -> Any:
        update = ask(state)
        if trouble.chance(0.5):
            interrupt("sure?")
        return update

    inner = StateGraph(State).add_node("first", ask, retry_policy=again).add_node("second", ask)
    inner.add_edge(START, "first").add_edge("first", "second")
    builder = StateGraph(State).add_node("plan", ask, retry_policy=again)
    builder.add_node("work", ask, retry_policy=again).add_node("approve", approve)
    builder.add_node("inner", inner.compile(), retry_policy=again)
    builder.add_node("finish", ask, retry_policy=again)
    builder.add_edge(START, "plan").add_edge("work", "inner").add_edge("inner", "approve")
    builder.add_conditional_edges("plan", lambda state: [Send("work", {})] * 2, ["work"])
    return builder.add_edge("approve", "finish")


def work(orders: Connection, dsn: str, folder: Path) -> None:
    """Run what is ordered, one thing after the other, and say how each ended."""
    trouble = Trouble()
    model = Model(provider=Provider(folder), callbacks=[CALL])
    ledger = Ledger(dsn, journal=folder / "journal")
    with (
        ledger,
        Production(graph(model, trouble), [TokenUsage(ledger=ledger)], postgres=dsn) as app,
    ):
        orders.send("ready")
        while (order := orders.recv()) is not None:
            trouble.rng.seed(order["seed"])
            orders.send(obey(app, order, trouble))


def obey(app: Any, order: Any, trouble: Trouble) -> str:
    config: Any = {"configurable": {"thread_id": order["thread"], "user_id": order["thread"][-1]}}
    state, given = app.get_state(config), None
    if order["do"] == "fork" and not state.tasks:
        config = trouble.rng.choice([s for s in app.get_state_history(config) if s.next]).config
    elif state.interrupts:
        given = Command(resume="yes")
    elif (
        not state.tasks
    ):  # `next` lacks those that have ended, whose results wait for the next checkpoint
        if state.values.get("said"):
            return "done"
        given = {"said": []}
    try:
        run(app, given, config, trouble.rng.choice(["invoke", "ainvoke", "stream"]))
    except (Transient, Fatal):
        return "failed"
    return "ran"


def run(app: Any, given: Any, config: Any, way: str) -> None:
    if way == "ainvoke":
        asyncio.run(app.ainvoke(given, config, durability="sync"))
    elif way == "stream":
        for _ in app.stream(given, config, durability="sync", stream_mode="messages"):
            pass
    else:
        app.invoke(given, config, durability="sync")


class Crew:
    """Processes that run graphs, some of which are killed."""

    def __init__(self, dsn: str, folder: Path, runs: int, seed: int) -> None:
        self.counted: Counter[str] = Counter()
        self._dsn, self._folder = dsn, folder
        self._rng = random.Random(seed)
        self._orders = deque(self._order(f"thread-{number}", "go") for number in range(runs))
        self._at_work: dict[Any, Any] = {}

    def _order(self, thread: str, do: str) -> dict[str, Any]:
        return {"thread": thread, "do": do, "seed": self._rng.random()}

    def work(self) -> None:
        for _ in range(WORKERS):
            self._hire()
        while self._at_work:
            now = time.monotonic()
            due = min(until for _, _, until in self._at_work.values())
            for orders in wait(list(self._at_work), max(0, due - now)):
                self._next(orders, self._at_work[orders], orders.recv())  # type: ignore[union-attr]
            for orders, (_, _, until) in list(self._at_work.items()):
                if time.monotonic() >= until:
                    self._kill(orders)

    def _hire(self) -> None:
        orders, theirs = FORKED.Pipe()
        process = FORKED.Process(target=work, args=(theirs, self._dsn, self._folder), daemon=True)
        process.start()
        theirs.close()
        self._at_work[orders] = (process, None, time.monotonic() + 120)

    def _next(self, orders: Any, at_work: Any, outcome: str) -> None:
        process, order, _ = at_work
        self.counted[outcome] += 1
        if order is not None:
            self._go_on(order, outcome)
        if not self._orders:
            orders.send(None)
            process.join()
            del self._at_work[orders]
            return
        order = self._orders.popleft()
        patience = self._rng.random() / 5 if self._rng.random() < 0.25 else 120
        self._at_work[orders] = (process, order, time.monotonic() + patience)
        orders.send(order)

    def _go_on(self, order: Any, outcome: str) -> None:
        if outcome != "done":
            self._orders.append(self._order(order["thread"], "go"))
        elif order["do"] == "go" and self._rng.random() < 0.1:
            self.counted["forked"] += 1
            self._orders.append(self._order(order["thread"], "fork"))

    def _kill(self, orders: Any) -> None:
        process, order, _ = self._at_work.pop(orders)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.counted["killed"] += 1
        if order is None:
            raise SystemExit("a process does not start")
        self._orders.append(self._order(order["thread"], "go"))
        orders.close()
        self._hire()


def saved_calls(app: Any, thread: str) -> dict[str, int]:
    """The calls whose results are in a thread's checkpoints, with their tokens."""
    config: Any = {"configurable": {"thread_id": thread}}
    history = app.get_state_history(config)
    return dict(said for state in history for said in state.values.get("said", ()))


def compare(dsn: str, folder: Path, runs: int, counted: Counter[str]) -> bool:
    """Print what ledger and provider have, and say whether they agree."""
    provider = Provider(folder)
    billed = provider.billed()
    with Ledger(dsn, journal=folder / "journal") as ledger:
        ledger.flush()
        in_doubt = ledger.usage()[0].in_doubt.calls
        ledger.reconcile(billed.get, older_than=timedelta(0))
        (row,) = ledger.usage()
        entries = {entry.id: entry.usage for entry in ledger.entries() if entry.usage.calls}
        effective = {str(row.key[0]): row.effective for row in ledger.usage(by="thread")}
    with Production(graph(Model(provider=provider), Trouble()), postgres=dsn) as app:
        saved = {f"thread-{n}": saved_calls(app, f"thread-{n}") for n in range(runs)}
    wrong = [t for t in saved if tokens(effective, t) != sum(saved[t].values())]
    provided = sum(billed.values(), Usage())
    lines = [
        ("runs", runs, runs),
        ("calls spent", row.spent.calls, provided.calls),
        ("input tokens spent", row.spent.input_tokens, provided.input_tokens),
        ("output tokens spent", row.spent.output_tokens, provided.output_tokens),
        ("calls with other tokens", sum(entries.get(c) != u for c, u in billed.items()), 0),
        ("calls effective", row.effective.calls, sum(map(len, saved.values()))),
        ("tokens effective", row.effective.total_tokens, total(saved)),
        ("threads with other tokens", len(wrong), 0),
        ("calls in doubt, reconciled", row.in_doubt.calls, 0),
    ]
    print(f"{dict(counted)}, {in_doubt} calls were in doubt\n")
    print(f"{'':28} {'ledger':>12} {'provider, checkpoints':>22}")
    for name, ours, theirs in lines:
        print(f"{name:28} {ours:12,} {theirs:22,} {'' if ours == theirs else 'DIFFERS'}")
    for thread in wrong[:5]:
        print(thread, tokens(effective, thread), saved[thread])
    return all(ours == theirs for _, ours, theirs in lines)


def tokens(usages: dict[str, Usage], thread: str) -> int:
    return usages.get(thread, Usage()).total_tokens


def total(saved: dict[str, dict[str, int]]) -> int:
    return sum(sum(calls.values()) for calls in saved.values())


def main(runs: int, seed: int, dsn: str | None) -> int:
    with TemporaryDirectory(prefix="ledger-chaos-") as name:
        folder = Path(name)
        os.chmod(folder, 0o711)  # for root, the server runs as somebody else
        server = None if dsn else EmbeddedPostgres(folder / "postgres")
        try:
            dsn = dsn or (server.start() if server else "")
            crew = Crew(dsn, folder, runs, seed)
            start = time.monotonic()
            crew.work()
            print(f"{runs} runs, seed {seed}, {time.monotonic() - start:.0f} s")
            return 0 if compare(dsn, folder, runs, crew.counted) else 1
        finally:
            if server:
                server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--dsn", help="a database of its own; without, one is made for the time")
    sys.exit(main(**vars(parser.parse_args())))
