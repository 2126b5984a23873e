"""What no longer fits its schema because it was replaced: the error names Redact and the way out, which works."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel, StringConstraints, ValidationError
from tests.policies.conftest import Runner, one

from lg_prod_nodes import At, ConfigurationError, Redact, harden
from lg_prod_nodes.runtime import patches
from lg_prod_nodes.stores.vault.store import Vault

EMAIL = "ann@example.com"
KEY = b"k" * 32
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]+$")]


class Contact(BaseModel):
    email: Email
    said: str = ""


class Invite(BaseModel):
    """Invite someone."""

    email: Email


EACH: Any = {
    "redact": {},
    "mask": {"strategy": "mask"},
    "hash": {"strategy": "hash", "key": KEY},
    "tokenize": {"strategy": "tokenize", "vault": Vault(key=KEY)},
}
PLACE = "strategies={At(field='email'): 'surrogate'}, key=...)"


@pytest.mark.parametrize("strategy", EACH)
async def test_a_constrained_field_says_that_redact_replaced_it(run: Runner, strategy: str) -> None:
    builder = StateGraph(Contact).add_node("greet", lambda state: {"said": state.email})
    graph = harden(builder.add_edge(START, "greet"), [Redact(**EACH[strategy])]).compile()

    with pytest.raises(ValidationError, match="String should match pattern") as caught:
        await run(graph, {"email": EMAIL})

    assert "Redact replaced" in str(caught.value)
    assert PLACE in str(caught.value)
    assert str(caught.value).count("Redact replaced") == 1
    assert EMAIL not in str(caught.value)
    assert caught.value.errors()[0]["type"] == "string_pattern_mismatch"


@pytest.mark.parametrize("way", ["surrogate", "keep", lambda value: "user@example.org"])
async def test_the_way_out_works(run: Runner, way: Any) -> None:
    builder = StateGraph(Contact).add_node("greet", lambda state: {"said": state.email})
    policy = Redact(strategies={At(field="email"): way}, key=KEY)
    graph = harden(builder.add_edge(START, "greet"), [policy]).compile()

    result = await run(graph, {"email": EMAIL})

    assert (result["email"] == EMAIL) == (way == "keep")
    if way != "keep":
        assert result["said"] == result["email"]


async def test_an_error_of_the_user_s_own_stays_as_it_was(run: Runner) -> None:
    builder = StateGraph(Contact).add_node("greet", lambda state: {})
    graph = harden(builder.add_edge(START, "greet"), [Redact()]).compile()

    with pytest.raises(ValidationError) as caught:
        await run(graph, {"email": "nobody", "said": EMAIL})

    assert "Redact" not in str(caught.value)


async def test_a_model_in_a_node_says_it_too(run: Runner) -> None:
    def checks(state: Any) -> Any:
        try:
            Invite.model_validate({"email": state["text"]})
        except ValidationError as error:
            raise RuntimeError("no invitation") from error

    graph = harden(one(checks), [Redact()]).compile()
    with pytest.raises(RuntimeError) as caught:
        await run(graph, {"text": EMAIL})

    (note,) = (note for note in caught.value.__notes__ if "Redact" in note)
    assert note.startswith("Redact replaced the EMAIL_ADDRESS here")
    assert "At('email')" in note


async def test_a_typed_tool_s_error_says_it_to_model_and_developer(run: Runner) -> None:
    @tool(args_schema=Invite)
    def invite(email: str) -> str:
        """Invite someone."""
        return "ok"

    builder = StateGraph(MessagesState).add_node("tools", ToolNode([invite]))
    graph = harden(builder.add_edge(START, "tools"), [Redact()]).compile()
    call = {"name": "invite", "args": {"email": EMAIL}, "id": "1"}

    result = await run(graph, {"messages": [AIMessage("", tool_calls=[call])]})

    said = result["messages"][-1].text
    assert "Redact replaced the EMAIL_ADDRESS here" in said
    assert "At('email', tool='invite')" in said


class Answering(GenericFakeChatModel):
    calls: int = 0
    as_text: bool = False

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def bind(self, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
        self.calls += 1
        if self.calls > 5:
            raise RuntimeError("asked again and again")
        call = {"name": "Invite", "args": {"email": EMAIL}, "id": str(self.calls)}
        text = AIMessage(f'{{"email": "{EMAIL}"}}')
        self.messages = iter([text if self.as_text else AIMessage("", tool_calls=[call])])
        return super()._generate(messages, stop, run_manager, **kw)

    def _stream(self, messages: Any, *args: Any, **kw: Any) -> Any:
        message = self._generate(messages).generations[0].message
        calls = [
            {"name": c["name"], "args": json.dumps(c["args"]), "id": c["id"], "index": 0}
            for c in message.tool_calls
        ]
        chunk = AIMessageChunk(message.content, tool_call_chunks=calls)
        yield ChatGenerationChunk(message=chunk)


QUESTION: Any = {"messages": [("user", "invite her")]}


@pytest.mark.parametrize("handles", [True, "Please try again.", lambda error: "again"])
async def test_a_structured_answer_that_cannot_be_valid_ends_the_run(
    run: Runner, handles: Any
) -> None:
    model = Answering(messages=iter([]))
    answer = ToolStrategy(Invite, handle_errors=handles)
    graph = harden(create_agent(model, [], response_format=answer), [Redact()])

    with pytest.raises(ConfigurationError, match="the structured answer Invite cannot") as caught:
        await run(graph, QUESTION)

    assert model.calls == 1
    assert "At('email', tool='Invite')" in str(caught.value)


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
@pytest.mark.parametrize("way", ["surrogate", "keep"])
@pytest.mark.parametrize("mode", ["values", "messages"])
def test_a_structured_answer_works_with_a_fitting_strategy(
    strategy: Any, way: Any, mode: Any
) -> None:
    model = Answering(messages=iter([]), as_text=strategy is ProviderStrategy)
    agent = create_agent(model, [], response_format=strategy(Invite))
    graph = harden(agent, [Redact(strategies={At("email"): way}, key=KEY)])

    answers = [
        item["structured_response"].email
        for kind, item in graph.stream(QUESTION, stream_mode=["values", mode])
        if kind == "values" and "structured_response" in item
    ]

    assert model.calls == 1
    assert (answers[-1] == EMAIL) == (way == "keep")
    assert Invite(email=answers[-1])


async def test_a_provider_s_structured_answer_says_it(run: Runner) -> None:
    model = Answering(messages=iter([]), as_text=True)
    agent = create_agent(model, [], response_format=ProviderStrategy(Invite))
    with pytest.raises(Exception, match="Failed to parse") as caught:
        await run(harden(agent, [Redact()]), QUESTION)

    assert any("Redact replaced" in note for note in caught.value.__notes__)
    assert model.calls == 1


async def test_another_mistake_of_a_structured_answer_is_asked_again(run: Runner) -> None:
    class Told(Answering):
        def _generate(self, messages: Any, *args: Any, **kw: Any) -> Any:
            result = super()._generate(messages, *args, **kw)
            email = "nobody" if self.calls == 1 else "user@corp.internal"
            result.generations[0].message.tool_calls[0]["args"]["email"] = email
            return result

    model = Told(messages=iter([]))
    agent = create_agent(model, [], response_format=ToolStrategy(Invite))
    policy = Redact(strategies={At("email"): "keep"})
    assert (await run(harden(agent, [policy]), QUESTION))["structured_response"].email
    assert model.calls == 2


def test_agents_that_are_imported_later_are_patched_by_the_next_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (patch,) = (patch for patch in patches.TABLE if not patch.loads)
    name = patch.target.partition(":")[0]
    patches.uninstall()
    with monkeypatch.context() as unloaded:
        unloaded.delitem(sys.modules, name)
        patches.install()
        assert patches._resolved(patch) is None
    native = vars(patches._resolved(patch) or object)["parse"]
    harden(one(lambda state: {}), [Redact()])
    assert vars(patches._resolved(patch) or object)["parse"].__wrapped__ is native
