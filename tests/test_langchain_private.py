"""What is relied upon of LangChain's inner parts. A failure here says what a new version has changed."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import LLM, BaseChatModel, BaseLLM, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    GenerationChunk,
    LLMResult,
)
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.graph import START, StateGraph
from pydantic import Field

from lg_prod_nodes import Call, ContentFilter, Policy, Redact, Run, TokenUsage, harden, install
from lg_prod_nodes.runtime.model_shell import is_shell
from lg_prod_nodes.runtime.scope import InnerPolicies, Scope

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


class Prompted(LLM):
    """A model of texts, which tells what it was asked."""

    asked: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "prompted"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        self.asked.append(prompt)
        for piece in ("not ann@", "example", ".com"):
            if run_manager is not None:
                run_manager.on_llm_new_token(piece)
        return f"not {EMAIL}"


class Telling(Prompted):
    """Says it piece by piece."""

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        self.asked.append(prompt)
        for piece in ("not ann@", "example", ".com"):
            run_manager.on_llm_new_token(piece, chunk=GenerationChunk(text=piece))
            yield GenerationChunk(text=piece)
        yield GenerationChunk(text="", generation_info={"said": EMAIL, "finish_reason": "stop"})


class Heard(BaseCallbackHandler):
    """Keeps all that callbacks of models are told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.tokens = ""

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.told.append(f"start {prompts}")

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens += str(token)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.told.append(f"end {response.generations}")


class Overriding(Model):
    """Defines anew how it is called."""

    def invoke(self, input: Any, *args: Any, **kwargs: Any) -> AIMessage:
        said = self._generate(self._convert_input(input).to_messages()).generations[0].message
        assert isinstance(said, AIMessage)
        return said

    def stream(self, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for chunk in self._stream(self._convert_input(input).to_messages()):
            yield chunk.message

    async def ainvoke(self, input: Any, *args: Any, **kwargs: Any) -> AIMessage:
        return self.invoke(input)

    def astream(self, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        return super().astream(input, *args, **kwargs)


class Delegating(Native):
    """Gives what is asynchronous by functions that are not."""

    def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        return super()._agenerate(*args, **kwargs)

    def _astream(self, *args: Any, **kwargs: Any) -> Any:
        return super()._astream(*args, **kwargs)


def place(*policies: Policy) -> Scope:
    call = Call(kind="node", name="node", input={}, run=Run())
    wraps = tuple(policy.wrap for policy in policies or (Redact(),))
    return Scope(call, InnerPolicies(wraps, wraps, changing=len(wraps)))


def reaching(place: Scope) -> Scope:
    """Be where a guarded node runs."""
    install()
    return Scope(place.call, place.policies)


@pytest.mark.parametrize(
    "name", ["invoke", "ainvoke", "stream", "astream", "generate", "agenerate"]
)
def test_every_way_to_call_a_model_is_led(name: str) -> None:
    with reaching(place()):
        pass
    assert hasattr(getattr(BaseChatModel, name), "__wrapped__")


@pytest.mark.parametrize("name", ["generate", "agenerate", "stream", "astream"])
def test_every_way_to_call_a_model_of_texts_is_led(name: str) -> None:
    with reaching(place()):
        pass
    assert hasattr(getattr(BaseLLM, name), "__wrapped__")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("kind", [Model, Native, Delegating])
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


@pytest.mark.parametrize("kind", [Prompted, Telling])
async def test_every_way_to_call_a_model_of_texts_is_filtered(kind: type[Prompted]) -> None:
    model, heard = kind(), Heard()
    config: Any = {"callbacks": [heard]}
    with reaching(place()):
        said = [
            model.invoke(EMAIL, config),
            await model.ainvoke([("user", EMAIL)], config),
            "".join(model.stream(EMAIL, config)),
            "".join([piece async for piece in model.astream(EMAIL, config)]),
            model.generate(prompts=[EMAIL], callbacks=[heard]).generations[0][0].text,
            (await model.agenerate([EMAIL], callbacks=[heard])).generations[0][0].text,
            *model.batch([EMAIL, EMAIL], config),
            *await model.abatch([EMAIL, EMAIL], config),
        ]

    assert said == ["not [EMAIL_ADDRESS]"] * len(said)
    assert EMAIL not in str(model.asked + heard.told) + heard.tokens
    assert heard.tokens.count("[EMAIL_ADDRESS]") == len(said)


@pytest.mark.parametrize("said", ["nothing", EMAIL])
def test_what_a_provider_says_beside_the_message_is_filtered(said: str) -> None:
    class Detailed(Model):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            given = ChatGeneration(message=AIMessage(said), generation_info={"said": EMAIL})
            return ChatResult(generations=[given], llm_output={"also": EMAIL})

        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            message = AIMessageChunk(said)
            yield ChatGenerationChunk(message=message, generation_info={"said": EMAIL})

    heard = Heard()
    with reaching(place()):
        Detailed().invoke("x", {"callbacks": [heard]})
        pieces = list(Detailed().stream("x", {"callbacks": [heard]}))

    assert EMAIL not in str(heard.told) + str(pieces)


def test_a_model_of_texts_streams_piece_by_piece() -> None:
    with reaching(place()):
        assert len(list(Telling().stream("x"))) > 1
        assert len(list(Prompted().stream("x"))) == 1


@pytest.mark.parametrize("kind", [Model, Prompted, Telling])
def test_a_model_is_answered_in_its_own_shape(kind: type[Any]) -> None:
    refusing = ContentFilter(["bomb"], reply="No.")

    with reaching(place(refusing)):
        whole = kind().invoke("a bomb")
        pieces = list(kind().stream("a bomb"))
        results = kind().generate(
            [[kind()._convert_input("a bomb").to_messages()[0]]] if kind is Model else ["a bomb"]
        )

    assert getattr(whole, "text", whole) == "No."
    assert [getattr(piece, "text", piece) for piece in pieces] == ["No."]
    assert [result[0].text for result in results.generations] == ["No."]


async def test_a_model_that_defines_its_calls_anew_is_filtered() -> None:
    model = Overriding()
    with reaching(place()):
        said = [
            model.invoke(EMAIL).text,
            (await model.ainvoke(EMAIL)).text,
            "".join(chunk.text for chunk in model.stream(EMAIL)),
            "".join([chunk.text async for chunk in model.astream(EMAIL)]),
            model.invoke(input=EMAIL).text,
        ]

    assert said == ["not [EMAIL_ADDRESS]"] * len(said)
    assert set(model.asked) == {"[EMAIL_ADDRESS]"}
    assert model.invoke(EMAIL).text == f"not {EMAIL}"


def test_a_tool_that_defines_its_run_anew_is_filtered() -> None:
    class Looking(StructuredTool):
        def run(self, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
            return f"{tool_input} is {EMAIL}"

    look = Looking.from_function(lambda who: who, name="look", description="Look.")

    with reaching(place()):
        assert look.run(EMAIL) == "[EMAIL_ADDRESS] is [EMAIL_ADDRESS]"
        assert look.run(tool_input=EMAIL) == "[EMAIL_ADDRESS] is [EMAIL_ADDRESS]"


def test_a_model_keeps_its_own_state() -> None:
    model = FakeListChatModel(responses=["one", "two"])

    with reaching(place()):
        assert [model.invoke("x").text for _ in range(2)] == ["one", "two"]

    assert not is_shell(model)


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


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call in a thread that knows nothing of whoever began it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def said_in_node(call: Callable[[RunnableConfig], Any], **policies: Any) -> Any:
    """What a function gives in a guarded node, before the node's own update is cleaned."""
    said: list[Any] = []

    def node(state: dict[str, Any], config: RunnableConfig) -> None:
        said.append(call(config))

    builder: Any = StateGraph(dict).add_node("node", node).add_edge(START, "node")
    harden(builder, **(policies or {"policies": [Redact()]})).compile().invoke({})
    return said[0]


@tool
def looking(who: str) -> str:
    """Look someone up with a model that gets no config."""
    return Model().invoke(who).text


IN_THREADS: dict[str, Callable[[RunnableConfig], Any]] = {
    "invoke": lambda config: in_thread(Model().invoke, "x", config).text,
    "by name": lambda config: in_thread(lambda: Model().invoke("x", config=config)).text,
    "stream": lambda config: in_thread(lambda: "".join(Telling().stream("x", config))),
    "loop": lambda config: in_thread(asyncio.run, Native().ainvoke("x", config)).text,
    "texts": lambda config: in_thread(Prompted().invoke, "x", config),
    "batch": lambda config: in_thread(Prompted().batch, ["x", "x"], [config, config])[1],
    "chain": lambda config: in_thread((RunnableLambda(str) | Model()).invoke, "x", config).text,
    "tool": lambda config: in_thread(looking.invoke, {"who": "x"}, config),
}


@pytest.mark.parametrize("call", IN_THREADS.values(), ids=IN_THREADS)
def test_what_is_called_in_a_bare_thread_is_found_through_the_config(call: Any) -> None:
    assert said_in_node(call) == "not [EMAIL_ADDRESS]"
    assert said_in_node(call, nodes={"node": [Redact()]}) == "not [EMAIL_ADDRESS]"
    assert said_in_node(call, nodes={"node": []}) == f"not {EMAIL}"


def test_a_model_that_a_tool_calls_in_a_bare_thread_is_found_through_the_tool_s_config() -> None:
    @tool
    def reversing(who: str) -> str:
        """Say backwards what a model says, which no filter of the tool would know."""
        return "".join(chunk.text for chunk in Model().stream(who))[::-1]

    said = said_in_node(lambda config: in_thread(reversing.invoke, {"who": "x"}, config))

    assert said[::-1] == "not [EMAIL_ADDRESS]"


@pytest.mark.filterwarnings("ignore::lg_prod_nodes.LostContextWarning")
def test_what_is_called_in_a_bare_thread_without_the_config_is_as_ever() -> None:
    assert said_in_node(lambda config: in_thread(Model().invoke, "x").text) == f"not {EMAIL}"


def test_a_config_leads_to_its_node_as_long_as_that_runs() -> None:
    config = said_in_node(lambda config: config)

    assert Model().invoke("x", config).text == f"not {EMAIL}"


def test_a_graph_that_a_node_calls_is_found_through_its_config_too() -> None:
    class Shouting(Policy):
        kinds = frozenset({"model"})

        async def wrap(self, call: Any, handler: Any) -> Any:
            return AIMessage((await handler(call)).text.upper())

    said: list[str] = []

    def inner(state: dict[str, Any], config: RunnableConfig) -> None:
        said.append(in_thread(Model().invoke, "x", config).text)

    builder: Any = StateGraph(dict).add_node("inner", inner).add_edge(START, "inner")
    called = builder.compile()

    said_in_node(lambda config: called.invoke({}, config), nodes={"node": [Shouting()]})
    called.invoke({})

    assert said == [f"NOT {EMAIL.upper()}", f"not {EMAIL}"]


async def test_every_handler_hears_of_a_model_of_texts_that_begins() -> None:
    """LangChain passes over those that do not run inline as soon as one does."""

    async def node(state: dict[str, Any]) -> None:
        await Prompted().ainvoke("x")
        async for _ in Telling().astream("x"):
            pass

    builder: Any = StateGraph(dict).add_node("node", node).add_edge(START, "node")
    graph = harden(builder, [TokenUsage()]).compile()
    run, handlers = Run(), [Heard(), Heard()]
    await graph.ainvoke({}, {"callbacks": handlers}, control=run)
    assert [heard.told.count("start ['x']") for heard in handlers] == [2, 2]
    assert [heard.told[0] for heard in handlers] == ["start ['x']"] * 2
    assert run.report.events["model_called"] == 2


def test_the_import_is_light() -> None:
    heavy = {"presidio_analyzer", "spacy", "langchain", "langchain_core", "langgraph", "psycopg"}
    program = f"import sys, lg_prod_nodes; print(*{heavy} & set(sys.modules))"

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert printed.stdout.split() == []
