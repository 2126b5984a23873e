"""Policies as middleware of LangChain's `create_agent`, the one file that imports `langchain` (the extra `agents`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, SystemMessage, ToolMessage
from langgraph.types import Command

from lg_prod_nodes.core.call import SYSTEM_CLOCK, Call, Clock, Kind
from lg_prod_nodes.core.engine import act, drive
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy, Stack, as_update
from lg_prod_nodes.runtime.calls import Place, reaching
from lg_prod_nodes.runtime.exits import filtered_exits
from lg_prod_nodes.runtime.models import most_output

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import ToolCallRequest, hook_config
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "as_middleware needs an extra: pip install 'lg-prod-nodes[agents]'"
    ) from error


def as_middleware(
    policy: Policy, *, name: str | None = None, clock: Clock = SYSTEM_CLOCK
) -> AgentMiddleware[Any, Any, Any]:
    """Make a middleware for `create_agent(middleware=[...])` of a policy.

    What acts on runs acts before the agent's first step; the rest on each call of its model and tools. What middleware
    sees has passed the agent's first checkpoint already: to keep the input itself out of the database, harden the
    agent with `harden(create_agent(...), policies)`.

    Args:
        policy: What to apply.
        name: Tells two policies of a kind in one agent apart; the kind's name by default.
        clock: Where the policy takes the time from.

    Raises:
        ConfigurationError: The policy cannot be middleware.

    Example:
        ```python
        create_agent(model, tools, middleware=[as_middleware(RateLimit("10/minute", reply="Slow down."))])
        ```
    """
    if policy.recovers:
        raise ConfigurationError(
            f"{type(policy).__name__} recovers from the errors of nodes, which middleware cannot; "
            "use harden(create_agent(...), [...])"
        )
    stack = Stack.at("agent", [policy], clock)
    kind = _RunMiddleware if stack.wraps("run") else _CallMiddleware
    return kind(name or type(policy).__name__, stack)


class _CallMiddleware(AgentMiddleware[Any, Any, Any]):
    """A policy around each call of an agent's model and tools."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__()
        self._name = name
        self._stack = stack
        self.tools = []

    @property
    def name(self) -> str:
        """What tells it apart from an agent's other middleware."""
        return self._name

    def _call(self, kind: Kind, name: str, input: Any, *, blocking: bool, answer: Any) -> Call:
        call = self._stack.ambient_call(name, input, blocking=blocking)
        return call.replace(kind=kind, answer_with=answer)

    def _reach(self, call: Call, *, models: bool = False) -> AbstractContextManager[None]:
        """Filter what is called inside, and put the policy around the models that a tool calls."""
        wraps = self._stack.wraps("model") if models else ()
        return reaching(Place(call, wraps, changing=len(wraps), filters=call.filters))

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Put the policy around a call of the model."""
        return cast("ModelResponse[Any]", drive(self._model_call(request, handler, blocking=True)))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Put the policy around a call of the model."""
        return await self._model_call(request, handler, blocking=False)

    async def _model_call(
        self, request: ModelRequest[Any], handler: Any, *, blocking: bool
    ) -> ModelResponse[Any]:
        async def answer(call: Call, reply: Any) -> Any:
            return ModelResponse(result=[AIMessage(reply) if isinstance(reply, str) else reply])

        async def serve(call: Call) -> Any:
            with self._stack.watch(call), self._reach(call):
                served = handler(_with_messages(request, call.input))
                return served if call.blocking else await served

        call = self._call(
            "model", _model_name(request), _messages(request), blocking=blocking, answer=answer
        ).replace(
            max_output_tokens=most_output(request.model, request.model_settings),
            schemas=tuple(request.tools),
        )
        response: ModelResponse[Any] = await act(self._stack.wraps("model"), call, serve)
        return response

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Put the policy around a call of a tool."""
        return cast(
            "ToolMessage | Command[Any]", drive(self._tool_call(request, handler, blocking=True))
        )

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Put the policy around a call of a tool."""
        return cast(
            "ToolMessage | Command[Any]", await self._tool_call(request, handler, blocking=False)
        )

    async def _tool_call(self, request: ToolCallRequest, handler: Any, *, blocking: bool) -> Any:
        async def answer(call: Call, reply: Any) -> Any:
            if not isinstance(reply, str):
                return reply
            return ToolMessage(
                reply, tool_call_id=request.tool_call["id"], name=request.tool_call["name"]
            )

        async def serve(call: Call) -> Any:
            exits = filtered_exits(call, call.config)
            with self._stack.watch(call), exits, self._reach(call, models=True):
                served = handler(request.override(tool_call=call.input))
                return served if call.blocking else await served

        # A model may name a tool that there is not; what it says is no name for a label.
        name = request.tool.name if request.tool is not None else "unknown"
        call = self._call("tool", name, request.tool_call, blocking=blocking, answer=answer)
        return await act(self._stack.wraps("tool"), call, serve)


class _RunMiddleware(_CallMiddleware):
    """A policy that is also asked for the run, before the agent's first step."""

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Ask the policy for the run."""
        update: dict[str, Any] | None = drive(self._admit(state, blocking=True))
        return update

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Ask the policy for the run."""
        return await self._admit(state, blocking=False)

    async def _admit(self, state: Any, *, blocking: bool) -> dict[str, Any] | None:
        async def answer(call: Call, reply: Any) -> Any:
            return {**(await as_update(call, reply)), "jump_to": "end"}

        async def passed(call: Call) -> Any:
            old, new = state["messages"], call.input["messages"]
            changed = [
                message for message, before in zip(new, old, strict=True) if message is not before
            ]
            return {"messages": changed} if changed else None

        call = self._call("run", "agent", state, blocking=blocking, answer=answer)
        return cast("dict[str, Any] | None", await act(self._stack.wraps("run"), call, passed))


def _messages(request: ModelRequest[Any]) -> list[BaseMessage]:
    system = [request.system_message] if request.system_message is not None else []
    return [*system, *request.messages]


def _with_messages(
    request: ModelRequest[Any], messages: Sequence[BaseMessage]
) -> ModelRequest[Any]:
    if request.system_message is None:
        return request.override(messages=cast("list[AnyMessage]", list(messages)))
    system, *others = messages
    return request.override(
        system_message=cast(SystemMessage, system), messages=cast("list[AnyMessage]", others)
    )


def _model_name(request: ModelRequest[Any]) -> str:
    name = getattr(request.model, "model_name", None) or getattr(request.model, "model", None)
    return str(name) if name else type(request.model).__name__
