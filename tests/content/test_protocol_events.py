"""LangGraph's third version of events tells of the same message as the others do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from lg_prod_nodes import Redact, harden

pytestmark = pytest.mark.filterwarnings("ignore:The v3 streaming protocol")


class Calling(BaseChatModel):
    """Calls a tool in pieces, then says something."""

    arguments: str
    says: list[Any]
    ends: bool = True

    @property
    def _llm_type(self) -> str:
        return "calling"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[Any], *a: Any, **k: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self._said() if isinstance(messages[-1], ToolMessage) else self._called():
            yield ChatGenerationChunk(message=chunk)
        if self.ends:
            yield ChatGenerationChunk(message=AIMessageChunk("", chunk_position="last"))

    def _said(self) -> Iterator[AIMessageChunk]:
        yield from map(AIMessageChunk, self.says)

    def _called(self) -> Iterator[AIMessageChunk]:
        for at in range(0, len(self.arguments), 4):
            named = {"name": None, "id": None} if at else {"name": "search", "id": "c1"}
            call: Any = {**named, "args": self.arguments[at : at + 4], "index": 0}
            yield AIMessageChunk("", tool_call_chunks=[call])


def messages_of(graph: Any) -> list[Any]:
    stream = graph.stream_events({"messages": [("user", "x")]}, version="v3")
    list(stream)
    return [
        {name: value for name, value in message.model_dump().items() if name != "id"}
        for message in stream.output["messages"]
    ]


SAYS: dict[str, list[Any]] = {
    "text": ["all ", "is ", "well, see 41", "11"],
    "one word": ["ann@home"],
    "blocks": [
        [{"type": "text", "text": "see 41", "index": 0}],
        [{"type": "text", "text": "11 ok", "index": 0}],
        [{"type": "text", "text": "next", "index": 1}],
    ],
}


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS)
def test_an_agent_runs_the_same_tools_and_says_the_same(says: list[Any], ends: bool) -> None:
    ran: list[tuple[str, int]] = []

    @tool
    def search(q: str, n: int) -> str:
        """Search."""
        ran.append((q, n))
        return "found"

    model = Calling(arguments=json.dumps({"q": "weather", "n": 5}), says=says, ends=ends)
    agent = create_agent(model, [search])

    bare, hardened = messages_of(agent), messages_of(harden(agent, [Redact()]))

    assert ran == [("weather", 5)] * 2
    assert hardened == bare


def test_what_was_held_back_of_arguments_is_clean() -> None:
    ran: list[Any] = []

    @tool
    def search(q: str, n: Any) -> str:
        """Search."""
        ran.append((q, n))
        return "found"

    given = json.dumps({"q": "ann@example.com", "n": 4111111111111111})
    agent = create_agent(Calling(arguments=given, says=["done"]), [search])

    messages_of(harden(agent, [Redact()]))

    assert ran == [("[EMAIL_ADDRESS]", "[CREDIT_CARD]")]
