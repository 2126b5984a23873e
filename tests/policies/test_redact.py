"""Where content crosses, it is redacted: each test reads all that the checkpointer holds."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import ParentCommand
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Overwrite, Send, interrupt
from pydantic import BaseModel
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    notes,
    one,
    said,
    saved,
)

from lg_prod_nodes import Redact, guard, harden

EMAIL, REDACTED = "ann@example.com", "[EMAIL_ADDRESS]"
EMAILS = Redact("EMAIL_ADDRESS")


def writes(update: Any) -> Any:
    """A node that gives an update."""
    return lambda state: update


async def test_the_input_is_clean_before_its_first_checkpoint(
    run: Runner, model: FakeModel
) -> None:
    saver = InMemorySaver()
    graph = harden(one(asks(model)), [EMAILS]).compile(saver)

    result = await run(graph, {"messages": [("user", f"I am {EMAIL}")], "text": EMAIL}, THREAD)

    assert EMAIL not in saved(saver)
    assert said(result) == [f"I am {REDACTED}", "hello there"]
    assert result["text"] == REDACTED
    assert model.asked == [f"I am {REDACTED}"]


@pytest.mark.parametrize(
    "update",
    [
        {"text": EMAIL},
        {"messages": [AIMessage(EMAIL, id="1")]},
        {"messages": [("ai", EMAIL)]},
        {"messages": [{"role": "assistant", "content": EMAIL}]},
        {"log": [{"deep": [("er", EMAIL)]}]},
        {"log": Overwrite([EMAIL])},
        Command(update={"text": EMAIL}),
        Command(update=[("log", [EMAIL])], goto="__end__"),
        [Command(update={"text": EMAIL}), {"log": [EMAIL]}],
    ],
    ids=repr,
)
async def test_what_a_node_returns_is_clean_before_it_is_written(run: Runner, update: Any) -> None:
    saver = InMemorySaver()
    graph = harden(one(writes(update)), [EMAILS]).compile(saver)

    result = await run(graph, {"log": []}, THREAD)

    assert EMAIL not in saved(saver) + repr(result)
    assert REDACTED in repr(result)


async def test_what_is_sent_to_a_node_is_clean(run: Runner) -> None:
    builder = StateGraph(State).add_node("work", lambda state: {"log": [state["text"]]})
    builder.add_node("spread", writes(Command(goto=[Send("work", {"text": EMAIL})])))
    saver = InMemorySaver()
    graph = harden(builder.add_edge(START, "spread"), [EMAILS]).compile(saver)

    assert (await run(graph, {"log": []}, THREAD))["log"] == [REDACTED]
    assert EMAIL not in saved(saver)


async def test_a_command_to_the_parent_is_clean(run: Runner) -> None:
    inner = one(writes(Command(graph=Command.PARENT, update={"text": EMAIL}, goto="after")))
    builder = one(inner.compile(), "inner", destinations=("after",))
    saver = InMemorySaver()
    graph = harden(builder.add_node("after", notes("came")), [EMAILS]).compile(saver)

    result = await run(graph, {"log": []}, THREAD)

    assert (result["text"], result["log"]) == (REDACTED, ["came"])
    assert EMAIL not in saved(saver)


def test_a_raised_command_is_clean() -> None:
    def node(state: State) -> Any:
        raise ParentCommand(Command(update={"text": EMAIL}))

    with pytest.raises(ParentCommand) as raised:
        guard(EMAILS)(node)({})
    assert raised.value.args[0].update == {"text": REDACTED}


async def test_interrupts_and_what_resumes_them_are_clean(run: Runner) -> None:
    saver = InMemorySaver()
    builder = one(lambda state: {"text": interrupt({"is it": EMAIL})})
    graph = harden(builder, [EMAILS]).compile(saver)

    await run(graph, {"log": []}, THREAD)
    (paused,) = graph.get_state(THREAD).interrupts
    result = await run(graph, Command(resume=f"it is {EMAIL}"), THREAD)

    assert paused.value == {"is it": REDACTED}
    assert result["text"] == f"it is {REDACTED}"
    assert EMAIL not in saved(saver)


async def test_updates_of_the_state_are_clean(run: Runner) -> None:
    saver = InMemorySaver()
    graph = harden(one(notes("ran")), [EMAILS]).compile(saver)
    await run(graph, {"log": []}, THREAD)

    if run.__name__.startswith("a"):
        await graph.aupdate_state(THREAD, {"text": EMAIL}, as_node="node")
    else:
        graph.update_state(THREAD, {"text": EMAIL}, as_node="node")

    assert graph.get_state(THREAD).values["text"] == REDACTED
    assert EMAIL not in saved(saver)


async def test_exceptions_are_clean(run: Runner) -> None:
    def node(state: State) -> Any:
        raise LookupError(f"nobody named {EMAIL}", {"asked": EMAIL}, 404)

    saver = InMemorySaver()
    graph = harden(one(node), [EMAILS]).compile(saver)

    with pytest.raises(LookupError) as raised:
        await run(graph, {"log": []}, THREAD)

    assert raised.value.args == (f"nobody named {REDACTED}", {"asked": REDACTED}, 404)
    assert EMAIL not in saved(saver)


async def test_what_fails_is_still_retried(run: Runner) -> None:
    tries: list[str] = []

    def node(state: State) -> Any:
        tries.append(state["text"])
        if len(tries) < 3:
            raise ValueError(EMAIL)
        return {"text": EMAIL}

    graph = harden(one(node, retry_policy=AT_ONCE), [EMAILS]).compile()

    assert (await run(graph, {"text": EMAIL}))["text"] == REDACTED
    assert tries == [REDACTED] * 3


class Model(BaseModel):
    text: str = ""
    note: dict[str, Any] = {}
    log: Annotated[list[Any], operator.add] = []


@dataclass
class Data:
    text: str = ""
    note: dict[str, Any] = field(default_factory=dict)
    log: Annotated[list[Any], operator.add] = field(default_factory=list)


@pytest.mark.parametrize("schema", [Model, Data])
async def test_states_that_are_objects_stay_so(run: Runner, schema: Any) -> None:
    saw: list[Any] = []

    def node(state: Any) -> Any:
        saw.append(state)
        return schema(text=EMAIL, note={"to": EMAIL})

    saver = InMemorySaver()
    graph = harden(one(node, schema=schema), [EMAILS]).compile(saver)
    result = await run(graph, schema(text=EMAIL, log=[EMAIL]), THREAD)

    assert saw == [schema(text=REDACTED, log=[REDACTED])]
    assert result["note"] == {"to": REDACTED}
    assert EMAIL not in saved(saver) + repr(result)


async def test_subgraphs_are_clean(run: Runner, model: FakeModel) -> None:
    inner = one(asks(model), "model").add_node("tell", writes({"text": EMAIL}))
    saver = InMemorySaver()
    graph = harden(one(inner.add_edge("model", "tell").compile()), [EMAILS]).compile(saver)

    result = await run(graph, {"messages": [("user", EMAIL)]}, THREAD)

    assert result["text"] == REDACTED
    assert model.asked == [REDACTED]
    assert EMAIL not in saved(saver)


async def test_an_agent_s_tools_are_clean(run: Runner) -> None:
    told: list[str] = []

    @tool(response_format="content_and_artifact")
    def look_up(who: str) -> tuple[str, dict[str, str]]:
        """Look somebody up."""
        told.append(who)
        return f"found {EMAIL}", {"raw": EMAIL}

    call = {"name": "look_up", "args": {"who": EMAIL}, "id": "1", "type": "tool_call"}
    agent = create_agent(
        FakeModel(calls=(call,)), [look_up], checkpointer=(saver := InMemorySaver())
    )

    result = await run(harden(agent, [EMAILS]), {"messages": [("user", EMAIL)]}, THREAD)

    assert told == [REDACTED]
    assert said(result) == [REDACTED, "hello there", f"found {REDACTED}", "hello there"]
    assert EMAIL not in saved(saver)


@pytest.mark.parametrize("mode", ["values", "updates", "tasks", "checkpoints", "debug"])
def test_streams_of_the_state_are_clean(mode: Any, model: FakeModel) -> None:
    model.says = f"it is {EMAIL}"
    graph = harden(one(asks(model)), [EMAILS]).compile(InMemorySaver())

    parts = list(graph.stream({"messages": [("user", EMAIL)]}, THREAD, stream_mode=mode))

    assert REDACTED in repr(parts)
    assert EMAIL not in repr(parts)
