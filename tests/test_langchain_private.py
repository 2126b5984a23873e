"""What is relied upon of LangChain's inner parts. A failure here says what a new version has changed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool, tool
from pydantic import Field

from lg_prod_nodes import Call, Policy, Redact, Run
from lg_prod_nodes._calls import Place, reaching

EMAIL = "ann@example.com"


class Model(BaseChatModel):
    """Says what it was asked, and tells who called it."""

    asked: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "model"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].text)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"not {EMAIL}"))])

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.asked.append(messages[-1].text)
        for piece in ("not ann@", "example", ".com"):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


class Native(Model):
    async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    async def _astream(
        self, messages: Any, *a: Any, **k: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


def place(*policies: Policy) -> Place:
    call = Call(kind="node", name="node", input={}, run=Run())
    wraps = tuple(policy.wrap for policy in policies or (Redact(),))
    return Place(call, wraps, wraps, changing=len(wraps))


@pytest.mark.parametrize(
    "name", ["invoke", "ainvoke", "stream", "astream", "generate", "agenerate"]
)
def test_every_way_to_call_a_model_is_led(name: str) -> None:
    with reaching(place()):
        pass
    assert hasattr(getattr(BaseChatModel, name), "__wrapped__")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("kind", [Model, Native])
async def test_every_way_to_call_a_model_is_filtered(kind: type[Model]) -> None:
    model = kind()
    with reaching(place()):
        said = [
            model.invoke(EMAIL).text,
            (await model.ainvoke(EMAIL)).text,
            "".join(chunk.text for chunk in model.stream(EMAIL)),
            "".join([chunk.text async for chunk in model.astream(EMAIL)]),
            model.generate([model._convert_input(EMAIL).to_messages()]).generations[0][0].text,
            model.batch([EMAIL])[0].text,
            (await model.abatch([EMAIL]))[0].text,
            model.bind(stop=["x"]).invoke(EMAIL).text,
            model.stream_events(EMAIL, version="v3").output.text,
        ]

    assert said == ["not [EMAIL_ADDRESS]"] * len(said)
    assert set(model.asked) == {"[EMAIL_ADDRESS]"}


def test_a_model_keeps_its_own_state() -> None:
    model = FakeListChatModel(responses=["one", "two"])

    with reaching(place()):
        assert [model.invoke("x").text for _ in range(2)] == ["one", "two"]

    assert "_is_shell" not in vars(model)


def test_a_shell_streams_where_its_model_does() -> None:
    """LangChain asks the class, which stays the same, whether a model streams by itself."""

    class Silent(Model):
        _stream = BaseChatModel._stream

    with reaching(place()):
        assert len(list(Silent().stream(EMAIL))) == 1
        assert len(list(Model().stream(EMAIL))) > 1


def test_the_names_that_are_used_are_there() -> None:
    model = Model()
    assert callable(model._convert_input)
    assert callable(model._convert_cached_generations)
    assert "run_manager" in inspect.signature(BaseChatModel._generate).parameters
    assert {"run", "arun", "_filter_injected_args"} <= vars(BaseTool).keys()


async def test_both_ways_to_run_a_tool_are_filtered() -> None:
    @tool
    def look(who: str) -> str:
        """Look someone up."""
        return f"{who} is {EMAIL}"

    with reaching(place()):
        said = [look.invoke({"who": EMAIL}), await look.ainvoke({"who": EMAIL}), look.run(EMAIL)]

    assert said == ["[EMAIL_ADDRESS] is [EMAIL_ADDRESS]"] * 3


def test_a_policy_that_changes_what_a_model_says_gets_it_whole() -> None:
    class Shouting(Policy):
        async def wrap(self, call: Any, handler: Any) -> Any:
            message = await handler(call)
            return AIMessageChunk(message.text.upper())

    with reaching(place(Shouting())):
        assert [chunk.text for chunk in Model().stream("x")] == [f"NOT {EMAIL.upper()}"]


def test_calls_outside_of_a_guarded_node_are_as_ever() -> None:
    with reaching(place()):
        pass

    assert Model().invoke(EMAIL).text == f"not {EMAIL}"
    assert "".join(chunk.text for chunk in Model().stream("x")) == f"not {EMAIL}"


def test_the_import_is_light() -> None:
    heavy = {"presidio_analyzer", "spacy", "langchain", "langchain_core", "langgraph", "psycopg"}
    program = f"import sys, lg_prod_nodes; print(*{heavy} & set(sys.modules))"

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert printed.stdout.split() == []
