"""Play conversations with the desk, like its callers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from books import Books
from conversations import Conversation
from lg_prod_nodes import Run
from screen import Screen

AT_ONCE = 8


@dataclass(frozen=True)
class Play:
    """One performance, on threads of its own."""

    app: CompiledStateGraph[Any, Any, Any, Any]
    books: Books
    screen: Screen
    prefix: str = field(default_factory=lambda: uuid4().hex[:8])

    async def all(self, conversations: Sequence[Conversation]) -> None:
        """Play all conversations, a few at a time."""
        seats = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for conversation in conversations:
                    group.create_task(self._hold(conversation, seats))
        except asyncio.CancelledError:  # by Ctrl-C
            await self.forget(conversations)
            raise

    async def forget(self, conversations: Sequence[Conversation]) -> None:
        """Delete the threads."""
        for conversation in conversations:
            await self.app.checkpointer.adelete_thread(self._thread(conversation))  # type: ignore[union-attr]

    async def _hold(self, conversation: Conversation, seats: asyncio.Semaphore) -> None:
        approvals = iter(conversation.approvals)
        async with seats:
            seat = self.screen.sit(conversation)
            for turn in conversation.turns:
                run = await self._run(conversation, seat, {"messages": [("user", turn)]})
                while run.report.outcome == "interrupt" and (answer := next(approvals, None)):
                    run = await self._run(conversation, seat, Command(resume=answer))
            self.screen.leave(seat)

    async def _run(self, conversation: Conversation, seat: int, given: Any) -> Run:
        run = Run()  # holds the run's report
        self.books.runs.append(run)
        config = RunnableConfig(
            configurable={"thread_id": self._thread(conversation), "user_id": conversation.user},
            callbacks=[self.books.wire],
        )
        stream = self.app.astream(given, config, stream_mode=["messages", "updates"], control=run)
        try:
            async for mode, chunk in stream:
                if mode == "messages":
                    self.screen.say(seat, chunk[0])
                else:
                    self.books.updates.append(repr(chunk))
        except Exception as error:  # a web service would answer with status 500
            if run.report.outcome not in ("error", "rejected"):
                raise
            self.books.errors.append(repr(error))
        return run

    def _thread(self, conversation: Conversation) -> str:
        return f"{self.prefix}-{conversation.thread}"
