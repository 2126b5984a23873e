"""What a ledger holds: an entry for each model call, and which execution of each task was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from lg_prod_nodes.core.usage import Usage

Dimension = Literal["user", "tenant", "assistant", "thread", "run", "graph", "node", "model"]
"""What usage can be summed by."""

State = Literal["in_doubt", "reconciled", "ended"]
"""How far an entry is known: its call has begun, was settled later, or has ended. The later ones win."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
STATES: tuple[State, ...] = get_args(State)

Record = dict[str, Any]
"""An entry, or a kept execution, as it is written: texts and numbers."""

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_LONGEST = 512  # characters of a name: an index of Postgres takes no more than 2,700 bytes


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model call: names and numbers, never content.

    Attributes:
        id: LangChain's id of the call, which a model sees as `run_manager.run_id`.
        run: The run that made it.
        graph: The graph that ran.
        model: The model, as the provider names it.
        usage: What it spent; an estimate as long as the entry is in doubt, nothing where it failed unanswered.
        at: When it began.
        thread: The conversation.
        user: The user it was made for.
        tenant: The customer whose user that is.
        assistant: The assistant of LangGraph Server.
        node: The node, as a path through its subgraphs.
        task: LangGraph's task that made it.
        execution: Which execution of that task; `None` if it is unknown which one LangGraph keeps.
        within: The tasks around that one and their executions, the innermost first: of nodes that are graphs.
        state: How far it is known.
    """

    id: str
    run: str
    graph: str
    model: str
    usage: Usage
    at: datetime = field(default_factory=_now)
    thread: str | None = None
    user: str | None = None
    tenant: str | None = None
    assistant: str | None = None
    node: str | None = None
    task: str | None = None
    execution: str | None = None
    within: tuple[tuple[str, str], ...] = ()
    state: State = "ended"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one group of calls.

    Attributes:
        key: What the calls have in common, in the order of `by`.
        spent: What the provider bills: every call of every attempt.
        effective: What the kept results cost: the calls of the executions whose result LangGraph kept.
        in_doubt: Estimates of the calls that began and are not known to have ended; in neither of the others.
    """

    key: tuple[str | None, ...]
    spent: Usage
    effective: Usage
    in_doubt: Usage


def record_of(entry: Entry) -> Record:
    """An entry as it is written."""
    usage = entry.usage
    names = {name: _name(getattr(entry, name)) for name in ("id", *DIMENSIONS, "task", "execution")}
    return {
        **names,
        "outer_tasks": [_name(task) for task, _ in entry.within],
        "outer_executions": [_name(execution) for _, execution in entry.within],
        "at": entry.at.timestamp(),
        "state": STATES.index(entry.state),
        "calls": usage.calls,
        **{name: int(getattr(usage, name)) for name in _TOKENS},
        "cost": None if usage.unpriced_calls else str(usage.cost),
        "estimated": usage.estimated_calls > 0,
    }


def entry_of(record: Record) -> Entry:
    """The entry that was written."""
    calls, cost = record["calls"], record["cost"]
    usage = Usage(
        calls=calls,
        **{name: record[name] for name in _TOKENS},
        cost=Decimal(cost or 0),
        unpriced_calls=calls if cost is None else 0,
        estimated_calls=calls if record["estimated"] else 0,
    )
    names = {name: record[name] for name in ("id", *DIMENSIONS, "task", "execution")}
    at = datetime.fromtimestamp(float(record["at"]), UTC)
    within = tuple(zip(record["outer_tasks"], record["outer_executions"], strict=True))
    return Entry(**names, usage=usage, at=at, within=within, state=STATES[record["state"]])


def counts(entry: Entry, kept: Mapping[str, str]) -> bool:
    """Whether an entry is of an execution that was kept, given the latest kept execution of each task.

    A subgraph's tasks are kept by themselves: they do not run again when the node around them is resumed, or runs again
    after a crash. But each retry of that node begins the subgraph anew, or resumes where the same retry was before
    (langgraph 1.2), so what counts is what was made in an attempt of the number of the one that was kept.
    """
    if entry.execution is None:
        return True
    if kept.get(entry.task or "") != entry.execution:
        return False
    return all(
        _attempt(made_in) == _attempt(kept.get(task, ":1")) for task, made_in in entry.within
    )


def _attempt(execution: str) -> str:
    return execution.rpartition(":")[2]


def kept_record(task: str, execution: str, at: datetime) -> Record:
    """A kept execution as it is written."""
    return {"kept": _name(task), "execution": _name(execution), "at": at.timestamp()}


def _name(text: str | None) -> str | None:
    """A name as Postgres takes it: without what it has no character for, and not longer than it can find again."""
    if text is None or (text.isascii() and len(text) <= _LONGEST and "\0" not in text):
        return text
    return text[:_LONGEST].replace("\0", "").encode(errors="replace").decode()
