"""What the demo records for its report."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from prometheus_client import CollectorRegistry

from lg_prod_nodes import Call, Event, Handler, Ledger, Policy, Run, list_price


@dataclass(frozen=True)
class Diary(Policy):
    """A custom policy: times runs and nodes, and counts the events of the other policies."""

    kinds = frozenset({"run", "node"})
    role = "observe"

    seconds: dict[str, list[float]] = field(
        default_factory=lambda: defaultdict(list), compare=False
    )
    events: Counter[str] = field(default_factory=Counter, compare=False)
    found: dict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter), compare=False
    )

    async def wrap(self, call: Call, handler: Handler) -> Any:
        start = call.now()
        try:
            return await handler(call)
        finally:
            self.seconds[call.node or "run"].append(call.now() - start)

    def observe(self, event: Event) -> None:
        policy = event.data.get("policy", "")
        self.events[f"{policy} {event.name}".strip()] += 1
        if event.name == "content_found":
            self.found[policy].update(event.data["found"])


class Wire(BaseCallbackHandler):
    """Records what is sent to the model's provider."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def on_chat_model_start(
        self, serialized: Any, messages: list[list[Any]], **kwargs: Any
    ) -> None:
        self.prompts += [repr(message) for batch in messages for message in batch]


@dataclass(frozen=True)
class Books:
    """Everything that a demo records."""

    log: Path
    diary: Diary = field(default_factory=Diary)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    ledger: Ledger = field(default_factory=lambda: Ledger("memory://", price=list_price))
    wire: Wire = field(default_factory=Wire)
    runs: list[Run] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def texts(self) -> dict[str, list[str]]:
        """Everything that left a run, except for what is in the database."""
        return {
            "messages sent to the model": self.wire.prompts,
            "updates streamed to callers": self.updates,
            "errors raised to callers": self.errors,
            "log lines": self.log.read_text(encoding="utf-8").splitlines(),
        }
