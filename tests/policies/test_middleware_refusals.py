"""What middleware refuses stays in the agent's state, cleaned by the content policies that it never came to."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from tests.policies.conftest import THREAD, FakeModel, Runner

from lg_prod_nodes import ContentFilter, RateLimit, Redact, as_middleware

EMAIL = "ann@example.com"


def limit(**reply: Any) -> RateLimit:
    return RateLimit("1/minute", **(reply or {"reply": "Slow down."}))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([limit(), Redact()], ["bomb [EMAIL_ADDRESS]", "Slow down."]),
        ([Redact(), limit()], ["bomb [EMAIL_ADDRESS]", "Slow down."]),
        ([ContentFilter(["bomb"], reply="No."), Redact()], ["[BLOCKED] [EMAIL_ADDRESS]", "No."]),
        ([Redact(), ContentFilter(["bomb"], reply="No.")], ["[BLOCKED] [EMAIL_ADDRESS]", "No."]),
        (
            [limit(reply=lambda error: {"messages": ("ai", "Later.")}), Redact()],
            ["bomb [EMAIL_ADDRESS]", "Later."],
        ),
    ],
)
async def test_a_refused_input_is_cleaned(run: Runner, policies: Any, expected: list[str]) -> None:
    agent = create_agent(
        FakeModel(says="hi"),
        [],
        middleware=[as_middleware(*policies)],
        checkpointer=InMemorySaver(),
    )
    await run(agent, {"messages": [("user", "hello")]}, THREAD)
    await run(agent, {"messages": [("user", f"bomb {EMAIL}")]}, THREAD)

    messages = agent.get_state(THREAD).values["messages"]
    assert [message.text for message in messages][-2:] == expected
