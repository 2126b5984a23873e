"""A graph for LangGraph Server that stumbles once and then waits for a minute, and the lifespan of its server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from starlette.applications import Starlette
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, GracefulShutdown, harden

STEPS = Path(__file__).parent / "steps"


class State(TypedDict):
    name: str
    done: bool


def note(step: str) -> int:
    """Write a step down; gives how often it has been written."""
    with STEPS.open("a", encoding="utf-8") as steps:
        steps.write(f"{step}\n")
    return STEPS.read_text(encoding="utf-8").count(step)


async def first(state: State) -> None:
    note("first")


async def second(state: State) -> dict[str, bool]:
    if note("second") == 1:
        raise ConnectionError
    return {"done": True}


policies = [CaptureErrors()]
patient = RetryPolicy(initial_interval=60.0, jitter=False)
builder = StateGraph(State).add_node(first).add_node(second, retry_policy=patient)
graph = harden(builder.add_edge(START, "first").add_edge("first", "second"), policies)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with GracefulShutdown(policies):
        yield


app = Starlette(lifespan=lifespan)
