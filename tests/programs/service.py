"""A service whose runs stumble once and then wait for a minute: `uvicorn tests.programs.service:api`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, Production, RunStreams

FOLDER = Path(os.environ["SERVICE_FOLDER"])


class State(TypedDict):
    name: str
    done: bool


async def stumble(state: State) -> dict[str, bool]:
    stumbled = FOLDER / state["name"]
    if not stumbled.exists():
        stumbled.touch()
        raise ConnectionError
    return {"done": True}


patient = RetryPolicy(initial_interval=60.0, jitter=False)
builder = StateGraph(State).add_node(stumble, retry_policy=patient).add_edge(START, "stumble")


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with Production(builder, [CaptureErrors()]) as graph:
        yield {"graph": graph}
    (FOLDER / f"closed by {os.getpid()}").touch()


api = FastAPI(lifespan=lifespan)
streams = RunStreams()


@api.post("/{name}/stream")
async def stream(name: str, request: Request) -> Any:
    config = {"configurable": {"thread_id": name}}
    return await streams.respond(request, request.state.graph, {"name": name}, config)


@api.post("/{name}")
async def run(name: str, request: Request) -> Any:
    config = {"configurable": {"thread_id": name}, "metadata": {"run_id": name}}
    return await request.state.graph.ainvoke({"name": name}, config)


@api.exception_handler(GraphDrained)
async def drained(request: Request, error: GraphDrained) -> JSONResponse:
    return JSONResponse({"error": "drained"}, 503, headers={"Retry-After": "1"})
