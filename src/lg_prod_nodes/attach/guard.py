"""`guard`: policies around one node function, model, tool, retriever or embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig

from lg_prod_nodes.content.functions import is_async
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.engine import act, drive, shortened
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.runtime.langgraph import runtime_in
from lg_prod_nodes.runtime.patches import install_once
from lg_prod_nodes.runtime.placement import Stack
from lg_prod_nodes.runtime.reached import is_reachable, reached

T = TypeVar("T")


class Attach(Protocol):
    """Attaches policies to an object and returns an object of the same type."""

    def __call__(self, function: T, /) -> T:
        """Attach the policies."""
        ...


def guard(*policies: Policy, clock: Clock = SYSTEM_CLOCK) -> Attach:
    """Attach policies to one node function, model, tool, retriever or embeddings. The first policy is outermost.

    A function keeps its signature, so LangGraph still injects `config`, `runtime`, `store` and `writer`. Its first
    argument is the state. A LangChain model or tool is copied, and the copy can be used in its place. Its policies act
    on each call, inside those of the calling node. `guard()` without policies lets the node's policies reach a model or
    tool even if nothing is patched (see `uninstall`).

    Raises:
        ConfigurationError: The policies conflict, or cannot be attached to this object.

    Example:
        ```python
        @guard(Metrics(), RateLimit("10/second"))
        async def agent(state: State) -> dict: ...
        ```
    """
    stack = Stack.at("node", policies, clock)

    def attach(function: T, /) -> T:
        if is_reachable(function):
            return reached(function, stack)
        _check_guardable(function, policies)
        install_once()
        return cast(T, _guarded(cast(Any, function), stack))

    return attach


def _guarded(function: Callable[..., Any], stack: Stack) -> Callable[..., Any]:
    wrapped = stack.wraps("node")

    def call_of(args: tuple[Any, ...], *, blocking: bool) -> Call:
        state = args[0] if args else None
        return stack.ambient_call(_function_name(function), state, blocking=blocking)

    if is_async(function):

        @wraps(function)
        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            async def handler(call: Call) -> Any:
                with stack.around(call) as config:
                    return await function(*_first(call.input, args), **_injected(kwargs, config))

            return await shortened(act(wrapped, call_of(args, blocking=False), handler))

        return guarded_async

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        async def handler(call: Call) -> Any:
            with stack.around(call) as config:
                return function(*_first(call.input, args), **_injected(kwargs, config))

        return drive(act(wrapped, call_of(args, blocking=True), handler))

    return guarded


def _first(state: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (state, *args[1:]) if args else args


def _injected(kwargs: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
    """Return the injected arguments of a function, updated from the config."""
    runtime = runtime_in(config)
    if runtime is None or not kwargs:
        return kwargs
    stands = {"config": config, "runtime": runtime}
    stands |= {"writer": runtime.stream_writer, "store": runtime.store}
    return {name: stands.get(name, value) for name, value in kwargs.items()}


def _check_guardable(function: object, policies: Sequence[Policy]) -> None:
    if isinstance(function, Mapping) and len(policies) == 1:
        name = type(policies[0]).__name__
        raise ConfigurationError(
            f"{name} was called with a state, as if it were a node; a policy as a decorator has parentheses: "
            f"@{name}(...)"
        )
    if isinstance(function, Runnable) or not callable(function):
        raise ConfigurationError(
            f"guard was given a {type(function).__name__}; it takes a node function. "
            "Add the node to a graph and attach the policies with harden(builder, nodes={name: [...]})"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{_function_name(function)} is a generator function; attach the policies with "
            f"harden(builder, nodes={{name: [...]}}) instead"
        )
    for policy in policies:
        if policy.recovery is not None:
            raise ConfigurationError(
                f"{type(policy).__name__} recovers from errors, which happens outside a node, after its retries; "
                "attach it with harden(builder, nodes={name: [...]})"
            )


def _function_name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
