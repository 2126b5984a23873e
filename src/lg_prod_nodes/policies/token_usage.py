"""Sum the tokens of every model call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, HumanMessage

from lg_prod_nodes.call import Call, Fact, Handler, Kind
from lg_prod_nodes.ledger import Entry, Ledger
from lg_prod_nodes.policy import Policy, Role
from lg_prod_nodes.run import Usage


@dataclass(frozen=True)
class TokenUsage(Policy):
    """Sums the tokens of every model call made below a graph or node, and their price.

    Counts what was really spent: each call once when it ends, streamed ones, those of tools and subgraphs, and those
    of attempts that failed later. The run's sum is in `run.report.usage`; sums by user, node, run, thread, model and
    graph are in the ledger.

    As a prebuilt node it counts the usage that the messages since the last human one report, for models that are
    called outside of LangChain.

    Args:
        ledger: Where the sums are kept; several policies may share one.

    Example:
        ```python
        usage = TokenUsage()
        graph = harden(builder, [usage]).compile()
        graph.invoke({"messages": [("user", "hi")]}, {"configurable": {"user_id": "ada"}})
        usage.ledger.total(by="user")
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"model"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    ledger: Ledger = field(default_factory=Ledger, kw_only=True)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """As a prebuilt node, count what the state's latest messages report; else the callbacks tell."""
        if call.kind == "node":
            for message in _since_last_human(call.input):
                model = message.response_metadata.get("model_name") or "unknown"
                told = call.replace(kind="model", name=model, input=None)
                told.emit(
                    "model_called",
                    id=message.id,
                    usage=Usage.of(dict(message.usage_metadata or {})),
                    seconds=0.0,
                )
        return await handler(call)

    def observe(self, fact: Fact) -> None:
        """Note a model call in the ledger."""
        if fact.name != "model_called":
            return
        call, run = fact.call, fact.call.run
        cost = self.ledger.add(
            Entry(
                id=str(fact.data["id"]),
                run=run.id,
                thread=run.thread_id,
                user=run.user_id,
                graph=run.graph,
                node=call.node,
                model=call.name,
                usage=fact.data["usage"],
            )
        )
        if cost is not None:
            call.emit("model_priced", once=("price", fact.data["id"]), cost=cost)


def _since_last_human(state: Any) -> list[AIMessage]:
    messages = (
        state.get("messages", []) if isinstance(state, dict) else getattr(state, "messages", [])
    )
    last = max(
        (at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=-1
    )
    return [
        message
        for message in messages[last + 1 :]
        if isinstance(message, AIMessage) and message.usage_metadata
    ]
