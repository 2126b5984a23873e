"""Errors that hold planted values, raised wherever a graph can fail."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy
from pydantic import BaseModel, field_validator
from tests.canary.agents import ModelState
from tests.canary.graphs import State
from tests.canary.models import Speaker, Whole
from tests.canary.site import Site
from tests.canary.ways import Way

TWICE = RetryPolicy(max_attempts=2, initial_interval=0, jitter=False, retry_on=lambda error: True)


class Age(BaseModel):
    age: int


class Picky(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def refuse(cls, name: str) -> str:
        raise ValueError(f"not {name}")


class Unknown(Exception):
    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    def __str__(self) -> str:
        return f"nobody named {self.who}"


class Slotted(Exception):
    __slots__ = ("who",)

    def __init__(self, who: str) -> None:
        self.who = who

    def __str__(self) -> str:
        return self.who


@dataclass(frozen=True)
class Frozen(Exception):
    who: str


class Refusal(Exception):
    """Keeps what it was given in a place that only it knows."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        super().__init__("refused")

    def __repr__(self) -> str:
        return f"Refusal({json.dumps(self.body)})"


def plain(text: str) -> None:
    raise ValueError(text)


def with_several_arguments(text: str) -> None:
    raise RuntimeError("failed", {"for": [text]}, 7)


def by_key(text: str) -> None:
    _ = {}[text]


def of_json(text: str) -> None:
    json.loads(f"{{{text}")


def of_pydantic(text: str) -> None:
    Age.model_validate({"age": text, text[:60]: {"more": text}})


def of_a_validator(text: str) -> None:
    Picky.model_validate({"name": text})


def of_a_file(text: str) -> None:
    open(f"nowhere/{text}").close()


def of_decoding(text: str) -> None:
    (text.encode() + b"\xff").decode()


def of_several(text: str) -> None:
    inner = ExceptionGroup("inner", [ValueError(text), Unknown(text)])
    raise ExceptionGroup("several", [KeyError(1), inner])


def of_a_group_that_says_it(text: str) -> None:
    raise ExceptionGroup(f"several for {text}", [ValueError("x")])


def of_an_attribute(text: str) -> None:
    raise Unknown(text)


def of_a_slot(text: str) -> None:
    raise Slotted(text)


def of_a_frozen_one(text: str) -> None:
    raise Frozen(text)


def of_a_hidden_place(text: str) -> None:
    raise Refusal({"who": text})


def of_a_text_of_its_class(text: str) -> None:
    class Secretive(Exception):
        def __str__(self) -> str:
            return f"for {text}"

    raise Secretive


def caused(text: str) -> None:
    try:
        plain(text)
    except ValueError as error:
        raise RuntimeError("failed") from error


def in_context(text: str) -> None:
    try:
        plain(text)
    except ValueError:
        raise RuntimeError("failed")  # noqa: B904 - the context is what this is about


def noted(text: str) -> None:
    error = ValueError("failed")
    error.add_note(f"for {text}")
    raise error


def with_a_cause_that_groups(text: str) -> None:
    raise RuntimeError("failed") from ExceptionGroup("inner", [Unknown(text)])


KINDS: tuple[Callable[[str], None], ...] = (
    *(plain, with_several_arguments, by_key, of_json, of_pydantic, of_a_validator, of_a_file),
    *(of_decoding, of_several, of_a_group_that_says_it, of_an_attribute, of_a_slot),
    *(
        of_a_frozen_one,
        of_a_hidden_place,
        of_a_text_of_its_class,
        caused,
        in_context,
        noted,
        with_a_cause_that_groups,
    ),
)


@dataclass
class Failures:
    """Graphs that each fail at one place."""

    site: Site

    def text(self, surface: str) -> str:
        return self.site.plants.text(f"error: {surface}")

    async def fail_by_kind(self, way: Way, *names: str) -> None:
        """A node fails in each kind of way, or in some, at both of its attempts."""
        for kind in (kind for kind in KINDS if kind.__name__ in names or not names):
            text = self.text(f"of a node, {kind.__name__}")

            async def fails(
                state: State, kind: Callable[[str], None] = kind, text: str = text
            ) -> Any:
                kind(text)

            builder = StateGraph(State)
            builder.add_node("fails", self.site.face.node(fails), retry_policy=TWICE)
            builder.add_edge(START, "fails")
            await self._fail(way, builder, kind.__name__)

    async def fail_by_place(self, way: Way) -> None:
        """A graph fails at each of its places."""
        for place in (
            *(self.in_edge, self.in_edge_from_start, self.in_model, self.while_streaming),
            *(self.in_tool, self.in_task, self.in_subgraph, self.in_called_graph, self.quoting),
            *(self.in_custom_event_consumer, self.in_error_handler),
        ):
            name = place.__name__.replace("_", " ")
            await self._fail(way, place(self.text(name)), name)

    async def fail_by_state(self, way: Way) -> None:
        """An input, a node's result and an update that are not what the state says."""

        async def works(state: Any) -> Any:
            return {"card": {"holder": 1, "number": self.text("state, of a node")}}

        async def reads(state: Any) -> Any:
            return {}

        builder = StateGraph(ModelState).add_node("works", self.site.face.node(works))
        builder.add_node("reads", self.site.face.node(reads))
        builder.add_edge(START, "works").add_edge("works", "reads")
        await self._fail(way, builder, "state of a node")
        given = {"text": {"x": self.text("state, of the input")}}
        await self._fail(way, builder, "state of the input", given)
        wrong: Any = self.text("input that is no state")
        await self._fail(way, builder, "input that is no state", wrong)

    async def _fail(self, way: Way, builder: Any, name: str, given: Any = None) -> None:
        graph = self.site.compile(builder)
        given = {"log": []} if given is None else given
        await self.site.run(way, graph, given, thread=name, fails=True)
        try:
            await self.site.look_back(way, graph, thread=name)
        except Exception as error:  # such a state cannot be read
            self.site.evidence.add(f"error of get_state after {name}", error)

    def _one(self, body: Callable[[Any], Awaitable[Any]]) -> StateGraph[Any]:
        builder = StateGraph(State).add_node("fails", self.site.face.node(body))
        return builder.add_edge(START, "fails")

    async def _nothing(self, state: State) -> Any:
        return {"log": ["x"]}

    def in_edge(self, text: str) -> Any:
        async def edge(state: State) -> Any:
            raise Unknown(text)

        return self._one(self._nothing).add_conditional_edges("fails", self.site.face.node(edge))

    def in_edge_from_start(self, text: str) -> Any:
        async def edge(state: State) -> Any:
            raise Unknown(text)

        builder = StateGraph(State).add_node("node", self.site.face.node(self._nothing))
        return builder.add_conditional_edges(START, self.site.face.node(edge), ["node"])

    def in_model(self, text: str) -> Any:
        class Broken(Whole):
            def _generate(self, *args: Any, **options: Any) -> Any:
                raise Unknown(text)

        async def asks(state: State) -> Any:
            await self.site.face.call(Broken(), "invoke", "hi")

        return self._one(asks)

    def while_streaming(self, text: str) -> Any:
        class Broken(Speaker):
            def _stream(self, *args: Any, **options: Any) -> Any:
                yield from super()._stream(*args, **options)
                raise Unknown(text)

        async def asks(state: State) -> Any:
            await self.site.face.all(Broken(says=AIMessage(text)), "stream", "hi")

        return self._one(asks)

    def quoting(self, text: str) -> Any:
        async def asks(state: State) -> Any:
            model = Whole(quotes=True)
            await self.site.face.call(model, "invoke", [("user", text)])

        return self._one(asks)

    def in_tool(self, text: str) -> Any:
        @tool
        def breaks(who: str) -> str:
            """Break."""
            raise Unknown(text)

        async def sends(state: State) -> Any:
            call = {"name": "breaks", "id": "b", "args": {"who": text}, "type": "tool_call"}
            return {"messages": [AIMessage("", tool_calls=[call])]}

        tools = ToolNode([breaks], handle_tool_errors=False)
        return self._one(sends).add_node("tools", tools).add_edge("fails", "tools")

    def in_task(self, text: str) -> Any:
        async def body() -> Any:
            raise Unknown(text)

        async def works(state: State) -> Any:
            future = task(self.site.face.node(body))()
            return {"log": [await future if self.site.face.is_async else future.result()]}

        return self._one(works)

    def in_subgraph(self, text: str) -> Any:
        async def fails(state: State) -> Any:
            raise Unknown(text)

        builder = StateGraph(State).add_node("child", self._one(fails).compile())
        return builder.add_edge(START, "child")

    def in_called_graph(self, text: str) -> Any:
        async def fails(state: State) -> Any:
            raise Unknown(text)

        async def calls(state: State) -> Any:
            await self.site.face.call(self._one(fails).compile(), "invoke", {"text": text})

        return self._one(calls)

    def in_custom_event_consumer(self, text: str) -> Any:
        async def dispatches(state: State) -> Any:
            await self.site.face.dispatch("e", text)
            raise RuntimeError("failed", text)

        return self._one(dispatches)

    def in_error_handler(self, text: str) -> Any:
        async def fails(state: State) -> Any:
            raise Unknown(text)

        async def handles(state: State) -> Any:
            raise Slotted(text)

        builder = StateGraph(State)
        node, handler = self.site.face.node(fails), self.site.face.node(handles)
        return builder.add_node("fails", node, error_handler=handler).add_edge(START, "fails")
