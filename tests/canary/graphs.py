"""Graphs that let a planted value out on every surface that a graph has."""

from __future__ import annotations

import inspect
import json
import operator
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableGenerator
from langchain_core.tools import ToolException, tool
from langgraph.config import get_stream_writer
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.runtime import get_runtime
from langgraph.types import Command, RetryPolicy, Send
from pydantic import BaseModel
from tests.canary.faces import Face
from tests.canary.models import (
    AsyncSpeaker,
    Completing,
    Native,
    Speaker,
    Teller,
    Whole,
    WholeTeller,
    cut,
)
from tests.canary.values import Plants
from typing_extensions import TypedDict

AGAIN = RetryPolicy(max_attempts=2, initial_interval=0, jitter=False, retry_on=lambda error: True)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**(old or {}), **new}


def latest(old: Any, new: Any) -> Any:
    return new


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    text: Annotated[str, latest]
    phone: Annotated[str, latest]
    number: Annotated[Any, latest]
    profile: Annotated[dict[str, Any], merged]
    log: Annotated[list[Any], operator.add]


class Card(BaseModel):
    """A structured response."""

    holder: str
    number: int
    remarks: list[str] = []


@dataclass
class Parcel:
    """A value in state that is an object of the user's."""

    address: str
    contact: dict[str, str] = field(default_factory=dict)


@dataclass
class Desk:
    """A graph whose nodes each let out what is planted on their surfaces, all in one step.

    Attributes:
        received: What models and tools were given.
        cache: Where a model keeps its answers.
    """

    plants: Plants
    face: Face
    received: list[Any] = field(default_factory=list)
    cache: InMemoryCache = field(default_factory=InMemoryCache)

    def parts(self) -> list[str]:
        """What the graph may consist of, side by side."""
        nodes = [name.removeprefix("node_") for name in dir(self) if name.startswith("node_")]
        return [*nodes, "tools", "child", "keeper", "stateless"]

    def builder(self, *parts: str) -> StateGraph[Any]:
        """The graph, of all its parts or of some."""
        node = self.face.node
        builder = StateGraph(State).add_node("worker", node(self.worker))
        self._older_model().invoke("well known")
        for name in parts or self.parts():
            if name == "tools":
                builder.add_node(name, ToolNode(self.tools(), handle_tool_errors=True))
                builder.add_conditional_edges(START, node(self.edge_from_start), [name, "worker"])
                continue
            if name in ("child", "keeper", "stateless"):
                memory = {"child": None, "keeper": True, "stateless": False}[name]
                graph = getattr(self, name)().compile(checkpointer=memory)
                builder.add_node(name, graph)
            else:
                body = getattr(self, f"node_{name}")
                if inspect.isgeneratorfunction(body):
                    made = self.anode_yields if self.face.is_async else body
                else:
                    made = node(body)
                builder.add_node(name, made, retry_policy=AGAIN)
            builder.add_edge(START, name)
            if edge := getattr(self, f"edge_of_{name}", None):
                builder.add_conditional_edges(name, node(edge), ["worker"])
        return builder

    def input(self) -> dict[str, Any]:
        """What the graph is called with."""
        text, value = self.plants.text, self.plants.value
        call = {"name": "look_up", "id": "call-in", "args": {"who": text("input: tool-call args")}}
        bad = {"name": "look_up", "id": "call-bad", "error": None, "type": "invalid_tool_call"}
        return {
            "messages": [
                ("user", text("input: message tuple")),
                {"role": "user", "content": text("input: message dict")},
                HumanMessage(text("input: message object")),
                SystemMessage(text("input: system message")),
                HumanMessage(
                    [
                        {"type": "text", "text": text("input: content block")},
                        text("input: bare block"),
                    ]
                ),
                HumanMessage("hi", name=value("input: message name")),
                AIMessage(
                    "looking",
                    tool_calls=[call],
                    invalid_tool_calls=[{**bad, "args": text("input: invalid tool call")}],
                    additional_kwargs={"reasoning_content": text("input: additional_kwargs")},
                    response_metadata={"note": text("input: response_metadata")},
                ),
                ToolMessage(
                    text("input: tool message"),
                    tool_call_id="call-in",
                    artifact={"rows": [text("input: artifact")]},
                ),
                HumanMessage([{"type": "text", "text": piece} for piece in self._split()]),
            ],
            "text": text("input: plain text"),
            "phone": self._digits("input: number under its key"),
            "number": self.plants.number("input: big integer"),
            "profile": {
                "nested": {"deep": [text("input: nested list"), (text("input: tuple"),)]},
                value("input: dict key"): "known",
                "card": {"number": self.plants.number("input: integer in a dict")},
                "parcel": Parcel(text("input: dataclass value"), {"to": text("input: inside it")}),
                "model": Card(holder=text("input: pydantic value"), number=1),
                "json": self.plants.json("input: JSON text"),
                "json in json": json.dumps({"inner": self.plants.json("input: JSON in JSON")}),
                "set": {text("input: set")},
            },
            "log": [text("input: reduced list")],
        }

    def _split(self) -> list[str]:
        return cut(self.plants.value("input: neighbouring blocks"), "blocks")

    def _digits(self, surface: str) -> str:
        number = f"212555{1000 + len(surface) * 37 % 9000:04}"
        return self.plants.add(number, "PHONE_NUMBER", surface)

    def config(self) -> dict[str, Any]:
        """What the caller configures."""
        text, value = self.plants.text, self.plants.value
        return {
            "metadata": {"note": text("config: metadata"), "tree": [text("config: deep metadata")]},
            "tags": [value("config: tag"), value("config: another tag", "SECRET")],
            "run_name": f"run of {value('config: run_name')}",
            "configurable": {
                "who": text("config: configurable"),
                "account": self.plants.number("config: configurable integer"),
                "tree": {"note": [text("config: deep configurable")]},
            },
        }

    # Models ---------------------------------------------------------------------------------------

    def _model(self, kind: type[Whole], says: AIMessage, **options: Any) -> Whole:
        return kind(says=says, asked=self.received, **options)

    async def _asked(self, kind: type[Whole], says: AIMessage, **options: Any) -> Any:
        return await self.face.call(self._model(kind, says, **options), "invoke", "go on")

    async def node_chats(self, state: State) -> Any:
        text = self.plants.text
        said = AIMessage(text("model output: text"), name="bot")
        model = self._model(AsyncSpeaker if self.face.is_async else Speaker, said)
        further = [
            SystemMessage(text("model input: system message")),
            *state["messages"],
            HumanMessage(text("model input: further message")),
            HumanMessage([{"type": "text", "text": text("model input: content block")}]),
        ]
        return {"messages": [await self.face.call(model, "invoke", further)]}

    async def node_asks_whole(self, state: State) -> Any:
        text = self.plants.text
        said = AIMessage(text("model output: at once"))
        call = {"name": "x", "id": "c", "args": {"a": text("model output: args at once")}}
        said.tool_calls = [{**call, "type": "tool_call"}]
        said.additional_kwargs = {"reasoning_content": text("model output: reasoning at once")}
        said.response_metadata = {"quote": text("model output: response_metadata")}
        return {"messages": [await self._asked(Whole, said)]}

    async def node_asks_blocks(self, state: State) -> Any:
        text = self.plants.text
        with_index = [
            {"type": "text", "text": text("model output: indexed block"), "index": 0},
            {"type": "reasoning", "reasoning": text("model output: reasoning"), "index": 1},
            {"type": "thinking", "thinking": text("model output: thinking"), "index": 2},
        ]
        without = [{"type": "text", "text": text("model output: block without index")}]
        neighbours = [
            {"type": "text", "text": piece, "index": at}
            for at, piece in enumerate(
                cut(self.plants.value("model output: neighbouring blocks"), 3)
            )
        ]
        bare = ["well, ", text("model output: bare block")]
        said = [
            await self._asked(Speaker, AIMessage(content))
            for content in (with_index, without, neighbours, bare)
        ]
        return {"messages": said}

    async def node_asks_arguments(self, state: State) -> Any:
        text, json_of = self.plants.text, self.plants.json
        streamed = {"who": text("model output: tool_call_chunks")}
        wire = {"q": text("model output: arguments in additional_kwargs"), "n": 1}
        at_once = {
            "index": 0,
            "id": "w",
            "type": "function",
            "function": {"name": "x", "arguments": json_of("model output: JSON arguments")},
        }
        reasoning = {"reasoning_content": text("model output: reasoning_content")}
        said = [
            await self._asked(
                Speaker,
                AIMessage("", tool_calls=[{"name": "x", "id": "s", "args": streamed}]),
                seed="args",
            ),
            await self._asked(
                Speaker,
                AIMessage(
                    "",
                    tool_calls=[{"name": "x", "id": "k", "args": wire}],
                    additional_kwargs={"tool_calls": []},
                ),
            ),
            await self._asked(Whole, AIMessage("", additional_kwargs={"tool_calls": [at_once]})),
            await self._asked(Speaker, AIMessage("yes", additional_kwargs=reasoning)),
        ]
        return {"messages": said}

    async def node_asks_native(self, state: State) -> Any:
        text = self.plants.text
        call = {"name": "x", "id": "n", "args": {"who": text("model output: native arguments")}}
        blocks: list[Any] = [
            {"type": "reasoning", "reasoning": text("model output: native reasoning"), "index": 0},
            {"type": "text", "text": text("model output: native text"), "index": 1},
        ]
        said = [AIMessage(blocks), AIMessage("", tool_calls=[call])]
        return {"messages": [await self._asked(Native, each, seed="native") for each in said]}

    async def node_asks_teller(self, state: State) -> Any:
        said = AIMessage(self.plants.text("model output: told by itself"))
        return {"messages": [await self._asked(Teller, said)]}

    async def node_asks_whole_teller(self, state: State) -> Any:
        said = AIMessage(self.plants.text("model output: told by itself, at once"))
        return {"messages": [await self._asked(WholeTeller, said)]}

    async def node_reads_streams(self, state: State) -> Any:
        said = AIMessage(self.plants.text("model output: streamed by the node"))
        model = self._model(Speaker, said)
        pieces = await self.face.all(model, "stream", "go on")
        write = get_stream_writer()
        for piece in pieces:
            write({"piece": piece.text})
        return {"log": ["".join(piece.text for piece in pieces)]}

    async def node_asks_events(self, state: State) -> Any:
        said = AIMessage(self.plants.text("model output: events v3"))
        model = self._model(Speaker, said)
        if self.face.is_async:
            stream = await model.astream_events("go on", version="v3")
            return {"messages": [await stream.output]}
        return {"messages": [model.stream_events("go on", version="v3").output]}

    async def node_asks_in_batches(self, state: State) -> Any:
        said = AIMessage(self.plants.text("model output: batch"))
        asked = self.plants.text("model input: batch")
        answers = await self.face.call(self._model(Speaker, said), "batch", [asked, "hi"])
        return {"log": [answer.text for answer in answers]}

    async def node_is_structured(self, state: State) -> Any:
        said = AIMessage(
            json.dumps(
                {
                    "holder": self.plants.text("structured response: text"),
                    "number": self.plants.number("structured response: integer"),
                }
            )
        )
        answer = await self._asked(Whole, said)
        try:
            card = Card.model_validate_json(answer.text)
        except ValueError:  # the number has become a text
            card = Card(holder=str(json.loads(answer.text)["holder"]), number=0)
        card.remarks.append(self.plants.text("structured response: list"))
        return {"profile": {"card of model": card}}

    async def node_quotes(self, state: State) -> Any:
        """A model's error quotes the prompt; the node is tried again."""
        asked = self.plants.text("error of a model: quotes the prompt")
        if get_runtime().execution_info.node_attempt == 1:
            model = self._model(Speaker, AIMessage("x"), quotes=True)
            await self.face.call(model, "invoke", asked)
        return {"log": ["tried again"]}

    async def node_fails_once(self, state: State) -> Any:
        if get_runtime().execution_info.node_attempt == 1:
            raise RuntimeError(self.plants.text("error of a node: tried again"))
        return {"log": ["tried again"]}

    # Ways out -------------------------------------------------------------------------------------

    async def node_writes(self, state: State) -> Any:
        text, write = self.plants.text, get_stream_writer()
        write(text("custom stream: text"))
        write({"say": text("custom stream: dict"), "n": [text("custom stream: list in dict")]})
        write(AIMessage(text("custom stream: message")))
        write([text("custom stream: list"), self.plants.number("custom stream: integer")])
        for piece in cut(text("custom stream: token by token"), "tokens"):
            write(piece)
        for piece in cut(text("custom stream: dicts token by token"), "dicts"):
            write({"delta": piece})
        return {"log": [text("node result: list")], "text": text("node result: text")}

    async def node_dispatches(self, state: State) -> Any:
        text = self.plants.text
        await self.face.dispatch("progress", {"note": text("custom event: dict")})
        await self.face.dispatch("progress", text("custom event: text"))
        for piece in cut(text("custom event: token by token"), "event"):
            await self.face.dispatch("token", {"delta": piece})
        return {"log": ["dispatched"]}

    async def node_retrieves(self, state: State) -> Any:
        found = [Document(self.plants.text("retriever: document"), metadata={"m": "x"})]
        found[0].metadata["by"] = self.plants.text("retriever: metadata")
        documents = await self.face.call(Archive(found=found), "invoke", "what?")
        return {"log": [documents[0].page_content], "profile": {"found": documents[0].metadata}}

    async def node_keeps(self, state: State) -> Any:
        text, value = self.plants.text, self.plants.value
        await self.face.put("put", {"note": text("store: put"), value("store: key of value"): 1})
        await self.face.put("number", {"card": self.plants.number("store: integer")})
        await self.face.put("deep", {"a": [{"b": text("store: deep")}]}, index=False)
        await self.face.batch([{"note": text("store: batch")}])
        return {"log": ["kept"]}

    async def node_returns_messages(self, state: State) -> Any:
        text = self.plants.text
        return {
            "messages": [
                ("assistant", text("node result: message tuple")),
                AIMessage(text("node result: message"), id="returned"),
                ToolMessage("x", tool_call_id="t", artifact=text("node result: artifact")),
                RemoveMessage(id="returned"),
            ],
            "profile": {
                "parcel of node": Parcel(text("node result: dataclass")),
                self.plants.value("node result: dict key"): 1,
            },
        }

    async def node_commands(self, state: State) -> Any:
        text = self.plants.text
        return Command(
            update={"log": [text("Command: update")]},
            goto=[Send("worker", {"text": text("Command: Send"), "log": []})],
        )

    def node_yields(self, state: State) -> Iterator[Any]:
        """A node that is a generator; what it yields last is its result."""
        yield {"log": [self.plants.text("node result: yielded at last")]}

    async def anode_yields(self, state: State) -> AsyncIterator[Any]:
        """The same for asynchronous graphs, where events tell of each part."""
        yield {"text": self.plants.text("node result: yielded")}
        yield {"log": [self.plants.text("node result: yielded at last")]}

    async def node_lists(self, state: State) -> Any:
        return [{"log": [self.plants.text("node result: list of updates")]}, Command(update={})]

    async def node_chains(self, state: State) -> Any:
        """A chain of runnables inside of a node, read piece by piece."""

        def pieces(given: Iterator[Any]) -> Iterator[str]:
            yield from cut(self.plants.text("chain in a node: streamed pieces"), "chain")

        async def apieces(given: AsyncIterator[Any]) -> AsyncIterator[str]:
            for piece in cut(self.plants.text("chain in a node: streamed pieces"), "chain"):
                yield piece

        said = AIMessage(self.plants.text("chain in a node: model output"))
        prompt = ChatPromptTemplate.from_messages(
            [("system", self.plants.text("chain in a node: prompt")), ("user", "{question}")]
        )
        chain = prompt | self._model(Speaker, said, seed="chain") | StrOutputParser()
        asked = {"question": self.plants.text("chain in a node: input")}
        parsed = await self.face.all(chain, "stream", asked)
        made = await self.face.all(RunnableGenerator(pieces, apieces), "stream", "x")
        return {"log": ["".join(parsed), "".join(made)]}

    async def node_completes(self, state: State) -> Any:
        """A model of texts, not of messages."""
        model = Completing(says=self.plants.text("completion: output"), asked=self.received)
        teller = Completing(says=self.plants.text("completion: pieces"), asked=self.received)
        asked = self.plants.text("completion: input")
        said = await self.face.call(model, "invoke", asked)
        return {"log": [said, "".join(await self.face.all(teller, "stream", asked))]}

    async def node_remembers_answers(self, state: State) -> Any:
        """A model whose answers are cached."""
        usage = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
        said = AIMessage(self.plants.text("cached model: output"), usage_metadata=usage)
        asked = self.plants.text("cached model: input")
        model = self._model(Whole, said, cache=self.cache)
        first = await self.face.call(model, "invoke", asked)
        again = await self.face.call(model, "invoke", asked)
        older = await self.face.call(self._older_model(), "invoke", "well known")
        return {"messages": [first, again, older]}

    def _older_model(self) -> Whole:
        """A model whose answer is in the cache since before there were policies."""
        usage = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
        text = self.plants.text("cached model: older output")
        return self._model(Whole, AIMessage(text, usage_metadata=usage), cache=self.cache)

    async def edge_of_lists(self, state: State) -> Any:
        """An edge that asks a model, writes to the stream and puts into the store."""
        text = self.plants.text
        said = AIMessage(text("edge: model output"))
        await self.face.call(self._model(Speaker, said), "invoke", text("edge: model input"))
        get_stream_writer()(text("edge: custom stream"))
        await self.face.put("edge", {"note": text("edge: store")})
        return []

    async def worker(self, state: State) -> Any:
        return {"log": [f"worked on {state.get('text')}"]}

    async def edge_from_start(self, state: State) -> Any:
        text = self.plants.text
        names = ("look_up", "fails", "fails_softly", "streams_output", "commands")
        calls = [
            {"type": "tool_call", "name": name, "id": f"call {name}", "args": self._args(name)}
            for name in names
        ]
        return [
            *(Send("tools", [call]) for call in calls),
            Send("worker", {"text": text("Send: from START's edge"), "log": []}),
        ]

    def _args(self, name: str) -> dict[str, Any]:
        return {"who": self.plants.text(f"Send: args of {name}")}

    async def edge_of_writes(self, state: State) -> Any:
        return [Send("worker", {"text": self.plants.text("Send: from a node's edge"), "log": []})]

    # Tools ----------------------------------------------------------------------------------------

    def tools(self) -> list[Any]:
        """The tools."""
        text, received = self.plants.text, self.received

        @tool(response_format="content_and_artifact")
        def look_up(who: str) -> Any:
            """Look up."""
            received.append(who)
            return text("tool: result"), {"rows": [text("tool: artifact")]}

        @tool
        def fails(who: str) -> str:
            """Fail."""
            raise ValueError(f"nobody: {text('tool: error handled by ToolNode')}")

        def fails_softly(who: str) -> str:
            """Fail with a ToolException."""
            raise ToolException(text("tool: ToolException"))

        @tool
        def streams_output(who: str, runtime: ToolRuntime) -> str:
            """Stream."""
            runtime.emit_output_delta(text("tool: output delta"))
            for piece in cut(text("tool: output delta token by token"), "delta"):
                runtime.emit_output_delta(piece)
            runtime.emit_output_delta({"row": text("tool: output delta dict")})
            runtime.stream_writer(text("tool: stream_writer"))
            for piece in cut(text("tool: stream_writer token by token"), "tool writer"):
                runtime.stream_writer({"row": piece})
            return "streamed"

        @tool
        def commands(who: str, runtime: ToolRuntime) -> Any:
            """Return a Command."""
            answer = ToolMessage(
                text("tool: message in a Command"), tool_call_id=runtime.tool_call_id
            )
            return Command(update={"messages": [answer], "log": [text("tool: Command")]})

        soft = tool(fails_softly)
        soft.handle_tool_error = True
        return [look_up, fails, soft, streams_output, commands]

    # Graphs in graphs -----------------------------------------------------------------------------

    def child(self) -> StateGraph[Any]:
        """A subgraph as a node."""
        text = self.plants.text

        async def grandchild(state: State) -> Any:
            get_stream_writer()(text("subgraph: custom stream"))
            said = AIMessage(text("subgraph: model output"))
            answer = await self._asked(Speaker, said, seed="child")
            return {"log": [text("subgraph: node result")], "messages": [answer]}

        async def to_parent(state: State) -> Any:
            sent = Send("worker", {"text": text("subgraph: Send to the parent"), "log": []})
            update = {"log": [text("subgraph: Command to the parent")]}
            return Command(graph=Command.PARENT, goto=[sent], update=update)

        builder = StateGraph(State)
        builder.add_node("grandchild", self.face.node(grandchild), retry_policy=AGAIN)
        builder.add_node("to_parent", self.face.node(to_parent))
        builder.add_edge(START, "grandchild").add_edge("grandchild", "to_parent")
        return builder

    def keeper(self) -> StateGraph[Any]:
        """A subgraph with a memory of its own."""

        async def keeps(state: State) -> Any:
            return {"log": [self.plants.text("subgraph with memory: node result")]}

        return StateGraph(State).add_node("keeps", self.face.node(keeps)).add_edge(START, "keeps")

    def stateless(self) -> StateGraph[Any]:
        """A subgraph without memory."""

        async def forgets(state: State) -> Any:
            return {"log": [self.plants.text("stateless subgraph: node result")]}

        builder = StateGraph(State).add_node("forgets", self.face.node(forgets))
        return builder.add_edge(START, "forgets")

    async def node_calls_graph(self, state: State) -> Any:
        text = self.plants.text

        async def inner(state: State) -> Any:
            get_stream_writer()(text("called graph: custom stream"))
            return {"log": [text("called graph: node result")]}

        builder = StateGraph(State).add_node("inner", self.face.node(inner))
        graph = builder.add_edge(START, "inner").compile()
        given = {"messages": [("user", text("called graph: input"))], "log": []}
        result = await self.face.call(graph, "invoke", given)
        return {"log": result["log"]}

    async def node_calls_agent(self, state: State) -> Any:
        text = self.plants.text

        @tool
        def answers(who: str) -> str:
            """Answer."""
            self.received.append(who)
            return text("called agent: tool result")

        call = {"name": "answers", "id": "agent-1", "args": {"who": text("called agent: args")}}
        model = self._model(
            Speaker,
            AIMessage(text("called agent: model output"), tool_calls=[call]),
            seed="agent",
            then=text("called agent: last output"),
        )
        agent = create_agent(model, [answers], system_prompt=text("called agent: system prompt"))
        given = {"messages": [("user", text("called agent: input"))]}
        result = await self.face.call(agent, "invoke", given)
        return {"messages": result["messages"][-1:]}

    async def node_calls_a_tool(self, state: State) -> Any:
        @tool
        def asks_elsewhere(who: str) -> str:
            """Ask a service."""
            self.received.append(who)
            return self.plants.text("called tool: result")

        given = {"who": self.plants.text("called tool: args")}
        return {"log": [await self.face.call(asks_elsewhere, "invoke", given)]}

    async def node_calls_tasks(self, state: State) -> Any:
        async def body(given: str) -> Any:
            return self.plants.text("task: result")

        given = self.plants.text("task: argument")
        future = task(self.face.node(body))(given)
        return {"log": [await future if self.face.is_async else future.result()]}


class Archive(BaseRetriever):
    """Gives the documents that it holds."""

    found: list[Document]

    def _get_relevant_documents(self, query: str, **options: Any) -> list[Document]:
        return self.found
