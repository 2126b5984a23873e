"""Scripts that are asked to end: `python script.py running|waiting|caught|group|forked|stubborn`. Each says `ready`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from lg_prod_nodes import CaptureErrors, GracefulShutdown, harden

logging.basicConfig(level="INFO", stream=sys.stdout)


class State(TypedDict):
    said: str


def fail(state: State) -> None:
    print("ready", flush=True)
    raise ConnectionError


patient = RetryPolicy(initial_interval=60.0, jitter=False)
builder = StateGraph(State).add_node("fail", fail, retry_policy=patient).add_edge(START, "fail")
graph = harden(builder, [CaptureErrors()]).compile(checkpointer=InMemorySaver())


def run() -> None:
    graph.invoke({"said": "hi"}, {"configurable": {"thread_id": "1"}})


def wait() -> None:
    print("ready", flush=True)
    time.sleep(60)


async def run_in_group() -> None:
    async with GracefulShutdown(), asyncio.TaskGroup() as tasks:
        tasks.create_task(graph.ainvoke({"said": "hi"}, {"configurable": {"thread_id": "1"}}))


match sys.argv[1]:
    case "group":
        asyncio.run(run_in_group())
    case "running":
        with GracefulShutdown():
            run()
    case "waiting":
        with GracefulShutdown():
            wait()
    case "caught":
        with GracefulShutdown():
            with suppress(GraphDrained):
                run()
            time.sleep(60)
    case "stubborn":
        with GracefulShutdown():
            while True:
                with suppress(BaseException):
                    wait()
    case _:
        with GracefulShutdown():
            if (child := os.fork()) == 0:
                wait()
                os._exit(0)
            time.sleep(0.5)
            os.kill(child, signal.SIGTERM)
            _, status = os.waitpid(child, 0)
            sys.exit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 99)
