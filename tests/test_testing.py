"""The laws that users check their own policies and nodes by: each is broken by somebody, and by none of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langgraph.errors import GraphBubbleUp
from langgraph.graph import MessagesState
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from lg_prod_nodes import (
    Bulkhead,
    Call,
    CaptureErrors,
    CircuitBreaker,
    ContentFilter,
    CostBudget,
    Deadline,
    Fallback,
    Handler,
    Metrics,
    Policy,
    RateLimit,
    Redact,
    RunBudget,
    Timeout,
    TokenBudget,
    TokenUsage,
    Tracing,
)
from lg_prod_nodes.testing import LawBroken, check_node, check_policy, node_laws, policy_laws

OBSERVERS: list[Policy] = [Tracing(), Metrics(), TokenUsage(), CaptureErrors()]
OTHERS: list[Policy] = [
    Deadline(600.0),
    Timeout(600.0),
    RateLimit("100000/second"),
    Bulkhead(1000),
    RunBudget(),
    TokenBudget("1000000000/day"),
    TokenBudget("1000000000/day", ask=True, name="asking"),
    CostBudget("1000000/day", unpriced=1),
    CircuitBreaker(minimum=10_000),
    Fallback(model=FakeListChatModel(responses=["never asked"])),
    ContentFilter(["a term that does not occur"]),
    Redact("EMAIL_ADDRESS"),
]


def named(policy: Policy) -> str:
    return getattr(policy, "name", type(policy).__name__)


@pytest.mark.parametrize("policy", OBSERVERS + OTHERS, ids=named)
def test_each_policy_keeps_the_laws(policy: Policy, policy_law: Callable[..., None]) -> None:
    policy_law(policy)


@settings(max_examples=4, phases=[Phase.generate])
@given(st.permutations(OBSERVERS), st.permutations(OTHERS))
def test_all_policies_keep_the_laws_in_any_order(observers: Any, others: Any) -> None:
    check_policy(*observers, *others)


@dataclass(frozen=True)
class Broken(Policy):
    """A policy that is wrong in one way."""


class Swallows(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except Exception:
            return None


class TurnsIntoErrors(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except GraphBubbleUp as error:
            raise RuntimeError("bubbled") from error


class CatchesCancellations(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except asyncio.CancelledError:
            return None


class Retries(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except ValueError:
            raise
        except Exception:
            return await handler(call)


class ChangesResults(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        result = await handler(call)
        return {**result, "text": "changed"} if isinstance(result, dict) else result


class ChangesInputs(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        call.input["log"].append("changed")
        return await handler(call)


class TakesCommandsForUpdates(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        result = await handler(call)
        return result.update if isinstance(result, Command) else result


class AwaitsForeignWork(Broken):
    async def wrap(self, call: Call, handler: Handler) -> Any:
        await asyncio.sleep(0)
        return await handler(call)


class HoldsOnToStreams(Broken):
    kinds = frozenset({"run"})

    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except GeneratorExit:
            return await handler(call)


class SilencesModels(Broken):
    kinds = frozenset({"model"})

    async def wrap(self, call: Call, handler: Handler) -> Any:
        return None


class WrapsToolErrors(Broken):
    kinds = frozenset({"tool"})

    async def wrap(self, call: Call, handler: Handler) -> Any:
        try:
            return await handler(call)
        except Exception as error:
            return str(error)


BREAKS: list[tuple[type[Policy], set[str]]] = [
    (Swallows, {"interrupts", "commands", "errors", "retries", "handlers"}),
    (TurnsIntoErrors, {"interrupts", "commands"}),
    (CatchesCancellations, {"cancellations"}),
    (Retries, {"errors"}),
    (ChangesResults, {"result"}),
    (ChangesInputs, {"result"}),
    (TakesCommandsForUpdates, {"commands"}),
    (AwaitsForeignWork, {"result"}),
    (HoldsOnToStreams, {"stopping"}),
    (SilencesModels, {"models"}),
    (WrapsToolErrors, {"tools"}),
]


@pytest.mark.parametrize(("policy", "laws"), BREAKS, ids=range(len(BREAKS)))
def test_a_broken_policy_is_found(policy: type[Policy], laws: set[str]) -> None:
    broken = set()
    for law in policy_laws():
        try:
            law(policy())
        except LawBroken:
            broken.add(str(law).partition("-")[0])
    assert broken >= laws


def test_what_is_broken_is_told_in_words() -> None:
    with pytest.raises(LawBroken, match="An interrupt pauses the run") as broken:
        check_policy(TurnsIntoErrors())
    assert "TurnsIntoErrors in invoke breaks the law" in str(broken.value)
    assert "A Command reaches its target" in str(broken.value)


class Given(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    text: str


MODEL = FakeListChatModel(responses=["hello"])
HELLO = {"messages": [("user", "hi")]}


def good(state: Given) -> Any:
    return {"messages": [MODEL.invoke(state["messages"])]}


async def waits(state: Given) -> Any:
    await asyncio.sleep(0)
    return {"messages": [await MODEL.ainvoke(state["messages"])]}


def asks(state: Given) -> Any:
    return {"text": interrupt("may I?")}


def goes(state: Given) -> Any:
    return Command(update={"text": "x"})


@pytest.mark.parametrize("node", [good, waits, asks, goes, lambda state: None], ids=range(5))
def test_a_good_node_keeps_the_laws(node: Any, node_law: Callable[..., None]) -> None:
    node_law(node, HELLO, schema=Given)


def catches_interrupts(state: Given) -> Any:
    try:
        return {"text": interrupt("may I?")}
    except Exception:
        return {"text": "failed"}


def catches_around_its_model(state: Given) -> Any:
    try:
        return {"messages": [MODEL.invoke(state["messages"])]}
    except Exception:
        return {"text": "failed"}


def changes_its_state(state: Given) -> Any:
    state["text"] = "changed"
    return {}


def writes_elsewhere(state: Given) -> Any:
    return {"txt": "lost"}


def gives_a_text(state: Given) -> Any:
    return "a text"


async def catches_cancellations(state: Given) -> Any:
    try:
        for _ in range(100):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        raise RuntimeError("cancelled") from None


@pytest.mark.parametrize(
    ("node", "wrong"),
    [
        (catches_interrupts, "catches what interrupt raises"),
        (catches_around_its_model, "does not pause the run"),
        (changes_its_state, "another one after it"),
        (writes_elsewhere, "the state has no txt"),
        (gives_a_text, "breaks the law: It gives an update"),
        (catches_cancellations, "it raised RuntimeError instead"),
    ],
    ids=lambda given: getattr(given, "__name__", "told"),
)
def test_a_broken_node_is_found(node: Any, wrong: str) -> None:
    given = {"text": ""} if node is catches_cancellations else HELLO
    with pytest.raises(LawBroken, match=wrong):
        check_node(node, given)


def test_a_node_without_a_type_is_run_on_the_fields_of_its_state() -> None:
    check_node(lambda state: {"text": state["text"]}, {"text": "x"})
    check_node(good, HELLO, schema=MessagesState)
    assert len({str(law) for law in node_laws()}) == len(node_laws())
