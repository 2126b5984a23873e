"""Prebuilt nodes: a policy as a node of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from langchain_core.messages import BaseMessage
from langgraph.types import Command

from lg_prod_nodes.content.history import as_update
from lg_prod_nodes.content.rules import field_names
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.engine import act, drive
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.runtime.contract import wrap_of
from lg_prod_nodes.runtime.placement import Stack


class PrebuiltNode(Protocol):
    """A node function."""

    def __call__(self, state: Any) -> Any:
        """Apply the policy to the state."""
        ...


def as_node(
    policy: Policy,
    *,
    then: str | None = None,
    otherwise: str | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> PrebuiltNode:
    """Make a node that applies a policy to the state.

    The node writes only what the policy changed: redacted fields and messages (replaced by id), or the reply to a
    refused call.

    Args:
        policy: The policy to apply.
        then: The next node if the policy admits the state. By default the node's edges decide.
        otherwise: The next node if the policy answers instead; requires `then`. By default the same as `then`.
        clock: The clock of the policy.

    Returns:
        A node function for `add_node`.

    Raises:
        ConfigurationError: `otherwise` was given without `then`, or the policy cannot be a node.

    Example:
        ```python
        builder.add_node("limit", as_node(RateLimit("10/minute", reply="Slow down."), then="agent", otherwise=END))
        ```
    """
    if otherwise is not None and then is None:
        raise ConfigurationError(
            "otherwise=... needs then=...: a node that chooses its way must name both"
        )
    if policy.recovery is not None:
        raise ConfigurationError(
            f"{type(policy).__name__} recovers from the errors of other nodes; attach it with harden(builder, [...])"
        )
    stack = Stack.at("node", [policy], clock)
    name = type(policy).__name__

    async def through(call: Call) -> Any:
        answers: list[Any] = []

        async def answer(call: Call, reply: Any) -> Any:
            answers.append(await as_update(call, reply))
            return call.input

        async def passed(call: Call) -> Any:
            return call.input

        state = await act(
            (wrap_of(policy),), call.replace(answer_with=answer, prebuilt=True), passed
        )
        update = answers[0] if answers else _changes(call.input, state)
        goto = otherwise if answers and otherwise is not None else then
        return update if goto is None else Command(update=update, goto=goto)

    def node(state: Any) -> Any:
        return drive(through(stack.ambient_call(name, state, blocking=True)))

    node.__name__ = name
    if then is not None:
        # LangGraph reads a node's possible destinations from its return annotation.
        ways: Any = Literal[(then, otherwise)] if otherwise is not None else Literal[(then,)]
        node.__annotations__["return"] = Command[ways]
    return node


def _changes(before: Any, after: Any) -> dict[str, Any] | None:
    """Return the update from one state to another; message lists contain only the messages that changed."""
    if after is before:
        return None
    old, new = _fields(before), _fields(after)
    return {
        key: _changed_messages(old.get(key), value)
        for key, value in new.items()
        if value is not old.get(key)
    }


def _fields(state: Any) -> Mapping[str, Any]:
    if isinstance(state, Mapping):
        return state
    if names := field_names(state):
        return {name: getattr(state, name) for name in names}
    raise ConfigurationError(
        f"a prebuilt node cannot pass on a state of type {type(state).__name__}; "
        "use a TypedDict, dataclass or pydantic model"
    )


def _changed_messages(old: Any, new: Any) -> Any:
    if not (isinstance(new, list) and new and all(isinstance(item, BaseMessage) for item in new)):
        return new
    return [message for message, before in zip(new, old, strict=True) if message is not before]
