"""Record the tokens and cost of every model call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Literal

from langchain_core.messages import AIMessage, HumanMessage

from lg_prod_nodes.core.advice import wrong_choice
from lg_prod_nodes.core.answers import estimated
from lg_prod_nodes.core.call import Call, Handler
from lg_prod_nodes.core.errors import ConfigurationError, StoreUnavailable
from lg_prod_nodes.core.policy import Policy, Role
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.resource import Resource
from lg_prod_nodes.core.run import node_path
from lg_prod_nodes.core.usage import METERED, CallRequest, MeteredCall, Usage, estimated_tokens
from lg_prod_nodes.ledger import Entry, Ledger
from lg_prod_nodes.ledger.executions import Execution


@dataclass(frozen=True)
class TokenUsage(Policy):
    """Records the tokens and cost of every model call inside a graph or node.

    Counts what was actually spent: each call once, including streams, tools, subgraphs, and attempts that failed later.
    The cost of the results that the state keeps is recorded separately. The total of a run is in `run.report.usage`;
    totals by user, tenant, assistant, thread, run, graph, node and model are in the ledger. An entry is written before
    and after each call, off the event loop, and the call waits for it.

    As a prebuilt node, it counts the usage reported by the messages since the last human message, for models that are
    called outside LangChain.

    Args:
        ledger: Where entries are stored; policies may share a ledger. Defaults to the database of `Production`, else
            memory.
        store_down: What to do if an entry cannot be written: `"admit"` the call and emit `store_unavailable`, or
            `"raise"`.

    Raises:
        ConfigurationError: On entering `Production`, if the folder of the ledger's journal is not writable.
        StoreUnavailable: An entry cannot be written, and `store_down` is `"raise"`.

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

    ledger: Ledger = field(default_factory=Ledger, kw_only=True)
    store_down: Literal["raise", "admit"] = field(default="admit", kw_only=True)

    def __post_init__(self) -> None:
        for problem in wrong_choice("store_down", self.store_down, ("raise", "admit")):
            raise ConfigurationError(problem)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The ledger."""
        return (self.ledger,)

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Record a model call's usage and the end of a node's attempt; flush the entries when a run ends."""
        if call.prebuilt:
            await self._count_messages(call)
            return await handler(call)
        if call.kind == "model":
            return await self._model(call, handler)
        if call.kind == "node" and (execution := Execution.begin(call)) is not None:
            return await self._attempt(execution, call, handler)
        try:
            return await handler(call)
        finally:
            if call.is_outermost:
                self.ledger.wake()

    async def _model(self, call: Call, handler: Handler) -> Any:
        request = call.request
        if request is None or self._is_billed(request):
            return await handler(call)
        request.billed_to.append(self.ledger)
        expected = estimated(estimated_tokens(call.input, request.schemas))
        opened = _entry(call, expected, id=request.id)
        await self._write(call, partial(self.ledger.begin, opened))
        try:
            return await handler(call)
        finally:
            request.listener = partial(self._later, call.replace(request=None))  # no cycle
            await self._settle(call, opened, request)

    def _is_billed(self, request: CallRequest) -> bool:
        """Return whether this ledger already records the call: by an outer policy, or as part of an outer call."""
        return any(
            ledger is self.ledger for each in (*METERED.get(), request) for ledger in each.billed_to
        )

    async def _settle(self, call: Call, opened: Entry, request: CallRequest) -> None:
        ended = request.calls
        known = any(metered.id == opened.id for metered in ended)
        ids = [metered.id if known or at else opened.id for at, metered in enumerate(ended)]
        entries = [_ended(call, id, metered) for id, metered in zip(ids, ended, strict=True)]
        if not ended and not request.is_sent:
            entries = [replace(opened, usage=Usage())]
        if entries:
            await self._write(call, partial(self._add, call, entries))

    def _later(self, call: Call, ended: MeteredCall) -> None:
        """Record a call that ends after it returned, such as a stream of events, which the caller reads later."""
        write = partial(self._add, call, [_ended(call, ended.id, ended)])
        if call.blocking or self.ledger.is_in_memory:
            write()
        else:
            asyncio.get_running_loop().run_in_executor(None, write)

    def _add(self, call: Call, entries: list[Entry]) -> None:
        for entry in entries:
            cost = self._cost(call, entry)
            if entry.usage.calls and cost is None:
                call.emit("model_unpriced", once=("no price", entry.id))
            elif entry.usage.calls:
                call.emit("model_priced", once=("price", entry.id), cost=cost)

    def _cost(self, call: Call, entry: Entry) -> Decimal | None:
        try:
            return self.ledger.add(entry)
        except (StoreUnavailable, OSError):
            raise
        except Exception as error:  # raised by the user's price function; the tokens are recorded
            call.emit("price_failed", error=type(error).__name__)
            return None

    async def _attempt(self, execution: Execution, call: Call, handler: Handler) -> Any:
        error = None
        try:
            return await handler(call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if execution.is_kept(call, error):
                at = datetime.fromtimestamp(call.clock.time(), UTC)
                keep = partial(self.ledger.keep, execution.task, execution.name, at)
                await self._write(call, keep)

    async def _count_messages(self, call: Call) -> None:
        for message in _since_last_human(call.input):
            model = message.response_metadata.get("model_name") or "unknown"
            model_call = call.replace(kind="model", name=model)
            usage = Usage.of(dict(message.usage_metadata or {}))
            model_call.emit("model_called", id=message.id, usage=usage, seconds=0.0, provider=None)
            entry = _entry(model_call, usage, id=str(message.id))
            await self._write(model_call, partial(self._add, model_call, [entry]))

    async def _write(self, call: Call, write: Callable[[], object]) -> None:
        """Write to the ledger, off the event loop unless it is in memory."""
        try:
            if call.blocking or self.ledger.is_in_memory:
                write()
            else:
                await asyncio.shield(asyncio.to_thread(write))
        except (StoreUnavailable, OSError) as error:
            call.emit("store_unavailable", policy=type(self).__name__)
            if self.store_down == "raise":
                raise StoreUnavailable("the ledger cannot write an entry") from error


def _entry(call: Call, usage: Usage, *, id: str, seconds: float = 0.0) -> Entry:
    run, execution = call.run, Execution.of(call)
    if execution is not None:
        execution.is_used = True
    return Entry(
        id=id,
        run=run.id,
        graph=run.graph,
        model=call.name,
        usage=usage,
        at=datetime.fromtimestamp(call.clock.time() - seconds, UTC),
        thread=run.thread_id,
        user=run.user_id,
        tenant=run.tenant_id,
        assistant=run.assistant_id,
        node=node_path(call.config.get("metadata") or {}) or call.node,
        task=execution.task if execution else call.task,
        execution=execution.name if execution else None,
        within=execution.within() if execution else (),
    )


def _ended(call: Call, id: str, ended: MeteredCall) -> Entry:
    return _entry(call.replace(name=ended.model), ended.usage, seconds=ended.seconds, id=id)


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
