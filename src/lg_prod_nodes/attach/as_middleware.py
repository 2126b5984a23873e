"""Policies as middleware for LangChain's `create_agent`. Only this file imports `langchain` (the extra `agents`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, SystemMessage, ToolMessage
from langgraph.types import Command

from lg_prod_nodes.content.history import as_update
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.engine import Wrap, act, drive, shortened
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.core.report import Kind
from lg_prod_nodes.core.usage import CallRequest, most_output
from lg_prod_nodes.runtime.callbacks import metering
from lg_prod_nodes.runtime.patches import install_once
from lg_prod_nodes.runtime.placement import Stack
from lg_prod_nodes.runtime.scope import InnerPolicies, Scope, current_scope

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langchain.agents.middleware.types import ToolCallRequest, hook_config
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ConfigurationError(
        "as_middleware needs an extra: pip install 'lg-prod-nodes[agents]'"
    ) from error


def as_middleware(
    *policies: Policy, name: str | None = None, clock: Clock = SYSTEM_CLOCK
) -> AgentMiddleware[Any, Any, Any]:
    """Make middleware from policies, for `create_agent(middleware=[...])`. The first policy is outermost.

    Policies for runs act before the agent's first step, the others on each call of its model and tools. Middleware
    runs after the agent's first checkpoint was saved. To keep the input itself out of the database, harden the agent
    instead: `harden(create_agent(...), policies)`.

    Args:
        *policies: The policies to apply. Observers are moved outermost.
        name: The middleware's name, unique within an agent. Defaults to the names of the policies' classes.
        clock: The clock of the policies.

    Raises:
        ConfigurationError: No policy was given, or one cannot be middleware.

    Example:
        ```python
        create_agent(model, tools, middleware=[as_middleware(RateLimit("10/minute", reply="Slow down."))])
        ```
    """
    for policy in policies:
        if isinstance(policy, Policy) and policy.recovery is not None:
            raise ConfigurationError(
                f"{type(policy).__name__} recovers from the errors of nodes, which middleware cannot; "
                "use harden(create_agent(...), [...])"
            )
    if not policies:
        raise ConfigurationError("as_middleware was given no policy; give at least one")
    stack = Stack.at("agent", policies, clock)
    install_once()
    kind = _RunMiddleware if stack.wraps("run") else _CallMiddleware
    return kind(name or "+".join(type(policy).__name__ for policy in policies), stack)


class _CallMiddleware(AgentMiddleware[Any, Any, Any]):
    """Policies around each call of an agent's model and tools."""

    def __init__(self, name: str, stack: Stack) -> None:
        super().__init__()
        self._name = name
        self._stack = stack
        self.tools = []

    @property
    def name(self) -> str:
        """The middleware's name, unique within an agent."""
        return self._name

    def _call(self, kind: Kind, name: str, input: Any, *, blocking: bool, answer: Any) -> Call:
        call = self._stack.ambient_call(name, input, blocking=blocking)
        return call.replace(kind=kind, answer_with=answer)

    def _scope(
        self, call: Call, models: tuple[Wrap, ...], retrievers: tuple[Wrap, ...] = ()
    ) -> Scope:
        """Return the scope of inner calls. Its policies are inside those of the graph, if that is hardened."""
        graph = current_scope()
        around = InnerPolicies() if graph is None else graph.policies
        own = InnerPolicies(models, retriever=retrievers, changing=len(models))
        inner = around.around(own)
        return Scope(call, inner, call.config, call.texts)

    def __repr__(self) -> str:
        return f"<middleware {self._stack!r}>"

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Run a model call through the policies."""
        return cast("ModelResponse[Any]", drive(self._model_call(request, handler, blocking=True)))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Run a model call through the policies."""
        return await shortened(self._model_call(request, handler, blocking=False))

    async def _model_call(
        self, request: ModelRequest[Any], handler: Any, *, blocking: bool
    ) -> ModelResponse[Any]:
        async def answer(call: Call, reply: Any) -> Any:
            return ModelResponse(result=[AIMessage(reply) if isinstance(reply, str) else reply])

        async def serve(call: Call) -> Any:
            with metering(call), self._scope(call, ()):
                served = handler(_with_messages(request, call.input))
                return served if call.blocking else await served

        call = self._call(
            "model", _model_name(request), _messages(request), blocking=blocking, answer=answer
        ).replace(
            request=CallRequest(
                most_output(request.model, request.model_settings), tuple(request.tools)
            )
        )
        response: ModelResponse[Any] = await act(self._stack.wraps("model"), call, serve)
        return response

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Run a tool call through the policies."""
        return cast(
            "ToolMessage | Command[Any]", drive(self._tool_call(request, handler, blocking=True))
        )

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Run a tool call through the policies."""
        return cast(
            "ToolMessage | Command[Any]",
            await shortened(self._tool_call(request, handler, blocking=False)),
        )

    async def _tool_call(self, request: ToolCallRequest, handler: Any, *, blocking: bool) -> Any:
        async def answer(call: Call, reply: Any) -> Any:
            if not isinstance(reply, str):
                return reply
            return ToolMessage(
                reply, tool_call_id=request.tool_call["id"], name=request.tool_call["name"]
            )

        async def serve(call: Call) -> Any:
            with self._scope(call, self._stack.wraps("model"), self._stack.wraps("tool")):
                served = handler(request.override(tool_call=call.input))
                return served if call.blocking else await served

        # A model may name a tool that does not exist; such a name must not become a metric's label.
        name = request.tool.name if request.tool is not None else "unknown"
        call = self._call("tool", name, request.tool_call, blocking=blocking, answer=answer)
        return await act(self._stack.wraps("tool"), call, serve)


class _RunMiddleware(_CallMiddleware):
    """Policies that also admit the run, before the agent's first step."""

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Run the policies for the whole run."""
        update: dict[str, Any] | None = drive(self._admit(state, blocking=True))
        return update

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Run the policies for the whole run."""
        return await shortened(self._admit(state, blocking=False))

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
