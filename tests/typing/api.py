"""What type checkers say of the public names; checked, never run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, assert_type

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy
from starlette.applications import Starlette
from typing_extensions import TypedDict

from lg_prod_nodes import (
    At,
    Call,
    CaptureErrors,
    Check,
    ErrorClass,
    FailureLog,
    Fallback,
    Handler,
    Health,
    LimitState,
    Metrics,
    Policy,
    Production,
    RateLimit,
    RateLimitExceeded,
    Redact,
    RetryBudget,
    Run,
    RunReport,
    Usage,
    as_middleware,
    as_node,
    by_user,
    class_of,
    current_run,
    guard,
    harden,
    health_app,
    is_transient,
    reported,
)
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.testing import FakeChatModel


class State(TypedDict):
    text: str


class Context(TypedDict):
    user_id: str


@guard(
    Metrics(), RateLimit("10/second", by=by_user, reply=lambda refused: str(refused.retry_after))
)
def guarded(state: State, runtime: Runtime[Context]) -> State:
    return {"text": state["text"] + runtime.context["user_id"]}


@RateLimit("1/minute")
async def decorated(state: State) -> State:
    return state


builder = StateGraph(State, Context)
builder.add_node("guarded", guarded)
builder.add_node("decorated", decorated)
builder.add_node("redact", as_node(Redact()))

by_entity: dict[str, Any] = {"CREDIT_CARD": "mask"}
by_location: dict[At, Any] = {At("email"): "keep"}
Redact(strategies=by_entity)
Redact(strategies=by_location)
Redact(strategies={"CREDIT_CARD": str.upper, At(tool="send"): {"EMAIL_ADDRESS": "surrogate"}})
assert_type(Redact().restore("text", "ada"), str)
builder.add_edge(START, "guarded")

assert_type(guarded({"text": ""}, Runtime(context={"user_id": "ada"})), State)
assert_type(harden(builder, [Metrics()]), StateGraph[State, Context, State, State])
assert_type(
    harden(builder.compile(), nodes={"guarded": [Redact("URL")]}),
    CompiledStateGraph[State, Context, State, State],
)


@dataclass(frozen=True)
class SlowCalls(Policy):
    kinds: ClassVar[frozenset[Kind]] = frozenset({"run", "model"})

    threshold: float = 2.0

    async def wrap(self, call: Call, handler: Handler) -> Any:
        start = call.now()
        result = await handler(call)
        if (seconds := call.now() - start) >= self.threshold:
            call.emit("slow_call", seconds=seconds)
        return result


async def service() -> None:
    async with Production(builder, [SlowCalls(0.5)], postgres="postgresql://") as app:
        run = Run()
        await app.ainvoke({"text": "hi"}, control=run, context={"user_id": "ada"})
        assert_type(run.report.usage, Usage)
    with Production(builder) as app:
        app.invoke({"text": "hi"})
        _, report = reported(app).invoke({"text": "hi"}, context={"user_id": "ada"})
        assert_type(report, RunReport)
        assert_type(report.limits["RateLimit"], LimitState)
        assert_type(report.limits[:1], list[LimitState])


def in_a_node() -> None:
    assert_type(current_run(), Run | None)
    create_agent("openai:gpt-5", middleware=[as_middleware(Redact())])


def refused(error: RateLimitExceeded) -> float | None:
    return error.retry_after


async def instead(state: State) -> State:
    return state


def failing(log: FailureLog, error: Exception) -> None:
    assert_type(class_of(error, {ValueError: "transient"}), ErrorClass)
    RetryPolicy(retry_on=is_transient)
    RetryPolicy(retry_on=RetryBudget(0.1))
    CaptureErrors(then={"bad_input": "end", "permanent": Command(goto="mend")}, failures=log)
    Fallback(node=instead, on=("transient", TimeoutError))
    assert_type([failure.node for failure in log.list()], list[str | None])


async def healthy(production: Production, search: Callable[[], bool]) -> bool:
    policy = RateLimit("1/minute")
    Health(policy, "valkey://localhost", harden(builder), harden(builder).compile())
    health = Health(production, checks={"a": search, "b": Check(search, critical=False)})
    assert_type(health_app(health), Starlette)
    return health.live().status != "down" and (await health.aready()).checks["a"].seconds < 1


def fake(messages: list[AIMessage]) -> None:
    model = FakeChatModel(
        "Hello.", *messages, ConnectionError(), lambda asked: asked[-1].text, delay=0.1
    )
    create_agent(model, [])
    assert_type(model.asked[0][-1].text == "Hi", bool)
