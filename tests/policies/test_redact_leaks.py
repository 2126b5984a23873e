"""What `Redact` takes away is in no error, log, stream, store or checkpoint."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Send
from tests.canary.errors import KINDS, plain
from tests.policies.conftest import THREAD, FakeModel, State, asks, notes, one, saved

from lg_prod_nodes import Redact, Tracing, harden

EMAIL = "ann" + "@example.com"  # in two, so that a traceback does not show it as code


@pytest.mark.parametrize("fail", KINDS)
def test_errors_and_their_tracebacks_are_clean(fail: Callable[[str], None]) -> None:
    saver = InMemorySaver()
    graph = harden(one(lambda state: fail(EMAIL)), [Redact("EMAIL_ADDRESS")]).compile(saver)

    with pytest.raises(Exception) as raised:  # noqa: PT011 - each case has its own type
        graph.invoke({"text": "x"}, THREAD)

    assert EMAIL not in "".join(traceback.format_exception(raised.value)) + saved(saver)


def test_an_error_that_is_blocked_does_not_show_in_the_traceback() -> None:
    policy = Redact("EMAIL_ADDRESS", strategy="block")
    graph = harden(one(lambda state: plain(EMAIL)), [policy]).compile()

    with pytest.raises(Exception) as raised:  # noqa: PT011
        graph.invoke({"text": "x"})

    assert EMAIL not in "".join(traceback.format_exception(raised.value))


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    caplog.set_level(logging.DEBUG)
    graph = harden(one(lambda state: plain(EMAIL)), [Tracing(), Redact()]).compile()

    with pytest.raises(ValueError, match="EMAIL_ADDRESS"):
        graph.invoke({"text": f"{EMAIL}, DE89370400440532013000"})

    logged = caplog.text + "".join(capsys.readouterr())
    assert EMAIL not in logged
    assert "DE89370400440532013000" not in logged


def puts(state: Any, *, store: BaseStore) -> Any:
    store.put(("users",), "1", {"mail": EMAIL})


def calls_a_graph(state: Any) -> Any:
    one(notes("ran")).compile().invoke({"text": EMAIL})


def test_what_a_conditional_edge_sends_is_clean() -> None:
    saver = InMemorySaver()
    builder = StateGraph(State).add_node("start", notes("ran")).add_node("work", notes("ran"))
    builder.add_edge(START, "start").add_conditional_edges(
        "start", lambda state: Send("work", {"text": EMAIL}), ["work"]
    )

    harden(builder, [Redact()]).compile(saver).invoke({"log": []}, THREAD)

    assert EMAIL not in saved(saver)


def test_a_subgraph_that_looks_for_something_else_is_clean_of_both() -> None:
    saver = InMemorySaver()
    inner = harden(one(lambda state: {"text": EMAIL}), [Redact("US_SSN")]).compile()

    harden(one(inner), [Redact("EMAIL_ADDRESS")]).compile(saver).invoke({"log": []}, THREAD)

    assert EMAIL not in saved(saver)


def test_what_a_node_calls_a_graph_with_is_clean() -> None:
    saver = InMemorySaver()

    harden(one(calls_a_graph), [Redact()]).compile(saver).invoke({"log": []}, THREAD)

    assert EMAIL not in saved(saver)


@pytest.mark.parametrize(
    "config",
    [
        {"metadata": {"who": EMAIL}},
        {"configurable": {"who": EMAIL}},
        {"tags": [EMAIL]},
    ],
)
def test_what_is_configured_is_clean_in_each_checkpoint(config: Any) -> None:
    saver = InMemorySaver()
    configurable = {**THREAD["configurable"], **config.get("configurable", {})}

    graph = harden(one(notes("ran")), [Redact()]).compile(saver)
    graph.invoke({"log": []}, {**config, "configurable": configurable})

    assert EMAIL not in saved(saver)


def test_what_is_put_into_the_store_is_clean() -> None:
    store = InMemoryStore()

    harden(one(puts), [Redact()]).compile(store=store).invoke({"log": []})

    assert EMAIL not in repr(store.search(("users",)))


def test_the_custom_stream_is_clean() -> None:
    graph = harden(one(lambda state: get_stream_writer()(EMAIL)), [Redact()]).compile()

    assert EMAIL not in repr(list(graph.stream({"log": []}, stream_mode="custom")))


def test_the_messages_stream_is_clean(model: FakeModel) -> None:
    model.says = f"it is {EMAIL}"
    graph = harden(one(asks(model)), [Redact()]).compile()

    parts = graph.stream({"messages": [("user", "x")]}, stream_mode="messages")

    assert EMAIL not in "".join(message.text for message, _ in parts)


def test_an_update_of_the_state_names_the_thread_as_it_is() -> None:
    config = {"configurable": {"thread_id": "+12125550142"}}
    graph = harden(one(notes("ran")), [Redact()]).compile(InMemorySaver())

    after = graph.update_state(config, {"text": "x"}, as_node="node")

    assert after["configurable"]["thread_id"] == "+12125550142"
