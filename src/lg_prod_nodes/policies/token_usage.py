"""Sum the tokens of every model call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, HumanMessage

from lg_prod_nodes.core.call import Call, Fact, Handler, Kind
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.run import Usage
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.ledger import Entry, Ledger
from lg_prod_nodes.ledger.executions import Execution


@dataclass(frozen=True)
class TokenUsage(Policy):
    """Sums the tokens of every model call made below a graph or node, and their price.

    Counts what was really spent: each call once, streamed ones, those of tools and subgraphs, and those of attempts
    that failed later; and, beside that, what the kept results cost. The run's sum is in `run.report.usage`; sums by
    user, tenant, assistant, thread, run, graph, node and model are in the ledger.

    As a prebuilt node it counts the usage that the messages since the last human one report, for models that are
    called outside of LangChain.

    Args:
        ledger: Where the entries are kept; several policies may share one. By default the database of `Production`,
            else memory.

    Raises:
        ConfigurationError: On entering `Production`, when the ledger's journal has no folder that can be written to.

    Example:
        ```python
        usage = TokenUsage(ledger=Ledger("postgresql://..."))
        graph = harden(builder, [usage]).compile()
        graph.invoke({"messages": [("user", "hi")]}, {"configurable": {"user_id": "ada"}})
        usage.ledger.usage(by="user")
        ```
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "node", "model"})
    role: ClassVar[Role | None] = "observe"
    single: ClassVar[bool] = True

    ledger: Ledger = field(default_factory=Ledger, kw_only=True)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Note how a node's attempt ends; at a run's end, let its entries be sent. The callbacks tell of calls."""
        if call.kind == "node" and call.task is not None:
            return await self._attempt(call, handler)
        try:
            return await handler(call)
        finally:
            if call.is_outermost:
                self.ledger.wake()

    async def visit(self, call: Call, handler: Handler) -> Any:
        """Count what the state's latest messages report."""
        for message in _since_last_human(call.input):
            model = message.response_metadata.get("model_name") or "unknown"
            told = call.replace(kind="model", name=model, input=None)
            usage = Usage.of(dict(message.usage_metadata or {}))
            told.emit("model_called", id=message.id, usage=usage, seconds=0.0)
        return await handler(call)

    def keep_in(self, database: Secret) -> None:
        """Keep further entries in a Postgres, unless the ledger was given a place."""
        self.ledger.keep_in(database)

    def close(self) -> None:
        """Send what waits to the ledger's database, and close the connections."""
        self.ledger.close()

    async def _attempt(self, call: Call, handler: Handler) -> Any:
        execution, error = Execution.begin(call), None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            execution.end(call, error)

    def observe(self, fact: Fact) -> None:
        """Note a model call, or how a node's attempt ended, in the ledger."""
        call, data = fact.call, fact.data
        match fact.name:
            case "model_begun":
                self.ledger.begin(_entry(fact, data["usage"]))
            case "model_called":
                cost = self.ledger.add(_entry(fact, data["usage"]))
                if cost is None:
                    call.emit("model_unpriced", once=("no price", data["id"]))
                else:
                    call.emit("model_priced", once=("price", data["id"]), cost=cost)
            case "model_failed" | "model_cached":
                self.ledger.add(_entry(fact, Usage()))
            case "execution_kept":
                at = datetime.fromtimestamp(call.clock.time(), UTC)
                self.ledger.keep(data["task"], data["execution"], at)
            case _:
                pass


def _entry(fact: Fact, usage: Usage) -> Entry:
    call, run = fact.call, fact.call.run
    execution = Execution.of(call)
    if execution is not None:
        execution.is_used = True
    return Entry(
        id=str(fact.data["id"]),
        run=run.id,
        graph=run.graph,
        model=call.name,
        usage=usage,
        at=datetime.fromtimestamp(call.clock.time() - fact.data.get("seconds", 0.0), UTC),
        thread=run.thread_id,
        user=run.user_id,
        tenant=run.tenant_id,
        assistant=run.assistant_id,
        node=call.node,
        task=execution.task if execution else call.task,
        execution=execution.name if execution else None,
        within=execution.within() if execution else (),
    )


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
