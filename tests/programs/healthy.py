"""A service that tells of its health: `uvicorn healthy:api`. `/hang` and `/mend` make a dependency silent and well."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from langgraph.graph import START, MessagesState, StateGraph

from lg_prod_nodes import Health, Production, RateLimit, health_app

well = threading.Event()
well.set()


async def node(state: MessagesState) -> dict[str, Any]:
    await asyncio.sleep(float(state["messages"][-1].text))
    return {"messages": [("assistant", "hello")]}


builder = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
production = Production(builder, [RateLimit("1000/day")], postgres=os.environ["DSN"], grace=20.0)
health = Health(
    production, checks={"search": well.wait}, timeout=1.0, slow=0.9, max_age=0.05, max_lag=1.0
)


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with production as graph:
        yield {"graph": graph}


api = FastAPI(lifespan=lifespan)


@api.get("/run/{seconds}")
async def run(seconds: str) -> str:
    assert production.app is not None
    config: Any = {"configurable": {"thread_id": seconds}}
    await production.app.ainvoke({"messages": [("user", seconds)]}, config)
    return "done"


@api.get("/hang")
async def hang() -> int:
    well.clear()
    return threading.active_count()


@api.get("/mend")
async def mend() -> int:
    well.set()
    return threading.active_count()


@api.get("/block/{seconds}")
async def block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251  what a service must not do


api.mount("", health_app(health))
