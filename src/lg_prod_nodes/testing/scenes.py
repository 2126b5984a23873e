"""One small graph for each law: its caller must see the same with and without policies."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Annotated, Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl, get_runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import Field
from typing_extensions import TypedDict

from lg_prod_nodes.testing.chat_model import FakeChatModel
from lg_prod_nodes.testing.ways import Runner, cancelled

Compile = Callable[..., Any]
"""Compiles a builder, bare or with policies around it."""

_THREAD = {"configurable": {"thread_id": "1"}}
_AT_ONCE = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)


class State(TypedDict):
    """The state of the graphs."""

    log: Annotated[list[str], operator.add]
    text: str


class Trouble(Exception):
    """An error that only the laws raise."""


def _builder(*nodes: tuple[str, Any], **options: Any) -> StateGraph[State]:
    builder = StateGraph(State)
    before = START
    for name, node in nodes:
        builder.add_node(name, node, **options).add_edge(before, name)
        before = name
    return builder


def _says(word: str) -> Any:
    return lambda state: {"log": [word]}


def result(runner: Runner, compile: Compile) -> Any:
    """Results, inputs and streams stay the same, and each node is called once."""
    calls: list[str] = []

    def first(state: State) -> Any:
        calls.append("first")
        get_stream_writer()("written")
        return {"log": ["first"], "text": state["text"] + "!"}

    inner = _builder(("inner", _says("inner"))).compile()
    builder = _builder(("first", first), ("nothing", lambda state: None), ("sub", inner))
    given = {"log": ["given"], "text": "alpha"}
    before = deepcopy(given)
    return runner.run(compile(builder), given), calls, given == before


def interrupts(runner: Runner, compile: Compile) -> Any:
    """An interrupt pauses the run, also in a subgraph or tool, and resumes with its answer."""

    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("may I?"))

    def asks(state: State) -> Any:
        return {"log": [interrupt("first?"), interrupt("second?")]}

    inner = _builder(("inner", asks)).compile()
    builder = _builder(
        ("asks", asks), ("sub", inner), ("tool", lambda _: {"log": [ask.invoke({})]})
    )
    graph = compile(builder, InMemorySaver())
    inputs: list[Any] = [{"log": []}, *(Command(resume=str(number)) for number in range(5))]
    return [runner.run(graph, given, _THREAD) for given in inputs]


def commands(runner: Runner, compile: Compile) -> Any:
    """A Command reaches its target, in its own graph and in the parent."""

    def goes(state: State) -> Any:
        return Command(goto="inside", update={"log": ["goes"]})

    def leaves(state: State) -> Any:
        return Command(graph=Command.PARENT, goto="after", update={"log": ["leaves"]})

    inner = StateGraph(State).add_node("goes", goes, destinations=("inside",))
    inner.add_node("inside", leaves).add_edge(START, "goes")
    builder = _builder(("sub", inner.compile())).add_node("after", _says("after"))
    return runner.run(compile(builder), {"log": []})


def sends(runner: Runner, compile: Compile) -> Any:
    """Each Send arrives with its input."""

    def work(state: State) -> Any:
        return {"log": [state["text"]]}

    builder = StateGraph(State).add_node("work", work)
    ways = [Send("work", {"text": text}) for text in ("a", "b", "c")]
    builder.add_conditional_edges(START, lambda state: ways, ["work"])
    seen = runner.run(compile(builder), {"log": []})
    return sorted(map(repr, seen)) if isinstance(seen, list) else seen  # they may end in any order


def errors(runner: Runner, compile: Compile) -> Any:
    """An error is raised unchanged, and not retried."""
    calls: list[str] = []

    def fails(state: State) -> Any:
        calls.append("called")
        raise Trouble("the law's own")

    return runner.run(compile(_builder(("fails", fails))), {"log": []}), calls


def retries(runner: Runner, compile: Compile) -> Any:
    """Retries are LangGraph's: as many as its policy allows, and the last outcome is the result."""
    calls: list[str] = []

    def fails_twice(state: State) -> Any:
        calls.append("called")
        if len(calls) < 3:
            raise Trouble
        return {"log": ["third"]}

    builder = _builder(("fails", fails_twice), retry_policy=_AT_ONCE)
    return runner.run(compile(builder), {"log": []}), calls


def handlers(runner: Runner, compile: Compile) -> Any:
    """A user's error handler receives the error, once."""

    def fails(state: State) -> Any:
        raise Trouble

    def handler(state: State) -> Any:
        return Command(goto="after", update={"log": ["handled"]})

    builder = _builder(("fails", fails), error_handler=handler).add_node("after", _says("after"))
    return runner.run(compile(builder), {"log": []})


def draining(runner: Runner, compile: Compile) -> Any:
    """A draining run stops after its superstep, and can be resumed."""

    def asks(state: State) -> Any:
        control = get_runtime().control
        assert control is not None
        control.request_drain("the law")
        return {"log": ["asked"]}

    graph = compile(_builder(("asks", asks), ("after", _says("after"))), InMemorySaver())
    stopped = runner.run(graph, {"log": []}, _THREAD, control=RunControl())
    return stopped, runner.run(graph, None, _THREAD)


def cancellations(runner: Runner, compile: Compile) -> Any:
    """A cancellation cancels the run, including what its node awaits."""
    if not runner.is_async:
        return None
    ended: list[str] = []

    async def begin(started: asyncio.Event) -> Any:
        async def endless(state: State) -> Any:
            try:
                started.set()
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        graph = compile(_builder(("endless", endless)))
        if runner.way == "ainvoke":
            return await graph.ainvoke({"log": []})
        return [item async for item in graph.astream({"log": []})]

    return cancelled(begin), ended


def stopping(runner: Runner, compile: Compile) -> Any:
    """A reader that stops early ends the run without an error."""
    if runner.way not in ("stream", "astream"):
        return None
    calls: list[str] = []

    def late(state: State) -> Any:
        calls.append("late")

    def writes(state: State) -> Any:
        get_stream_writer()("first")

    builder = _builder(("writes", writes), ("between", lambda state: None), ("late", late))
    return runner.first(compile(builder), {"log": []}), calls


class _Model(FakeChatModel):
    """A model that records when its stream is closed."""

    closed: list[str] = Field(default_factory=list)

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        try:
            yield from super()._pieces(messages)
        finally:
            self.closed.append("closed")


def models(runner: Runner, compile: Compile) -> Any:
    """A model's output arrives, whole or streamed; closing the stream closes the model's stream too."""
    model = _Model(replies=("one two", "three four", "five six"))

    def whole(state: State) -> Any:
        return {"log": [str(model.invoke("hi").content)]}

    def pieces(state: State) -> Any:
        return {"log": ["".join(str(chunk.content) for chunk in model.stream("hi"))]}

    def stops(state: State) -> Any:
        said: Any = model.stream("hi")
        next(said)
        said.close()
        return {"log": [f"{len(model.closed)} closed"]}

    builder = _builder(("whole", whole), ("pieces", pieces), ("stops", stops))
    seen = runner.run(compile(builder), {"log": []})
    return seen, len(model.closed)


def tools(runner: Runner, compile: Compile) -> Any:
    """A tool's results and errors arrive unchanged."""

    @tool
    def double(number: int) -> int:
        """Double a number."""
        if number < 0:
            raise Trouble("negative")
        return 2 * number

    def uses(state: State) -> Any:
        try:
            double.invoke({"number": -1})
        except Trouble as error:
            return {"log": [str(error), str(double.invoke({"number": 3}))]}

    return runner.run(compile(_builder(("uses", uses))), {"log": []})
