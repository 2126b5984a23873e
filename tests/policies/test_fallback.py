from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelRefusalError
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt
from langgraph.graph import START
from langgraph.types import Command, interrupt
from pydantic import Field
from tests.policies.conftest import (
    AT_ONCE,
    THREAD,
    FakeModel,
    Runner,
    State,
    asks,
    fails,
    notes,
    one,
    said,
)

from lg_prod_nodes import (
    CaptureErrors,
    CircuitBreaker,
    ConfigurationError,
    ContentBlocked,
    ContentFilter,
    Fallback,
    RateLimit,
    RateLimitExceeded,
    RetryBudget,
    Run,
    TokenUsage,
    as_middleware,
    harden,
    is_transient,
)

HELLO = {"messages": [("user", "hi")]}


class Failing(FakeModel):
    """A model whose provider fails, before or after it has said something."""

    error: Any = Field(default_factory=lambda: ConnectionError("secret"))
    says_first: int = 0
    tries: list[str] = Field(default_factory=list)

    def _generate(self, *args: Any, **options: Any) -> Any:
        self.tries.append("whole")
        raise self.error

    def _stream(self, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        self.tries.append("pieces")
        for chunk, _ in zip(
            super()._stream(*args, **options), range(self.says_first), strict=False
        ):
            yield chunk
        raise self.error


def answers(*policies: Any, model: Any = None) -> Any:
    return harden(one(asks(model or Failing(model_name="first"))), policies).compile()


async def test_another_model_answers(run: Runner) -> None:
    told, other = Run(), FakeModel(says="instead", model_name="other")

    result = await run(answers(TokenUsage(), Fallback(model=other)), HELLO, control=told)

    assert said(result) == ["hi", "instead"]
    assert (told.report.events["fell_back"], told.report.usage.calls) == (1, 1)
    assert other.asked == ["hi"]


async def test_and_the_next_when_that_fails_too(run: Runner) -> None:
    second, third = Failing(model_name="second"), FakeModel(says="third")
    graph = answers(Fallback(model=third), Fallback(model=second))

    assert said(await run(graph, HELLO)) == ["hi", "third"]
    assert second.tries == ["whole"]


REFUSES = ModelRefusalError("the model's own words")


async def test_a_refusal_of_a_model_is_final_by_default(run: Runner) -> None:
    other = FakeModel(says="instead", model_name="other")

    with pytest.raises(ModelRefusalError):
        await run(answers(Fallback(model=other), model=Failing(error=REFUSES)), HELLO)
    assert other.asked == []


async def test_another_model_is_asked_after_a_refusal_when_told_to(run: Runner) -> None:
    other = FakeModel(says="instead", model_name="other")
    policy = Fallback(model=other, on=("transient", "refused"))

    result = await run(answers(policy, model=Failing(error=REFUSES)), HELLO)
    assert said(result) == ["hi", "instead"]


async def test_retries_of_what_is_transient_do_not_repeat_a_refusal(run: Runner) -> None:
    for retry_on in (is_transient, RetryBudget(1.0, min_per_second=100)):
        model = Failing(error=REFUSES)
        builder = one(asks(model), retry_policy=AT_ONCE._replace(retry_on=retry_on))

        with pytest.raises(ModelRefusalError):
            await run(harden(builder, [CaptureErrors()]).compile(), HELLO)
        assert model.tries == ["whole"]


async def test_each_of_a_chain_is_asked_once(run: Runner) -> None:
    models = [Failing(model_name=name) for name in ("fourth", "third", "second", "first")]
    graph = answers(*(Fallback(model=model) for model in models[:-1]), model=models[-1])

    with pytest.raises(ConnectionError):
        await run(graph, HELLO)
    assert [model.tries for model in models] == [["whole"]] * 4


@pytest.mark.parametrize("stops", [GraphDrained("stop"), GraphInterrupt()])
async def test_what_is_no_error_is_no_reason_to_ask_another(
    run: Runner, stops: GraphBubbleUp
) -> None:
    other = FakeModel(says="instead")
    graph = answers(Fallback(model=other, on=("unknown", Exception)), model=Failing(error=stops))

    with suppress(GraphDrained):  # an interrupt ends a run without an error
        await run(graph, HELLO)
    assert other.asked == []


async def test_its_own_failure_is_raised(run: Runner) -> None:
    graph = answers(Fallback(model=Failing(error=TimeoutError("other"))))
    with pytest.raises(TimeoutError, match="other"):
        await run(graph, HELLO)


@pytest.mark.parametrize(
    "error", [ValueError("x"), PermissionError("x"), ContentBlocked(["terms"])]
)
async def test_what_the_caller_does_wrong_is_raised(run: Runner, error: Exception) -> None:
    other = FakeModel()
    with pytest.raises(type(error)):
        await run(answers(Fallback(model=other), model=Failing(error=error)), HELLO)
    assert other.asked == []


async def test_an_open_circuit_leads_to_the_other_model_which_has_its_own(run: Runner) -> None:
    first, other = Failing(model_name="first"), FakeModel(says="instead", model_name="other")
    graph = answers(Fallback(model=other), CircuitBreaker(minimum=1), model=first)

    for _ in range(3):
        assert said(await run(graph, HELLO)) == ["hi", "instead"]
    assert len(first.tries) == 1


async def test_other_policies_see_the_other_model_s_call(run: Runner) -> None:
    graph = answers(Fallback(model=FakeModel(says="a bad word")), ContentFilter(["bad"]))
    with pytest.raises(ContentBlocked):
        await run(graph, HELLO)


def streams(model: FakeModel) -> Any:
    def node(state: Any) -> Any:
        pieces = [chunk.text for chunk in model.stream("hi")]
        return {"log": [*pieces]}

    return node


async def test_a_stream_that_has_not_begun_is_the_other_model_s(run: Runner) -> None:
    policies = [Fallback(model=FakeModel(says="instead of it"))]
    graph = harden(one(streams(Failing())), policies).compile()
    assert "".join((await run(graph, {"log": []}))["log"]) == "instead of it"


async def test_a_stream_that_has_begun_is_not_begun_anew(run: Runner) -> None:
    other = FakeModel()
    graph = harden(one(streams(Failing(says_first=1))), [Fallback(model=other)]).compile()
    with pytest.raises(ConnectionError):
        await run(graph, {"log": []})
    assert other.asked == []


async def test_a_working_stream_stays_a_stream() -> None:
    builder = one(streams(FakeModel(says="one two three")))
    graph = harden(builder, [Fallback(model=FakeModel())]).compile()
    pieces = (await graph.ainvoke({"log": []}))["log"]
    assert pieces == (await builder.compile().ainvoke({"log": []}))["log"]
    assert pieces[:3] == ["one", " two", " three"]


async def test_several_prompts_are_answered_one_by_one(run: Runner) -> None:
    def node(state: Any) -> Any:
        generated = Failing().generate([[AIMessage("a")], [AIMessage("b")]])
        return {"log": [generations[0].text for generations in generated.generations]}

    graph = harden(one(node), [Fallback(model=FakeModel(says="instead"))]).compile()
    assert (await run(graph, {"log": []}))["log"] == ["instead", "instead"]


@tool
def look_up(who: str) -> str:
    """Look somebody up."""
    return f"{who} is in"


async def test_an_agent_s_model_with_its_tools(run: Runner) -> None:
    call = {"name": "look_up", "args": {"who": "ann"}, "id": "1", "type": "tool_call"}
    other = FakeModel(calls=(call,)).bind_tools([look_up])
    agent = create_agent(Failing(), [look_up])
    for graph in (
        harden(agent, [Fallback(model=other)]),
        create_agent(Failing(), [look_up], middleware=[as_middleware(Fallback(model=other))]),
    ):
        result = await run(graph, HELLO)
        assert said(result) == ["hi", "hello there", "ann is in", "hello there"]


async def test_a_fixed_answer_takes_over_from_a_node_after_its_retries(run: Runner) -> None:
    tries: list[int] = []

    def down(state: State) -> Any:
        tries.append(1)
        raise ConnectionError("secret")

    builder = (
        one(down, retry_policy=AT_ONCE).add_node("next", notes("next")).add_edge("node", "next")
    )
    told = Run()
    for answer, expected in (
        ("It is down.", ["hi", "It is down."]),
        ({"log": ["instead"]}, ["hi"]),
    ):
        graph = harden(builder, nodes={"node": [Fallback(answer=answer)]}).compile()
        result = await run(graph, HELLO, control=told)
        assert said(result) == expected
        assert result["log"][-1] == "next"
    assert (len(tries), told.report.events["fell_back"], told.report.outcome) == (6, 2, "ok")


async def test_another_function_takes_over_with_all_that_a_node_has(run: Runner) -> None:
    def other(state: State, config: RunnableConfig) -> Any:
        return Command(goto="after", update={"log": [state["text"], config["metadata"]["who"]]})

    builder = one(fails).add_node("after", notes("after"))
    fallback = Fallback(node=other, on=("bad_input",))
    graph = harden(builder, nodes={"node": [fallback]}).compile()
    result = await run(graph, {"text": "x", "log": []}, {"metadata": {"who": "ann"}})
    assert result["log"] == ["x", "ann", "after"]


async def test_an_asynchronous_function_takes_over() -> None:
    async def other(state: State) -> Any:
        await asyncio.sleep(0)
        return {"log": ["instead"]}

    fallback = Fallback(node=other, on=(ValueError,))
    graph = harden(one(fails), nodes={"node": [fallback]}).compile()
    assert (await graph.ainvoke({"log": []}))["log"] == ["instead"]


async def test_the_innermost_that_takes_an_error_takes_over(run: Runner) -> None:
    policies = [CaptureErrors(then="continue", state_key="log")]
    nodes = {"node": [Fallback(answer={"log": ["down"]})]}
    seen = []
    for error in (ConnectionError("secret"), ValueError("secret")):

        def raises(state: Any, error: Exception = error) -> Any:
            raise error

        result = await run(harden(one(raises), policies, nodes=nodes).compile(), {"log": []})
        seen.append(result["log"][0])
    assert seen[0] == "down"
    assert seen[1]["error_class"] == "bad_input"


async def test_interrupts_and_refusals_are_no_failures(run: Runner) -> None:
    fallback = Fallback(answer={"log": ["instead"]})
    asking = one(lambda state: {"text": interrupt("how?")})
    graph = harden(asking, [fallback]).compile(InMemorySaver())
    await run(graph, {"log": []}, THREAD)
    assert (await run(graph, Command(resume="so"), THREAD))["text"] == "so"

    limited = harden(one(notes("x")), [fallback], nodes={"node": [RateLimit("1/hour")]}).compile()
    await run(limited, {"log": []})
    with pytest.raises(RateLimitExceeded):
        await run(limited, {"log": []})


async def test_a_function_that_takes_over_may_ask_a_person(run: Runner) -> None:
    asking = Fallback(node=lambda state: {"text": interrupt("how?")}, on=("bad_input",))
    compiled = harden(one(fails), [asking]).compile(InMemorySaver())

    assert "text" not in await run(compiled, {"log": []}, THREAD)
    assert (await run(compiled, Command(resume="so"), THREAD))["text"] == "so"
    assert compiled.get_state(THREAD).next == ()


async def test_it_is_done_once_though_another_node_interrupts(run: Runner) -> None:
    calls: list[int] = []

    def other(state: State) -> Any:
        calls.append(1)
        return {"log": ["instead"]}

    builder = one(fails).add_node("asks", lambda state: {"text": interrupt("how?")})
    builder.add_edge(START, "asks")
    nodes = {"node": [Fallback(node=other, on=("bad_input",))]}
    graph = harden(builder, nodes=nodes).compile(InMemorySaver())
    await run(graph, {"log": []}, THREAD)
    result = await run(graph, Command(resume="so"), THREAD)
    assert (result["text"], result["log"], len(calls)) == ("so", ["instead"], 1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": FakeModel(), "answer": "x"},
        {"model": "gpt-4o"},
        {"node": "search"},
        {"answer": "x", "on": ("flaky",)},
    ],
    ids=range(5),
)
def test_settings_that_cannot_work_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"give|choose"):
        Fallback(**settings)
