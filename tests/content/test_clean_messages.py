"""A message that was seen clean is searched again once anything in it may have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatResult
from pydantic import Field
from tests.policies.conftest import FakeModel, one

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.content.clean import clean_messages
from lg_prod_nodes.content.walk import rewrite

EMAIL = "ann@example.com"


def with_call() -> AIMessage:
    return AIMessage("fine", tool_calls=[{"name": "send", "args": {"to": "x"}, "id": "1"}])


def set_tool_arguments(message: Any) -> None:
    message.tool_calls[0]["args"]["to"] = EMAIL


def add_tool_call(message: Any) -> None:
    message.tool_calls.append({"name": "send", "args": {"to": EMAIL}, "id": "2"})


def set_artifact(message: Any) -> None:
    message.artifact = {"to": EMAIL}


def set_further_field(message: Any) -> None:
    message.note = EMAIL


def set_name(message: Any) -> None:
    message.name = EMAIL


def set_kwargs(message: Any) -> None:
    message.additional_kwargs["to"] = EMAIL


def set_invalid_call(message: Any) -> None:
    message.invalid_tool_calls.append({"name": "send", "args": EMAIL, "id": "1", "error": None})


def set_content(message: Any) -> None:
    message.content = f"mail {EMAIL}"


class Seeing(FakeModel):
    """Remembers all that it was asked."""

    given: list[Any] = Field(default_factory=list)

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self.given.extend(messages)
        return super()._generate(messages, *args, **options)


CHANGES: dict[Callable[[Any], None], Callable[[], BaseMessage]] = {
    set_tool_arguments: with_call,
    add_tool_call: lambda: AIMessage("fine"),
    set_artifact: lambda: ToolMessage("fine", tool_call_id="1"),
    set_further_field: lambda: AIMessage("fine"),
    set_name: lambda: AIMessage("fine"),
    set_kwargs: lambda: AIMessage("fine"),
    set_invalid_call: lambda: AIMessage("fine"),
    set_content: lambda: AIMessage("fine"),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_message_that_was_changed_in_its_place_is_searched_again(
    change: Callable[[Any], None],
) -> None:
    message = CHANGES[change]()
    clean = clean_messages({"messages": [message]})
    change(message)

    after = rewrite([message], Redact().replacer().change, clean=clean)

    assert EMAIL not in repr(after)
    assert "[EMAIL_ADDRESS]" in repr(after)


def test_a_message_with_a_text_alone_is_not_searched_again() -> None:
    message = AIMessage("fine")

    def fails(text: str) -> str:
        raise AssertionError(text)

    after = rewrite([message], fails, clean=clean_messages({"messages": [message]}))

    assert after == [message]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_model_never_gets_what_its_node_changed_in_place(change: Callable[[Any], None]) -> None:
    model = Seeing(says="fine")

    def node(state: Any) -> Any:
        change(state["messages"][-1])
        return {"messages": [model.invoke(state["messages"])]}

    graph = harden(one(node), [Redact()]).compile()

    graph.invoke({"messages": [CHANGES[change]()]})

    assert "[EMAIL_ADDRESS]" in repr(model.given)
    assert EMAIL not in repr(model.given)
