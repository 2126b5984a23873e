"""What is patched in other libraries, and that policies reach every kind of call through it, or without it."""

from __future__ import annotations

import inspect
import pkgutil
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import langchain_core
import pytest
from langchain.agents import create_agent
from langchain_core.decisions import BaseDecisionModel, ClassifierResponse
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from pydantic import Field
from typing_extensions import TypedDict

from lg_prod_nodes import (
    BudgetExceeded,
    Metrics,
    Policy,
    Redact,
    Run,
    RunBudget,
    TokenBudget,
    TokenUsage,
    Tracing,
    as_middleware,
    guard,
    harden,
    install,
    uninstall,
)
from lg_prod_nodes.runtime import patches
from lg_prod_nodes.runtime.patches import TABLE

EMAIL = "ann@example.com"
ROOT = Path(__file__).parents[2]


class State(TypedDict, total=False):
    said: Any


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    install()
    yield
    install()


class Chat(BaseChatModel):
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].text)
        usage: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        message = AIMessage(f"not {EMAIL}", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.asked.append(messages[-1].text)
        for piece in ("not ann@", "example", ".com"):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))


class Texts(LLM):
    asked: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "texts"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        self.asked.append(prompt)
        return f"not {EMAIL}"


class Decides(BaseDecisionModel):
    model: str = "decides-1"
    asked: list[str] = Field(default_factory=list)

    @property
    def _provider(self) -> str:
        return "maker"

    def _classify(self, state: Any, questions: Any) -> ClassifierResponse:
        self.asked.append(f"{state} {questions}")
        usage = {"input_tokens": 30, "output_tokens": 2}
        return ClassifierResponse.model_validate(
            {"model": "decides-1", "answers": {}, "usage": usage, "request_id": f"for {EMAIL}"}
        )


class Vectors(Embeddings):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += texts
        return [[0.5, 0.25] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Finds(BaseRetriever):
    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        self.asked.append(query)
        return [Document(page_content=f"by {EMAIL}")]


@tool
def look(who: str) -> str:
    """Look someone up."""
    ASKED.append(who)
    return f"{who} is {EMAIL}"


ASKED: list[str] = []


def said_in_node(function: Any, *policies: Policy, run: Run | None = None) -> Any:
    """What a function gives in a guarded node."""
    said: list[Any] = []

    def node(state: State) -> None:
        said.append(function())

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    harden(builder, policies or [Redact()]).compile().invoke({}, control=run or Run())
    return said[0]


async def asaid_in_node(function: Any, *policies: Policy, run: Run | None = None) -> Any:
    said: list[Any] = []

    async def node(state: State) -> None:
        said.append(await function())

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    await harden(builder, policies or [Redact()]).compile().ainvoke({}, control=run or Run())
    return said[0]


def question(**state: Any) -> Any:
    return {"state": state, "questions": {"q": {"type": "noul", "instructions": f"Is it {EMAIL}?"}}}


# The table


def test_every_patch_has_a_reason_and_a_test_that_exists() -> None:
    for patch in TABLE:
        assert patch.reason
        path, _, name = patch.test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text()


def test_every_method_of_the_table_is_there_to_be_patched() -> None:
    for patch in TABLE:
        module, _, name = patch.target.partition(":")
        cls = getattr(import_module(module), name)
        for method in patch.methods:
            assert callable(inspect.getattr_static(cls, method)), f"{patch.target}.{method}"


def own(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if name in _names(cls)}


def _names(cls: type) -> set[str]:
    return {name for patch in TABLE for name in patch.methods} | {"__init_subclass__"}


def test_uninstall_restores_every_class() -> None:
    uninstall()
    classes = [patches._resolved(patch) for patch in TABLE]
    before = [own(cls) for cls in classes if cls is not None]
    install()
    assert [own(cls) for cls in classes if cls is not None] != before
    uninstall()
    assert [own(cls) for cls in classes if cls is not None] == before


def test_after_uninstall_hardening_patches_nothing() -> None:
    uninstall()
    assert said_in_node(lambda: Chat().invoke(EMAIL).text) == f"not {EMAIL}"
    assert not hasattr(BaseChatModel.invoke, "__wrapped__")


def test_the_standard_library_and_langgraph_s_internals_are_left_alone() -> None:
    import asyncio
    import time

    from langchain_core.callbacks import AsyncCallbackManager
    from langgraph.pregel import _retry

    before = (
        threading.Thread.start,
        ThreadPoolExecutor.submit,
        AsyncCallbackManager.on_llm_start,
        InMemoryStore.put,
        InMemoryStore.batch,
    )
    said_in_node(lambda: None, Tracing(), Metrics(), TokenUsage(), Redact())
    assert before == (
        threading.Thread.start,
        ThreadPoolExecutor.submit,
        AsyncCallbackManager.on_llm_start,
        InMemoryStore.put,
        InMemoryStore.batch,
    )
    assert (_retry.time, _retry.asyncio) == (time, asyncio)


def test_a_class_that_is_defined_later_is_patched_too() -> None:
    class Later(Chat):
        def invoke(self, input: Any, *args: Any, **kwargs: Any) -> AIMessage:
            return AIMessage(f"{input if isinstance(input, str) else input[-1].text} by {EMAIL}")

    assert said_in_node(lambda: Later().invoke(EMAIL).text) == "[EMAIL_ADDRESS] by [EMAIL_ADDRESS]"


NO_PROVIDER = {
    "BaseLanguageModel": "its three kinds of models are covered one by one",
    "SimpleChatModel": "a BaseChatModel",
}


def test_no_kind_of_runnable_that_reaches_a_provider_is_missing() -> None:
    """Fails when langchain-core gains another base class, as it gained `BaseDecisionModel`."""
    covered = [cls for patch in TABLE if (cls := patches._resolved(patch)) is not None]
    missing: list[str] = []
    for module in pkgutil.walk_packages(langchain_core.__path__, "langchain_core."):
        if ".runnables" in module.name or ".tracers" in module.name or ".beta" in module.name:
            continue
        try:
            loaded = import_module(module.name)
        except ImportError:
            continue
        for name, cls in vars(loaded).items():
            is_here = inspect.isclass(cls) and cls.__module__ == module.name
            if not is_here or name.startswith("_") or "[" in cls.__name__ or name in NO_PROVIDER:
                continue
            if _may_reach_a_provider(cls) and not issubclass(cls, tuple(covered)):
                missing.append(f"{module.name}.{name}")
    assert missing == []


def _may_reach_a_provider(cls: type) -> bool:
    """An abstract runnable, or other abstract class, that others implement by calling something outside."""
    if issubclass(cls, BaseLanguageModel | BaseRetriever | Embeddings | BaseTool):
        return True
    words = (
        "model",
        "embedding",
        "retriev",
        "rerank",
        "compress",
        "classif",
        "moderat",
        "provider",
    )
    says_so = any(word in cls.__name__.lower() for word in words)
    return issubclass(cls, Runnable) and inspect.isabstract(cls) and says_so


# What is reached


def test_policies_reach_every_way_to_call_a_chat_model() -> None:
    model = Chat()
    assert said_in_node(lambda: model.invoke(EMAIL).text) == "not [EMAIL_ADDRESS]"
    assert said_in_node(lambda: "".join(c.text for c in model.stream(EMAIL))) == (
        "not [EMAIL_ADDRESS]"
    )
    assert set(model.asked) == {"[EMAIL_ADDRESS]"}


def test_policies_reach_every_way_to_call_a_text_model() -> None:
    model = Texts()
    assert said_in_node(lambda: model.invoke(EMAIL)) == "not [EMAIL_ADDRESS]"
    assert said_in_node(lambda: "".join(model.stream(EMAIL))) == "not [EMAIL_ADDRESS]"
    assert set(model.asked) == {"[EMAIL_ADDRESS]"}


async def test_policies_reach_decision_models() -> None:
    model = Decides()
    asked = question(text=f"I am {EMAIL}")
    whole = said_in_node(lambda: model.invoke(asked))
    again = await asaid_in_node(lambda: model.ainvoke(asked))
    assert [r.request_id for r in (whole, again)] == ["for [EMAIL_ADDRESS]"] * 2
    assert len(model.asked) == 2
    assert EMAIL not in str(model.asked)


async def test_decisions_count_as_often_as_they_are_made() -> None:
    usage, run = TokenUsage(), Run()
    said_in_node(lambda: Decides().invoke(question(text="hi")), usage, run=run)
    await asaid_in_node(lambda: Decides().ainvoke(question(text="hi")), usage, run=run)
    assert (run.report.usage.calls, run.report.usage.total_tokens) == (2, 64)
    row = usage.ledger.usage(by="model")[0]
    assert (row.key, row.spent.calls, row.spent.total_tokens) == (("decides-1",), 2, 64)


def test_budgets_count_decisions() -> None:
    with pytest.raises(BudgetExceeded):
        said_in_node(
            lambda: [Decides().invoke(question(text="hi")) for _ in range(2)],
            TokenBudget("33", max_output=0),
        )
    with pytest.raises(BudgetExceeded):
        said_in_node(
            lambda: [Decides().invoke(question(text="hi")) for _ in range(2)],
            RunBudget(model_calls=1),
        )


async def test_policies_reach_embeddings() -> None:
    model, run = Vectors(), Run()
    assert said_in_node(lambda: model.embed_query(EMAIL), run=run) == [0.5, 0.25]
    assert await asaid_in_node(lambda: model.aembed_documents([EMAIL, "x"])) == [[0.5, 0.25]] * 2
    assert model.asked == ["[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]", "x"]
    assert (run.report.usage.calls, run.report.usage.estimated_calls) == (1, 1)


async def test_policies_reach_retrievers() -> None:
    retriever = Finds()
    found = said_in_node(lambda: retriever.invoke(EMAIL))
    again = await asaid_in_node(lambda: retriever.ainvoke(EMAIL))
    assert [d.page_content for d in (*found, *again)] == ["by [EMAIL_ADDRESS]"] * 2
    assert retriever.asked == ["[EMAIL_ADDRESS]"] * 2


def test_policies_reach_tools() -> None:
    ASKED.clear()
    assert said_in_node(lambda: look.invoke({"who": EMAIL})) == (
        "[EMAIL_ADDRESS] is [EMAIL_ADDRESS]"
    )
    assert ASKED == ["[EMAIL_ADDRESS]"]


def test_content_policies_reach_a_graph_that_a_function_calls() -> None:
    inner = StateGraph(State).add_node("inner", lambda state: {"said": f"by {EMAIL}"})
    called = inner.add_edge(START, "inner").compile()
    assert said_in_node(lambda: called.invoke({})) == {"said": "by [EMAIL_ADDRESS]"}


# Without any patch


KINDS: dict[str, Any] = {
    "chat": (Chat, lambda m: m.invoke(EMAIL).text, "not [EMAIL_ADDRESS]"),
    "stream": (Chat, lambda m: "".join(c.text for c in m.stream(EMAIL)), "not [EMAIL_ADDRESS]"),
    "texts": (Texts, lambda m: m.invoke(EMAIL), "not [EMAIL_ADDRESS]"),
    "decisions": (
        Decides,
        lambda m: m.invoke(question(text=EMAIL)).request_id,
        "for [EMAIL_ADDRESS]",
    ),
    "embeddings": (Vectors, lambda m: m.embed_query(EMAIL), [0.5, 0.25]),
    "retriever": (Finds, lambda m: m.invoke(EMAIL)[0].page_content, "by [EMAIL_ADDRESS]"),
}


@pytest.mark.parametrize(("kind", "call", "said"), KINDS.values(), ids=KINDS)
def test_what_is_given_to_guard_is_reached_without_a_patch(kind: Any, call: Any, said: Any) -> None:
    uninstall()
    original = kind()
    guarded = guard()(original)

    assert isinstance(guarded, kind)
    assert type(guarded).__name__ == kind.__name__
    assert said_in_node(lambda: call(guarded)) == said
    assert EMAIL not in str(original.asked)
    assert call(original) != said or kind is Vectors


async def test_a_guarded_model_finds_counts_and_streams_as_a_patched_one_does() -> None:
    def reports(model: Any) -> Any:
        usage, run = TokenUsage(), Run()
        said = said_in_node(
            lambda: [model.invoke(EMAIL).text, *(c.text for c in model.stream(EMAIL))],
            usage,
            Redact(),
            run=run,
        )
        spent = usage.ledger.usage()[0].spent
        return said, run.report.found, run.report.usage, spent, run.report.events

    by_patch = reports(Chat())
    uninstall()
    assert reports(guard()(Chat())) == by_patch


def test_a_guarded_tool_is_reached_without_a_patch() -> None:
    uninstall()
    ASKED.clear()
    guarded = guard()(look)
    assert said_in_node(lambda: guarded.invoke({"who": EMAIL})) == (
        "[EMAIL_ADDRESS] is [EMAIL_ADDRESS]"
    )
    assert ASKED == ["[EMAIL_ADDRESS]"]
    assert (guarded.name, guarded.args) == (look.name, look.args)


def test_a_model_s_own_policies_act_within_a_node_and_outside_of_any() -> None:
    uninstall()
    model = guard(Redact())(Chat())
    assert model.invoke(EMAIL).text == "not [EMAIL_ADDRESS]"
    assert said_in_node(lambda: model.invoke(EMAIL).text, Metrics()) == "not [EMAIL_ADDRESS]"
    assert set(model.asked) == {"[EMAIL_ADDRESS]"}


def test_a_guarded_model_binds_tools_and_configures_as_its_kind_does() -> None:
    uninstall()
    model = guard(Redact())(Chat())
    chained = model.bind(stop=["x"]).with_config(tags=["t"])
    assert said_in_node(lambda: chained.invoke(EMAIL).text) == "not [EMAIL_ADDRESS]"


def test_a_guarded_model_counts_once_where_patches_are_installed() -> None:
    run = Run()
    model = guard()(Chat())
    said_in_node(lambda: model.invoke("hi").text, TokenUsage(), run=run)
    assert run.report.usage.calls == 1


def test_readme_says_what_is_patched() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"patch", readme)


def test_middleware_reaches_what_a_tool_retrieves() -> None:
    retriever = Finds()

    @tool
    def search(who: str) -> str:
        """Search for someone."""
        return retriever.invoke(EMAIL)[0].page_content

    class Calls(Chat):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
            asked = [{"name": "search", "args": {"who": "x"}, "id": "1"}]
            said = AIMessage("done") if len(messages) > 1 else AIMessage("", tool_calls=asked)
            return ChatResult(generations=[ChatGeneration(message=said)])

    agent = create_agent(Calls(), [search], middleware=[as_middleware(Redact())])
    messages = agent.invoke({"messages": [("user", "hi")]})["messages"]

    assert retriever.asked == ["[EMAIL_ADDRESS]"]
    assert messages[-2].content == "by [EMAIL_ADDRESS]"
