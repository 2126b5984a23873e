"""Graphs that are made in other ways: `create_agent`, `@entrypoint`, states that are objects, graphs with policies."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ConfigDict, Field
from tests.canary.graphs import Card, Parcel
from tests.canary.models import Speaker, cut
from tests.canary.site import Site
from tests.canary.values import Plants
from tests.canary.ways import Way

from lg_prod_nodes import Redact, harden


class Meddler(AgentMiddleware[Any, Any, Any]):
    """Adds to everything that an agent does."""

    def __init__(self, plants: Plants) -> None:
        super().__init__()
        self._text = plants.text

    def before_model(self, state: Any, runtime: Any) -> Any:
        return {"messages": [HumanMessage(self._text("middleware: before_model"))]}

    def after_model(self, state: Any, runtime: Any) -> Any:
        get_stream_writer()(self._text("middleware: custom stream"))

    def _request(self, request: Any) -> Any:
        further = HumanMessage(self._text("middleware: message added to a request"))
        return request.override(messages=[*request.messages, further])

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(self._request(request))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return await handler(self._request(request))

    def _result(self, message: Any) -> Any:
        if isinstance(message, ToolMessage):
            return message.model_copy(update={"content": self._text("middleware: tool message")})
        return message

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return self._result(handler(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return self._result(await handler(request))


@dataclass
class Agency:
    """An agent with tools, middleware and a structured response."""

    site: Site
    received: list[Any] = field(default_factory=list)

    def agent(self) -> Any:
        """The agent."""
        text, number = self.site.plants.text, self.site.plants.number

        @tool
        def looks_up(who: str, runtime: ToolRuntime) -> str:
            """Look up."""
            self.received.append(who)
            for piece in cut(text("agent: output delta"), "agent"):
                runtime.emit_output_delta(piece)
            return text("agent: tool result")

        @tool
        def updates(who: str, runtime: ToolRuntime) -> Any:
            """Update the state."""
            answer = ToolMessage(
                text("agent: Command of a tool"), tool_call_id=runtime.tool_call_id
            )
            return Command(update={"messages": [answer]})

        tools = [looks_up, updates]
        calls = [
            {
                "name": each.name,
                "id": each.name,
                "args": {"who": text(f"agent: args of {each.name}")},
            }
            for each in tools
        ]
        card = {
            "holder": text("agent: structured response"),
            "number": number("agent: structured number"),
            "remarks": [],
        }
        model = Answering(
            says=AIMessage(text("agent: model output"), tool_calls=calls),
            card={"name": "Card", "id": "card", "args": card},
            asked=self.received,
            seed="agency",
        )
        agent = create_agent(
            model,
            tools,
            system_prompt=text("agent: system prompt"),
            middleware=[
                Meddler(self.site.plants),
                HumanInTheLoopMiddleware(interrupt_on={"looks_up": True}),
            ],
            response_format=ToolStrategy(Loose),
            checkpointer=self.site.saver,
        )
        return self.site.harden(agent)

    async def ask(self, way: Way) -> None:
        """Ask it in one way."""
        text = self.site.plants.text
        agent = self.agent()
        await self.site.run(way, agent, {"messages": [("user", text("agent: input"))]})
        await self.site.look_back(way, agent)
        edit = {
            "type": "edit",
            "edited_action": {
                "name": "looks_up",
                "args": {"who": text("agent: edited by a person")},
            },
        }
        await self.site.run(way, agent, Command(resume={"decisions": [edit]}))
        await self.site.look_back(way, agent)
        self.site.evidence.add("received by models and tools", *self.received)


class Loose(BaseModel):
    """A structured response whose number may have become a text."""

    model_config = ConfigDict(title="Card")

    holder: str
    number: int | str
    remarks: list[str] = []


class Answering(Speaker):
    """Calls its tools first, then answers with a card."""

    card: Any = Field(default=None, repr=False)

    def _next(self, messages: Any) -> AIMessage:
        said = super()._next(messages)
        if any(message.type == "tool" for message in messages):
            return AIMessage("", tool_calls=[{**self.card, "name": "Loose"}])
        return said


def functional(site: Site) -> Any:
    """A workflow of the functional API."""
    face, text = site.face, site.plants.text

    async def work(given: Any) -> Any:
        return {"said": text("entrypoint: task result")}

    async def flow(given: Any, *, previous: Any = None) -> Any:
        get_stream_writer()(text("entrypoint: custom stream"))
        future = task(face.node(work))(text("entrypoint: task argument"))
        done = await future if face.is_async else future.result()
        answer = interrupt(text("entrypoint: interrupt"))
        value = [done, answer, text("entrypoint: result"), previous]
        return entrypoint.final(value=value, save=text("entrypoint: saved"))

    return entrypoint(checkpointer=site.saver, store=site.store)(face.node(flow))


async def run_functional(site: Site, way: Way) -> None:
    """Run a workflow twice on a thread."""
    text = site.plants.text
    graph = site.harden(functional(site))
    for _ in range(2):
        given = {"messages": [text("entrypoint: input")], "deep": {"a": [text("entrypoint: deep")]}}
        await site.run(way, graph, given)
        await site.run(way, graph, Command(resume=text("entrypoint: resume")))
        await site.look_back(way, graph)


class ModelState(BaseModel):
    """A state that is a pydantic model."""

    messages: Annotated[list[AnyMessage], add_messages] = []
    text: str = ""
    parcel: Parcel | None = None
    card: Card | None = None
    log: Annotated[list[Any], operator.add] = []


@dataclass
class ObjectState:
    """A state that is a dataclass."""

    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    text: str = ""
    parcel: Parcel | None = None
    card: Card | None = None
    log: Annotated[list[Any], operator.add] = field(default_factory=list)


async def run_objects(site: Site, way: Way, schema: type[Any]) -> None:
    """Run a graph whose state is an object."""
    name, text = schema.__name__, site.plants.text

    async def works(state: Any) -> Any:
        return schema(
            text=text(f"{name}: node result"),
            parcel=Parcel(text(f"{name}: dataclass in it")),
            log=[text(f"{name}: list in it")],
        )

    builder = StateGraph(schema).add_node("works", site.face.node(works)).add_edge(START, "works")
    graph = site.compile(builder)
    given = schema(
        messages=[HumanMessage(text(f"{name}: message"))],
        text=text(f"{name}: text"),
        parcel=Parcel(text(f"{name}: dataclass"), {"to": text(f"{name}: dict in a dataclass")}),
        card=Card(holder=text(f"{name}: model"), number=1, remarks=[text(f"{name}: list")]),
        log=[text(f"{name}: log")],
    )
    await site.run(way, graph, given, thread=name)
    await site.look_back(way, graph, thread=name)


async def run_owned(site: Site, way: Way) -> None:
    """Run a graph of the site's policies around a subgraph that has policies of its own."""
    text = site.plants.text

    async def inner(state: Any) -> Any:
        return {"log": [text("owned subgraph: node result")], "text": ""}

    child = StateGraph(ModelState).add_node("inner", site.face.node(inner))
    child.add_edge(START, "inner")
    owned = harden(child, [Redact("US_SSN")]) if site.policies else child
    builder = StateGraph(ModelState).add_node("child", owned.compile())
    builder.add_edge(START, "child")
    given = {"log": [text("owned subgraph: input")]}
    await site.run(way, site.compile(builder), given, thread="owned")
