"""A service with a metered graph, for several workers: `uvicorn metered:app --workers 2`, or gunicorn's."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lg_prod_nodes import Metrics, harden, metrics_text


async def node(state: MessagesState) -> dict[str, Any]:
    if state["messages"][-1].text == "hang":
        await asyncio.Event().wait()
    return {"messages": [("assistant", "hello")]}


builder = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
graph = harden(builder, [Metrics()]).compile(name="desk")


async def ask(request: Request) -> PlainTextResponse:
    await graph.ainvoke({"messages": [("user", request.query_params["text"])]})
    return PlainTextResponse(str(os.getpid()))


async def pid(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(os.getpid()))


async def metrics(request: Request) -> PlainTextResponse:
    return PlainTextResponse(metrics_text())


app = Starlette(routes=[Route("/ask", ask), Route("/pid", pid), Route("/metrics", metrics)])
