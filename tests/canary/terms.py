"""Blocked terms on the surfaces of a graph, one to a run, since a run with one is refused."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command, Send, interrupt
from tests.canary.errors import Unknown
from tests.canary.graphs import Parcel, State
from tests.canary.models import Speaker, Whole, WholeTeller, cut
from tests.canary.site import Site
from tests.canary.values import TERMS
from tests.canary.ways import Way

Scene = Callable[["Terms", str], Any]


@dataclass
class Terms:
    """Graphs that each let a blocked term out on one surface; a scene gives a node's body or a whole graph."""

    site: Site
    received: list[Any] = field(default_factory=list)

    async def ask(self, kind: type[Whole], says: Any, given: Any = "hi", **options: Any) -> Any:
        said = says if isinstance(says, AIMessage) else AIMessage(says)
        model = kind(says=said, asked=self.received, **options)
        return await self.site.face.call(model, "invoke", given)


def in_text_of_model(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return {"messages": [await terms.ask(Speaker, f"well, {term} it is", most=5)]}

    return node


def in_whole_text_of_model(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return {"messages": [await terms.ask(Whole, f"well, {term} it is")]}

    return node


def in_tokens_told(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return {"messages": [await terms.ask(WholeTeller, f"well, {term} it is")]}

    return node


def in_blocks_of_model(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        blocks: list[Any] = [
            {"type": "reasoning", "reasoning": f"{term} or not", "index": 0},
            {"type": "text", "text": "no", "index": 1},
        ]
        return {"messages": [await terms.ask(Speaker, AIMessage(blocks))]}

    return node


def in_arguments_of_model(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        call = {"name": "x", "id": "1", "args": {"q": f"{term}, please"}}
        return {"messages": [await terms.ask(Speaker, AIMessage("", tool_calls=[call]))]}

    return node


def in_what_a_model_is_asked(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return {"messages": [await terms.ask(Whole, "no", [HumanMessage(f"what of {term}?")])]}

    return node


def in_a_tool_message(terms: Terms, term: str) -> Any:
    @tool
    def tells(who: str) -> str:
        """Tell."""
        return f"they say {term}"

    return _calling(terms, tells)


def in_output_of_a_tool(terms: Terms, term: str) -> Any:
    @tool
    def tells(who: str, runtime: ToolRuntime) -> str:
        """Tell."""
        for piece in cut(f"they say {term} today", "term"):
            runtime.emit_output_delta(piece)
        return "told"

    return _calling(terms, tells)


def _calling(terms: Terms, tells: BaseTool) -> Any:
    async def sends(state: State) -> Any:
        call = {"name": "tells", "id": "t", "args": {"who": "x"}, "type": "tool_call"}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    builder = StateGraph(State).add_node("sends", terms.site.face.node(sends))
    builder.add_node("tools", ToolNode([tells])).add_edge(START, "sends")
    return builder.add_edge("sends", "tools")


def in_a_result(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return {"log": [{"deep": (f"a {term}",)}], "profile": {"parcel": Parcel(f"{term} road")}}

    return node


def in_a_command(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        return Command(update={"text": f"a {term}"})

    return node


def in_a_send(terms: Terms, term: str) -> Any:
    async def edge(state: State) -> Any:
        return Send("worker", {"text": f"a {term}"})

    async def worker(state: State) -> Any:
        return {"log": ["worked"]}

    builder = StateGraph(State).add_node("worker", terms.site.face.node(worker))
    return builder.add_conditional_edges(START, terms.site.face.node(edge), ["worker"])


def in_the_custom_stream(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        get_stream_writer()({"say": f"a {term} here"})
        for piece in cut(f"and a {term} there", "custom"):
            get_stream_writer()(piece)

    return node


def in_a_custom_event(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        await terms.site.face.dispatch("progress", {"say": f"a {term} here"})

    return node


def in_the_store(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        await terms.site.face.put(f"key {id(terms)}", {"say": f"a {term} here"})

    return node


def in_an_interrupt(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        interrupt({"say": f"a {term} here"})

    return node


def in_an_error(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        raise Unknown(f"the {term}")

    return node


def in_a_subgraph(terms: Terms, term: str) -> Any:
    child = StateGraph(State).add_node("inner", terms.site.face.node(in_a_result(terms, term)))
    builder = StateGraph(State).add_node("child", child.add_edge(START, "inner").compile())
    return builder.add_edge(START, "child")


def in_a_called_graph(terms: Terms, term: str) -> Any:
    async def node(state: State) -> Any:
        body = in_the_custom_stream(terms, term)
        child = StateGraph(State).add_node("inner", terms.site.face.node(body))
        graph = child.add_edge(START, "inner").compile()
        await terms.site.face.call(graph, "invoke", {"text": f"a {term}"})

    return node


SCENES: tuple[Scene, ...] = (
    *(in_text_of_model, in_whole_text_of_model, in_tokens_told, in_blocks_of_model),
    *(in_arguments_of_model, in_what_a_model_is_asked, in_a_tool_message, in_output_of_a_tool),
    *(in_a_result, in_a_command, in_a_send, in_the_custom_stream, in_a_custom_event),
    *(in_the_store, in_an_interrupt, in_an_error, in_a_subgraph, in_a_called_graph),
)

INPUTS: dict[str, Callable[[str], Any]] = {
    "input: message": lambda term: {"messages": [("user", f"what of {term}?")]},
    "input: text": lambda term: {"text": f"what of {term}?"},
    "input: deep": lambda term: {"profile": {"a": [{"b": f"what of {term}?"}]}},
    "input: JSON": lambda term: {"text": json.dumps({"q": f"what of {term}?"})},
    "input: key": lambda term: {"profile": {f"the {term}": 1}},
    "input: tool message": lambda term: {
        "messages": [ToolMessage(f"a {term}", tool_call_id="1", artifact=[f"a {term}"])]
    },
    "input: system message": lambda term: {"messages": [SystemMessage(f"no {term}")]},
    "input: split over blocks": lambda term: {
        "messages": [HumanMessage([{"type": "text", "text": part} for part in cut(f"a {term}", 1)])]
    },
}


async def run_terms(site: Site, ways: list[Way]) -> None:
    """Run each scene, and each input, in some ways."""
    terms = Terms(site)

    async def listens(state: State) -> Any:
        return {"messages": [await terms.ask(Whole, "no", state.get("messages") or "hi")]}

    for way in ways:
        for scene in SCENES:
            surface = scene.__name__.replace("_", " ")
            made = scene(terms, site.plants.add(_term(surface), "BLOCKED", surface))
            await _run(site, way, _graph(site, made), {"log": []}, surface)
        for surface, make in INPUTS.items():
            term = site.plants.add(_term(surface), "BLOCKED", surface)
            await _run(site, way, _graph(site, listens), make(term), surface)
    site.evidence.add("received by models and tools", *terms.received)


def _graph(site: Site, made: StateGraph[Any] | Callable[..., Awaitable[Any]]) -> StateGraph[Any]:
    if isinstance(made, StateGraph):
        return made
    return StateGraph(State).add_node("node", site.face.node(made)).add_edge(START, "node")


async def _run(site: Site, way: Way, graph: StateGraph[Any], given: Any, surface: str) -> None:
    await site.run(way, site.compile(graph), given, thread=surface, fails=True)
    await site.look_back(way, site.compile(graph), thread=surface)


def _term(surface: str) -> str:
    """A phrase of two words that stands on one surface only."""
    at = _surfaces().index(surface)
    return f"{TERMS[at % len(TERMS)]} {TERMS[(at // len(TERMS) + at + 1) % len(TERMS)]}"


def _surfaces() -> list[str]:
    return [*(scene.__name__.replace("_", " ") for scene in SCENES), *INPUTS]


BLOCKED = tuple(f"{first} {second}" for first in TERMS for second in TERMS if first != second)
"""All the phrases."""
