"""A secret under a key that names it is found in data as it is in the same data written as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from lg_prod_nodes import Redact, harden
from lg_prod_nodes.content.rules import names_a_secret
from lg_prod_nodes.content.walk import rewrite

PASSWORD, KEY = "Tr0ub4dor&3", "9f86d081884c7d65"


def redacted(value: Any) -> Any:
    return rewrite(value, Redact().replacer().change)


class Login(BaseModel):
    password: str


@dataclass
class Settings:
    api_key: str


SHAPES = {
    "dict": {"password": PASSWORD},
    "deep": {"service": {"client_secret": KEY}},
    "list": {"api_key": [KEY]},
    "pydantic model": Login(password=PASSWORD),
    "dataclass": Settings(KEY),
    "tool call": AIMessage(
        "", tool_calls=[{"name": "login", "args": {"password": PASSWORD}, "id": "1"}]
    ),
    "artifact": ToolMessage("", tool_call_id="1", artifact={"password": PASSWORD}),
    "upper case": {"DB_PASSWORD": PASSWORD},
}


@pytest.mark.parametrize("value", SHAPES.values(), ids=SHAPES)
def test_a_secret_under_a_key_that_names_it_is_found(value: Any) -> None:
    after = repr(redacted(value))

    assert PASSWORD not in after
    assert KEY not in after
    assert "[SECRET]" in after


@pytest.mark.parametrize(
    "value",
    [
        {"password": PASSWORD},
        {"api_key": KEY},
        {"token": "next"},
        {"secret": "ann@example.com"},
        {"password": "two\nlines"},
        {"password": 'a "quoted" 9Xz'},
        {"password": True, "secret": None, "token": 7},
        {"max_tokens": 4096, "tokens": [1, 2]},
    ],
    ids=repr,
)
def test_data_becomes_what_its_json_becomes(value: Any) -> None:
    assert redacted(value) == json.loads(redacted(json.dumps(value)))


def test_what_is_no_secret_stays_the_very_same_object() -> None:
    value = {"password": "", "token": "next", "secret": ["two words"]}

    assert redacted(value) is value


def test_a_key_does_not_block_what_stands_under_it() -> None:
    value = {"password": "none"}

    assert rewrite(value, lambda text: text.replace("password", "X")) == value


@pytest.mark.parametrize("key", ["password", "dbPassword", "X-Api-Key", "access_token", "user_pin"])
def test_names_of_secrets(key: str) -> None:
    assert names_a_secret(key)


@pytest.mark.parametrize("key", ["max_tokens", "passenger", "monkey", "opinion", 7, None])
def test_names_of_other_things(key: Any) -> None:
    assert not names_a_secret(key)


def test_an_agent_keeps_no_password_of_a_tool_call() -> None:
    @tool
    def login(username: str, password: str) -> str:
        """Log in."""
        return "in"

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    given = {"username": "ann", "password": PASSWORD}
    function = {"name": "login", "arguments": json.dumps(given)}
    asks = AIMessage(
        "",
        tool_calls=[{"name": "login", "args": given, "id": "1"}],
        additional_kwargs={"tool_calls": [{"id": "1", "type": "function", "function": function}]},
    )
    model = Model(messages=iter([asks, AIMessage("done")]))
    agent = harden(create_agent(model, [login], checkpointer=InMemorySaver()), [Redact()])
    config: Any = {"configurable": {"thread_id": "1"}}

    agent.invoke({"messages": [("user", "log in")]}, config)

    assert PASSWORD not in repr(agent.get_state(config).values)
