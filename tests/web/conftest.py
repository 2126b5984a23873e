"""Apps on a real server, and a client that reads server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import StreamWriter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.serving import free_port

from lg_prod_nodes import problem_handlers

Endpoint = Callable[[Request], Awaitable[Response]]
SECONDS = 60.0


@asynccontextmanager
async def served(endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that answers everything by one endpoint, on a real server."""
    routes = [Route("/{thread}", endpoint, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]
    app = Starlette(routes=routes, exception_handlers=problem_handlers())
    server = uvicorn.Server(
        uvicorn.Config(app, port=free_port(), log_level="error", lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    url = f"http://127.0.0.1:{server.config.port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=SECONDS) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


@dataclass
class Received:
    """A server-sent event."""

    id: str = ""
    event: str = ""
    data: Any = None


async def events(response: httpx.Response) -> AsyncGenerator[Received, None]:
    received = Received()
    async with aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
        async for line in lines:
            name, _, value = line.partition(": ")
            if name in ("id", "event"):
                setattr(received, name, value)
            elif name == "data":
                received.data = json.loads(value)
            elif not line and received.event:
                yield received
                received = Received()


async def all_events(response: httpx.Response) -> list[Received]:
    return [event async for event in events(response)]


@dataclass
class Desk:
    """A graph that says a word at a time, each after a gate opened; `log` tells what became of its node."""

    words: int = 3
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gates = [asyncio.Event() for _ in range(self.words)]
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    def open(self, upto: int | None = None) -> None:
        for gate in self.gates[:upto]:
            gate.set()

    async def speak(self, state: MessagesState, writer: StreamWriter) -> Any:
        self.log.append("begins")
        self.began.set()
        try:
            for number, gate in enumerate(self.gates):
                await gate.wait()
                writer(number)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            self.ended.set()
        return {"messages": [("ai", "spoken")]}

    def answer(self, state: MessagesState) -> Any:
        return {"messages": [("ai", "answer")]}

    @property
    def builder(self) -> StateGraph[Any]:
        builder = StateGraph(MessagesState)
        builder.add_node("speak", self.speak)  # type: ignore[type-var]
        builder.add_node("answer", self.answer)
        return builder.add_edge(START, "speak").add_edge("speak", "answer")


@pytest.fixture
async def desk() -> Desk:
    return Desk()
