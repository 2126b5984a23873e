"""What is said to somebody who holds the library the wrong way round."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from tests.policies.conftest import THREAD, FakeModel, Runner, asks, notes, one
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Bulkhead,
    CaptureErrors,
    ConfigurationError,
    ContentFilter,
    Fallback,
    Metrics,
    Policy,
    Production,
    RateLimit,
    Redact,
    StoreUnavailable,
    TokenBudget,
    as_middleware,
    as_node,
    guard,
    harden,
)


def works(state: Any) -> Any:
    return {"log": ["ran"]}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            lambda: harden(one(works, "search"), nodes={"serach": []}),
            r"no node named 'serach'; did you mean 'search'\?",
        ),
        (
            lambda: harden(one(works, "a"), nodes={"xyz": []}),
            "no node named 'xyz'; the graph has a",
        ),
        (
            lambda: harden(one(works), [CaptureErrors(then=Command(goto="noed"))]),
            r"goes to noed, which the graph lacks; did you mean 'node'\?",
        ),
        (lambda: Redact("EMAIL_ADRESS"), r"Did you mean EMAIL_ADDRESS\?"),
        (lambda: Redact(strategy="mask_"), r"unknown strategy 'mask_'; did you mean 'mask'\?"),
        (lambda: Fallback(answer="", on=("transiant",)), r"did you mean 'transient'\?"),
        (
            lambda: RateLimit("1/hour", maxwait=1),
            r"RateLimit has no setting 'maxwait'; did you mean 'max_wait'\?",
        ),
        (
            lambda: Redact(strateg="mask"),
            r"Redact has no setting 'strateg'; did you mean 'strategy'",
        ),
        (lambda: Metrics(zzz=1), "Metrics has no setting 'zzz'; choose among"),
        (lambda: Production(one(works), nmae="x"), r"nmae is no option .*did you mean 'name'\?"),
    ],
    ids=range(10),
)
def test_a_misspelled_name_is_answered_with_the_one_that_was_meant(wrong: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        wrong()


@pytest.mark.parametrize("policy", [Redact, Metrics, Bulkhead, TokenBudget, ContentFilter])
def test_a_decorator_without_parentheses_is_told_to_have_some(policy: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"parentheses: @{policy.__name__}\(\.\.\.\)"):
        policy(works)


def test_so_is_one_whose_first_setting_may_be_a_function() -> None:
    mistaken: Any = RateLimit(works)

    with pytest.raises(ConfigurationError, match=r"parentheses: @RateLimit\(\.\.\.\)"):
        mistaken({"log": []})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: harden(one(works), [Redact]),
        lambda: guard(Redact),
        lambda: as_middleware(Redact),
        lambda: harden(one(works), nodes={"node": [Redact]}),
    ],
    ids=["harden", "guard", "as_middleware", "nodes"],
)
def test_a_class_in_the_place_of_a_policy_is_told_to_be_made(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"give an instance: Redact\(\.\.\.\)"):
        wrong()


def test_a_policy_in_the_place_of_middleware_is_told_how_to_become_one() -> None:
    wrong: Any = [Redact()]

    with pytest.raises(
        ConfigurationError, match=r"middleware=\[as_middleware\(Redact\(\.\.\.\)\)\]"
    ):
        create_agent(FakeListChatModel(responses=["hi"]), [], middleware=wrong)
    assert not hasattr(Redact(), "wrap_model_call")


@dataclass(frozen=True)
class Forgets(Policy):
    """A policy whose author forgot to return the result."""

    async def wrap(self, call: Any, handler: Any) -> Any:
        await handler(call)


@dataclass(frozen=True)
class Sleeps(Policy):
    """A policy whose author took asyncio's sleep."""

    seconds: float = 0.01

    async def wrap(self, call: Any, handler: Any) -> Any:
        await asyncio.sleep(self.seconds)
        return await handler(call)


async def test_a_wrap_that_returns_nothing_is_named(run: Runner) -> None:
    graph = harden(one(notes("ran")), [Forgets()]).compile()

    with pytest.raises(ConfigurationError, match=r"Forgets\.wrap returned nothing.*return await"):
        await run(graph, {"log": []})


def test_so_is_one_of_a_decorator_and_of_a_prebuilt_node() -> None:
    for node in (Forgets()(works), as_node(Forgets())):
        with pytest.raises(ConfigurationError, match=r"Forgets\.wrap returned nothing"):
            one(node).compile().invoke({"log": []})


async def test_a_call_that_gives_nothing_may_return_nothing(run: Runner) -> None:
    graph = harden(one(lambda state: None), [Forgets()]).compile()

    assert (await run(graph, {"log": ["before"]}))["log"] == ["before"]


def test_the_policies_of_this_library_are_called_without_a_check() -> None:
    from lg_prod_nodes.runtime.contract import wrap_of

    class Ours(Metrics):
        """A policy of a user's that inherits `wrap`."""

    for policy in (Metrics(), Ours()):
        assert wrap_of(policy) == policy.wrap
    assert wrap_of(Forgets()) != Forgets().wrap


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_a_policy_that_sleeps_in_an_event_loop_is_told_how_to_sleep(seconds: float) -> None:
    graph = harden(one(notes("ran")), [Sleeps(seconds)]).compile()

    with pytest.raises(ConfigurationError, match=r"await call\.sleep\(seconds\)"):
        graph.invoke({"log": []})


def test_a_node_that_needs_an_event_loop_keeps_its_error() -> None:
    def node(state: Any) -> Any:
        asyncio.get_running_loop()

    class Passes(Policy):
        async def wrap(self, call: Any, handler: Any) -> Any:
            return await handler(call)

    with pytest.raises(RuntimeError, match="no running event loop") as raised:
        harden(one(node), [Passes()]).compile().invoke({"log": []})
    assert not isinstance(raised.value, ConfigurationError)


async def test_asking_a_person_needs_a_checkpointer(run: Runner) -> None:
    policy = TokenBudget("10", ask=True, max_output=500)
    builder = harden(one(asks(FakeModel())), [policy])
    hello = {"messages": [("user", "hi")]}

    with pytest.raises(ConfigurationError, match=r"TokenBudget\(ask=True\).*checkpointer=InMemory"):
        await run(builder.compile(), hello)
    asked = await run(builder.compile(InMemorySaver()), hello, THREAD)
    assert "__interrupt__" in asked or asked["messages"]


class Errors(TypedDict, total=False):
    text: str
    table: dict[str, Any]
    plain: list[Any]
    reduced: Annotated[list[Any], operator.add]
    anything: Any
    either: list[Any] | None


def test_a_state_key_has_to_hold_lists() -> None:
    builder = StateGraph(Errors).add_node("node", works).add_edge(START, "node")

    for field, kind in (("text", "str"), ("table", "dict")):
        with pytest.raises(
            ConfigurationError, match=rf"state_key='{field}'.*type {kind}; declare .*list\[dict\]"
        ):
            harden(builder, [CaptureErrors(then="continue", state_key=field)])
    for field in ("plain", "reduced", "anything", "either"):
        harden(builder, [CaptureErrors(then="continue", state_key=field)])


def test_the_graph_is_called_inside_of_the_block_alone(dsn: str) -> None:
    production: Any = Production(one(notes("ran")), postgres=dsn)

    with pytest.raises(AttributeError, match=r"Production has no invoke\(\).*as app"):
        production.invoke({"log": []})
    with production as app:
        app.invoke({"log": []}, THREAD)
    with pytest.raises(
        StoreUnavailable, match="use the graph inside of the block of its Production"
    ):
        app.invoke({"log": []}, THREAD)
