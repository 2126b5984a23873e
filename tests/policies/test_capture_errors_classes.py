"""What `CaptureErrors` does by class of error, and that it does so once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from langchain_core.exceptions import ModelRefusalError
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from tests.policies.conftest import AT_ONCE, THREAD, Runner, State, failed, notes, one, said

from lg_prod_nodes import (
    CallRejected,
    CapturedError,
    CaptureErrors,
    ConfigurationError,
    ContentFilter,
    Run,
    harden,
)
from lg_prod_nodes.core.error_class import is_transient
from lg_prod_nodes.core.report import ErrorClass

pytestmark = pytest.mark.usefixtures("logged")

ERRORS: dict[str, Exception] = {
    "transient": ConnectionError("secret"),
    "bad_input": ValueError("secret"),
    "permanent": KeyError("secret"),
    "refused": ModelRefusalError("the model's own words"),
}
MEND = Command(goto="mend")


class Odd(Exception):
    """An error that nobody knows."""


def raises(error: Exception, tries: list[int] | None = None) -> Any:
    def node(state: Any) -> Any:
        if tries is not None:
            tries.append(1)
        raise error

    return node


def graph_of(policy: CaptureErrors, error: Exception, tries: Any = None, **options: Any) -> Any:
    builder = one(raises(error, tries), **options).add_node("next", notes("next"))
    builder.add_node("mend", notes("mended")).add_edge("node", "next")
    return harden(builder, [policy])


@pytest.mark.parametrize(
    ("of", "log"),
    [
        ("transient", ["next"]),
        ("bad_input", []),
        ("permanent", ["mended"]),
        ("refused", ["mended"]),
    ],
)
async def test_each_class_goes_its_own_way(run: Runner, of: str, log: list[str]) -> None:
    ways: Any = {"transient": "continue", "bad_input": "end", "permanent": MEND, "refused": MEND}
    policy, told = CaptureErrors(then=ways), Run()

    result = await run(graph_of(policy, ERRORS[of]).compile(), {"log": []}, control=told)

    assert result["log"] == log
    assert [error.error_class for error in told.report.errors] == [of]


async def test_a_class_that_is_not_named_is_raised(run: Runner) -> None:
    policy = CaptureErrors(then={"transient": "continue"})

    with pytest.raises(KeyError):
        await run(graph_of(policy, KeyError("secret")).compile(), {"log": []})


async def test_a_conditional_edge_is_not_followed_by_what_goes_elsewhere(run: Runner) -> None:
    builder = (
        one(raises(KeyError())).add_node("next", notes("next")).add_node("mend", notes("mended"))
    )
    builder.add_conditional_edges("node", lambda state: "next")
    both = Command(goto=["mend", Send("next", {})])

    result = await run(harden(builder, [CaptureErrors(then=both)]).compile(), {"log": []})

    assert sorted(result["log"]) == ["mended", "next"]
    result = await run(harden(builder, [CaptureErrors(then=MEND)]).compile(), {"log": []})
    assert result["log"] == ["mended"]


async def test_each_class_has_its_own_reply(run: Runner) -> None:
    policy = CaptureErrors(then="end", reply={"bad_input": "I cannot read that."})
    asked = {"messages": [("user", "hi")]}

    assert said(await run(graph_of(policy, ValueError()).compile(), asked)) == [
        "hi",
        "I cannot read that.",
    ]
    assert said(await run(graph_of(policy, KeyError()).compile(), asked)) == ["hi"]


TWICE = AT_ONCE._replace(max_attempts=2)


async def test_what_is_raised_was_tried_again_before(run: Runner) -> None:
    tries: list[int] = []
    policy = CaptureErrors(then={"bad_input": "end"})
    graph = graph_of(policy, ConnectionError(), tries, retry_policy=TWICE).compile(InMemorySaver())
    told = Run()

    with pytest.raises(ConnectionError):
        await run(graph, {"log": []}, THREAD, control=told)
    assert (len(tries), told.report.errors) == (
        2,
        [CapturedError("node", "ConnectionError", 2, "transient")],
    )

    with pytest.raises(ConnectionError):  # the thread is left at the node, not at a handler of it
        await run(graph, None, THREAD)
    assert len(tries) == 4


@pytest.mark.parametrize("then", ["raise", "continue"])
async def test_a_critical_error_is_not_tried_again(run: Runner, then: Any) -> None:
    tries: list[int] = []
    policy = CaptureErrors(then=then, critical=(Odd,))

    with pytest.raises(Odd):
        await run(graph_of(policy, Odd(), tries, retry_policy=TWICE).compile(), {"log": []})
    assert len(tries) == 1


async def test_one_taxonomy_decides_on_retries_too(run: Runner) -> None:
    tries: list[int] = []
    ours: dict[type[BaseException], ErrorClass] = {Odd: "transient", KeyError: "bad_input"}
    retry = AT_ONCE._replace(retry_on=partial(is_transient, classify=ours))
    policy = CaptureErrors(then="end", state_key="log", classify=ours)

    odd = await run(graph_of(policy, Odd(), tries, retry_policy=retry).compile(), {"log": []})
    key = await run(graph_of(policy, KeyError(), tries, retry_policy=retry).compile(), {"log": []})

    assert odd["log"] == [{**failed(attempts=3), "type": "Odd", "error_class": "transient"}]
    assert key["log"] == [{**failed(), "type": "KeyError"}]
    assert len(tries) == 4


async def test_a_refusal_goes_where_it_is_told(run: Runner) -> None:
    policy = CaptureErrors(then={"rejected": MEND})
    builder = one(notes("blocked")).add_node("mend", notes("mended"))
    graph = harden(builder, [policy], nodes={"node": [ContentFilter(["blocked"])]}).compile()

    assert (await run(graph, {"log": []}))["log"] == ["mended"]


async def test_what_is_ignored_is_raised_unrecorded(run: Runner, logged: list[Any]) -> None:
    graph = graph_of(CaptureErrors(ignore=("bad_input",)), ValueError()).compile()
    refused = graph_of(CaptureErrors(ignore=()), CallRejected("no", policy="Mine")).compile()
    told, of_refused = Run(), Run()

    with pytest.raises(ValueError):  # noqa: PT011
        await run(graph, {"log": []}, control=told)
    assert (told.report.errors, told.report.outcome, logged) == ([], "error", [])
    with pytest.raises(CallRejected):
        await run(refused, {"log": []}, control=of_refused)
    assert [error.error_class for error in of_refused.report.errors] == ["rejected"]


async def test_captured_once_though_another_node_interrupts(run: Runner, logged: list[Any]) -> None:
    builder = one(raises(KeyError())).add_node("asks", lambda state: {"text": interrupt("how?")})
    policy = CaptureErrors(then="continue", state_key="log")
    graph = harden(builder.add_edge(START, "asks"), [policy]).compile(InMemorySaver())

    await run(graph, {"log": []}, THREAD)
    result = await run(graph, Command(resume="so"), THREAD)

    assert (result["text"], len(result["log"]), len(logged)) == ("so", 1, 1)


async def test_a_subgraph_s_error_is_captured_after_its_last_attempt(
    run: Runner, logged: list[Any]
) -> None:
    tries: list[int] = []
    inner = harden(one(raises(ConnectionError(), tries), "bad"), [CaptureErrors()]).compile()
    graph = harden(one(inner, "inner", retry_policy=TWICE), [CaptureErrors()]).compile()
    told = Run()

    with pytest.raises(ConnectionError):
        await run(graph, {"log": []}, control=told)
    assert (len(tries), len(told.report.errors), len(logged)) == (2, 1, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"then": {"flaky": "end"}},
        {"then": {"critical": "end"}},
        {"then": {"transient": "ignore"}},
        {"then": Command(goto="mend", update={"log": []})},
        {"then": Command()},
        {"then": "end", "reply": {"flaky": "Sorry."}},
        {"ignore": ("flaky",)},
    ],
    ids=range(7),
)
def test_settings_that_cannot_work_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"choose|give"):
        CaptureErrors(**settings)


def test_a_node_that_there_is_not_is_refused_while_building() -> None:
    policy = CaptureErrors(then=Command(goto="nowhere"))
    with pytest.raises(ConfigurationError, match="goes to nowhere"):
        harden(StateGraph(State).add_node("node", notes("x")), [policy])
