"""A graph that waits for a person, and is told things from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, StateUpdate, interrupt
from tests.canary.graphs import Parcel, State
from tests.canary.models import Speaker
from tests.canary.site import Site, on_thread
from tests.canary.ways import Way


@dataclass
class Talk:
    """A conversation with pauses: turns, updates, answers, and a branch from its past."""

    site: Site
    received: list[Any] = field(default_factory=list)

    def builder(self) -> StateGraph[Any]:
        """The graph."""
        face, text = self.site.face, self.site.plants.text

        async def asks(state: State) -> Any:
            if not state.get("text"):
                return {}
            answer = interrupt({"question": text("interrupt: payload"), "to": [state["text"]]})
            return {"log": [answer, text("after an interrupt: node result")]}

        async def answers(state: State) -> Any:
            said = AIMessage(text("talk: model output"))
            model = Speaker(says=said, asked=self.received, seed="talk")
            prompt = SystemMessage(text("talk: system message"))
            return {"messages": [await face.call(model, "invoke", [prompt, *state["messages"]])]}

        @tool
        def confirms(who: str) -> str:
            """Ask a person."""
            self.received.append(who)
            return f"they said {interrupt(text('interrupt in a tool: payload'))}"

        async def edge(state: State) -> Any:
            args = {"who": text("interrupted tool: args")}
            return Send(
                "tools", [{"type": "tool_call", "name": "confirms", "id": "call-c", "args": args}]
            )

        async def inner(state: State) -> Any:
            answer = interrupt(text("interrupt in a subgraph: payload"))
            return {"log": [answer, text("interrupted subgraph: node result")]}

        child = StateGraph(State).add_node("inner", face.node(inner)).add_edge(START, "inner")
        builder = StateGraph(State).add_node("asks", face.node(asks))
        builder.add_node("answers", face.node(answers)).add_node("child", child.compile())
        builder.add_node("tools", ToolNode([confirms])).add_edge(START, "asks")
        builder.add_edge("asks", "answers").add_edge("answers", "child")
        return builder.add_conditional_edges("child", face.node(edge), ["tools"])

    async def hold(self, way: Way, **options: Any) -> None:
        """Go through the whole conversation in one way."""
        site, text = self.site, self.site.plants.text
        graph = site.compile(self.builder())
        config = {"configurable": on_thread(way)}

        async def turn(given: Any) -> None:
            await site.run(way, graph, given)

        await turn({"messages": [("user", text("talk: first turn"))], "text": text("talk: text")})
        await site.look_back(way, graph)
        await turn(Command(resume=text("resume: value")))
        await turn(Command(resume={"said": [text("resume: dict")]}))
        state = await site.face.call(graph, "get_state", config)
        [waiting] = state.interrupts
        resume = {waiting.id: text("resume: by id")}
        await turn(Command(resume=resume, update={"log": [text("resume: with an update")]}))
        await site.look_back(way, graph)
        await turn({"messages": [HumanMessage(text("talk: second turn"))], "text": ""})
        await self._update(graph, config)
        await turn(None)
        await site.look_back(way, graph)
        await self._branch(graph, config)
        site.evidence.add("received by models and tools", *self.received)

    async def _update(self, graph: Any, config: Any) -> None:
        """Tell things from outside, while the graph waits."""
        face, text = self.site.face, self.site.plants.text
        update = {
            "messages": [("user", text("update_state: message"))],
            "log": [text("update_state: list")],
            "profile": {"parcel": Parcel(text("update_state: dataclass"))},
        }
        noted = {**config, "metadata": {"note": text("update_state: metadata")}}
        told = await face.call(graph, "update_state", noted, update, as_node="child")
        self.site.evidence.add("what update_state gives", told)
        bulk = [
            [StateUpdate({"log": [text("bulk_update_state: first")]}, "answers")],
            [
                StateUpdate({"log": [text("bulk_update_state: second")]}, "asks"),
                StateUpdate({"log": [text("bulk_update_state: beside it")]}, "answers"),
            ],
        ]
        await face.call(graph, "bulk_update_state", {"configurable": {"thread_id": "bulk"}}, bulk)
        given = {"log": [text("update_state: as input")]}
        await face.call(
            graph, "update_state", {"configurable": {"thread_id": "in"}}, given, "__input__"
        )

    async def _branch(self, graph: Any, config: Any) -> None:
        """Go on from an earlier checkpoint, with another message."""
        face, text = self.site.face, self.site.plants.text
        history = await face.all(graph, "get_state_history", config)
        update = {"messages": [ToolMessage(text("fork: message"), tool_call_id="f")]}
        place = await face.call(graph, "update_state", history[-2].config, update, as_node="asks")
        result = await face.call(graph, "invoke", None, place)
        self.site.evidence.add("result of a fork", result)
