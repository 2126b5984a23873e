"""What the policies' tests share: small graphs, each way to run one, a fake model, a clock that takes time along."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import pytest
import time_machine
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import RetryPolicy
from pydantic import Field
from structlog.testing import capture_logs
from tests.conftest import FakeClock, restore_structlog, structlog_config
from typing_extensions import TypedDict

Runner = Callable[..., Awaitable[Any]]

THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}
AT_ONCE = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=lambda error: True)


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    text: str
    log: Annotated[list[Any], operator.add]


def notes(word: Any) -> Callable[[Any], Any]:
    """A node that adds a word to the log."""
    return lambda state: {"log": [word]}


def fails(state: Any) -> Any:
    raise ValueError("secret")


def one(node: Any, name: str = "node", *, schema: Any = State, **options: Any) -> StateGraph[Any]:
    """A graph of one node."""
    return StateGraph(schema).add_node(name, node, **options).add_edge(START, name)


def said(result: Any) -> list[str]:
    return [message.text for message in result["messages"]]


def saved(saver: InMemorySaver) -> str:
    """All that a checkpointer holds, as one text."""
    return repr((dict(saver.storage), dict(saver.writes), dict(saver.blobs)))


class TravellingClock(FakeClock):
    """A fake clock that takes `time.time()` along, which `limits` reads."""

    def __init__(self, traveller: time_machine.Traveller) -> None:
        super().__init__()
        self._traveller = traveller

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._traveller.shift(seconds)


@pytest.fixture
def clock(clock: FakeClock) -> Iterator[TravellingClock]:
    with time_machine.travel(clock.time(), tick=False) as traveller:
        yield TravellingClock(traveller)


async def invoke(graph: Any, *args: Any, **options: Any) -> Any:
    return graph.invoke(*args, **options)


async def ainvoke(graph: Any, *args: Any, **options: Any) -> Any:
    return await graph.ainvoke(*args, **options)


async def stream(graph: Any, *args: Any, **options: Any) -> Any:
    return list(graph.stream(*args, stream_mode="values", **options))[-1]


async def astream(graph: Any, *args: Any, **options: Any) -> Any:
    return [part async for part in graph.astream(*args, stream_mode="values", **options)][-1]


@pytest.fixture(params=[invoke, ainvoke, stream, astream], ids=lambda way: way.__name__)
def run(request: pytest.FixtureRequest) -> Runner:
    """Runs a graph to its end and gives the last state, in each way that a caller has."""
    return request.param


class FakeModel(BaseChatModel):
    """Says the same each time, at the price of 3 tokens sent and 4 received; `spends=False` reports none."""

    says: str = "hello there"
    calls: tuple[dict[str, Any], ...] = ()
    model_name: str = "gpt-4o-mini"
    spends: bool = True
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _message(self, kind: Any, text: str) -> Any:
        if not self.spends:
            return kind(text)
        usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        name = {"model_name": self.model_name}
        return kind(text, usage_metadata=usage, response_metadata=name)

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self.asked.append(messages[-1].text)
        message = self._message(AIMessage, self.says)
        if self.calls and not isinstance(messages[-1], AIMessage) and messages[-1].type != "tool":
            message.tool_calls = list(self.calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        first, *others = self.says.split(" ")
        yield ChatGenerationChunk(message=self._message(AIMessageChunk, first))
        for word in others:
            yield ChatGenerationChunk(message=AIMessageChunk(f" {word}"))


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def asks(model: FakeModel) -> Callable[[Any], Any]:
    """A node that calls a model."""

    def node(state: Any) -> Any:
        return {"messages": [model.invoke(state.get("messages") or "hi")]}

    return node


def failed(node: str = "node", attempts: int = 1) -> dict[str, Any]:
    """What `CaptureErrors` puts into the state."""
    return {"node": node, "type": "ValueError", "attempts": attempts, "error_class": "bad_input"}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The lines that are logged meanwhile."""
    before = structlog_config()
    with capture_logs() as lines:
        yield lines
    restore_structlog(before)
