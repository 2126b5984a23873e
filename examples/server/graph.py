"""A desk that refunds orders after a person approves, for LangGraph Server.

    cd examples
    DATABASE_URL=postgresql://user:password@host:5432/database langgraph dev --n-jobs-per-worker 10

Checkpoints and store live in that database: `langgraph.json` names their factories.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command, interrupt

from lg_prod_nodes import CaptureErrors, RateLimit, Redact, by_user, harden


class ScriptedModel(BaseChatModel):
    """In place of a provider: requests a refund if the user does, echoes everything else, word by word."""

    seconds_per_word: float = 0.05

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_reply(messages[-1]))])

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        reply = _reply(messages[-1])
        for word in re.findall(r"\s*\S+", reply.text):
            await asyncio.sleep(self.seconds_per_word)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        last = AIMessageChunk(content="", tool_calls=reply.tool_calls, chunk_position="last")
        yield ChatGenerationChunk(message=last)


def _reply(question: BaseMessage) -> AIMessage:
    if question.type == "human" and (wish := re.search(r"refund (\w+)\W*(.*)", question.text)):
        order, reason = wish.groups()
        args = {"order": order, "reason": reason}
        return AIMessage("", tool_calls=[{"name": "refund", "args": args, "id": f"call-{order}"}])
    return AIMessage(f"You said: {question.text}")


@tool
async def refund(order: str, reason: str, runtime: ToolRuntime) -> str:
    """Refund an order."""
    if runtime.store is not None:
        await runtime.store.aput(("refunds",), order, {"reason": reason})
    return f"order {order} is refunded"


async def answer(state: MessagesState) -> Command[Literal["approve", "__end__"]]:
    reply = await ScriptedModel().ainvoke(state["messages"])
    return Command(update={"messages": reply}, goto="approve" if reply.tool_calls else "__end__")


def approve(state: MessagesState) -> Command[Literal["refund", "answer"]]:
    calls = cast(AIMessage, state["messages"][-1]).tool_calls
    if interrupt({"refund": [call["args"] for call in calls]}) == "yes":
        return Command(goto="refund")
    refusal = [ToolMessage("refused", tool_call_id=call["id"]) for call in calls]
    return Command(update={"messages": refusal}, goto="answer")


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_node("approve", approve)
builder.add_node("refund", ToolNode([refund]))
builder.add_edge(START, "answer")
builder.add_edge("refund", "answer")

policies = [CaptureErrors(), RateLimit("5/minute", by=by_user, anonymous="share"), Redact()]
graph = harden(builder, policies)
