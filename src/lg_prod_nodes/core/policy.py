"""The contract: a policy is a frozen value with the settings of one production concern.

A policy of one's own is one class with one method, for synchronous and asynchronous callers alike:

    @dataclass(frozen=True)
    class SlowCalls(Policy):
        threshold: float = 2.0

        async def wrap(self, call: Call, handler: Handler) -> Any:
            start = call.now()
            result = await handler(call)
            if (seconds := call.now() - start) >= self.threshold:
                call.emit("slow_call", seconds=seconds)
            return result
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, wraps
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import Runtime

from lg_prod_nodes.content.clean import clean_messages
from lg_prod_nodes.content.history import replies
from lg_prod_nodes.core.call import SYSTEM_CLOCK, Call, Clock, Fact, Handler, Kind, Observer
from lg_prod_nodes.core.engine import Wrap, act, drive
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.run import ambient_config, ambient_runtime, attempt_of, node_path, run_for
from lg_prod_nodes.core.secret import Secret
from lg_prod_nodes.runtime.callbacks import watching
from lg_prod_nodes.runtime.calls import Place, reaching
from lg_prod_nodes.runtime.exits import filtered_exits
from lg_prod_nodes.runtime.langgraph import runtime_in

P = ParamSpec("P")
R = TypeVar("R")

Site = Literal["graph", "node", "agent"]
"""What a policy is attached to: a whole graph, one node, or the middleware of `create_agent`."""

Role = Literal["observe", "admit", "content"]


class Policy:
    """One production concern, as a frozen value.

    Attributes:
        kinds: The calls that the policy wraps when it is given for a whole graph.
        role: What the policy does with a call: `"observe"` it, `"admit"` or refuse it, change or refuse its
            `"content"`; `None` says nothing. An observer must stand outside of the others, since it would otherwise
            not see what they refuse; error handlers of the user's are never asked for admission.
        single: Whether a second one on the same call is a mistake.
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({"node"})
    role: ClassVar[Role | None] = None
    single: ClassVar[bool] = False

    async def wrap(self, call: Call, handler: Handler) -> Any:
        """Do something around an attempt of a call; what this returns is the call's result.

        May await only `handler`, `call.sleep`, `call.run_blocking`, `call.answer` and its store. Must let pass what it
        does not handle: above all `GraphBubbleUp` (an interrupt is an exception) and cancellations.
        """
        return await handler(call)

    async def visit(self, call: Call, handler: Handler) -> Any:
        """Do something at a place of its own in the graph (`as_node`), with the state that passes; else as `wrap`."""
        return await self.wrap(call, handler)

    def observe(self, fact: Fact) -> None:
        """Hear a fact that any policy of the run tells. Must neither block nor raise."""

    @property
    def writes(self) -> frozenset[str]:
        """Fields of the state that the policy may write, which a graph that it is attached to must have."""
        return frozenset()

    @property
    def goes_to(self) -> frozenset[str]:
        """Nodes that the policy may send a run to, which a graph that it is attached to must have."""
        return frozenset()

    @property
    def recovers(self) -> bool:
        """Whether the policy takes over from nodes that have failed for good."""
        return False

    def recovers_from(self, error: BaseException | str) -> bool:
        """Whether the policy takes over from this error, which after a crash is the text of its `repr`."""
        return self.recovers

    def gives_up(self, error: BaseException) -> bool:
        """Whether a node that failed with this error is not tried again, whatever its retry policy says."""
        return False

    async def recover(self, call: Call, error: BaseException | str) -> Any:
        """Give what stands in for a failed node's own: an update follows the node's edges, a `Command` goes its way.

        Runs as LangGraph's native error handler: once, after the last attempt, never for an interrupt.
        """
        raise NotImplementedError

    def warm_up(self) -> None:
        """Load what takes time. Called while building, so that the first call does not wait for it."""

    def keep_in(self, database: Secret) -> None:
        """Keep what the policy counts in a Postgres, unless it was given another place. Called by `Production`."""

    def close(self) -> None:
        """Let go of connections and send what waits: the service ends. The next call opens new ones."""

    def kinds_at(self, site: Site) -> frozenset[Kind]:
        """The calls that the policy wraps where it is attached."""
        if site == "graph":
            return self.kinds
        if site == "node":
            return (self.kinds - {"run", "update"}) or frozenset({"node"})
        if self.role in ("admit", "content"):
            return (self.kinds & {"run", "model", "tool"}) or frozenset({"model"})
        if "node" in self.kinds:  # an agent's nodes are its model and its tools
            return frozenset({"model", "tool"})
        return self.kinds & {"model", "tool"}

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: what was made of them is made again."""
        settings = getattr(self, "__dataclass_fields__", vars(self))
        return {name: value for name, value in vars(self).items() if name in settings}

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Attach the policy to one node function: `@RateLimit("10/second")`."""
        return guard(self)(function)


class Stack:
    """Policies in their order, sorted by the kind of call that they wrap at one place of a graph."""

    def __init__(
        self, placed: Iterable[tuple[Policy, frozenset[Kind]]], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.placed = tuple(placed)
        self.clock = clock
        self.observers: tuple[Observer, ...] = tuple(
            p for p, _ in self.placed if _overrides(p, "observe")
        )

    @classmethod
    def at(cls, site: Site, policies: Sequence[Policy], clock: Clock = SYSTEM_CLOCK) -> Stack:
        """The stack of policies attached to a site.

        Raises:
            ConfigurationError: The policies cannot stand together, see `validate`.
        """
        validate(policies)
        for policy in policies:
            policy.warm_up()
        return cls(((policy, policy.kinds_at(site)) for policy in policies), clock)

    def wraps(self, kind: Kind, *, role: Role | None = None) -> tuple[Wrap, ...]:
        """The policies' `wrap` for a kind of call, outermost first; of those in a role alone if it is named."""
        return tuple(
            p.wrap
            for p, kinds in self.placed
            if kind in kinds and role in (None, p.role) and _overrides(p, "wrap")
        )

    def changes(self, kind: Kind) -> bool:
        """Whether a policy may change the result of such a call."""
        return any(kind in kinds and _may_change(p) for p, kinds in self.placed)

    @property
    def watches_models(self) -> bool:
        """Whether a policy wants to know of model calls."""
        return any("model" in kinds for _, kinds in self.placed)

    def node_call(
        self,
        name: str,
        path: str,
        input: Any,
        config: RunnableConfig,
        runtime: Runtime[Any] | None,
        *,
        blocking: bool,
    ) -> Call:
        """The call of a node that LangGraph runs with this config and runtime."""
        return Call(
            kind="node",
            name=name,
            input=input,
            run=run_for(config, runtime),
            config=config,
            runtime=runtime,
            node=path,
            attempt=attempt_of(runtime),
            blocking=blocking,
            clock=self.clock,
            observers=self.observers,
            answer_with=as_update,
        )

    def ambient_call(self, name: str, state: Any, *, blocking: bool) -> Call:
        """The call of the node that is running, whose config is the ambient one."""
        config = ambient_config()
        path = node_path(config.get("metadata") or {}) or name
        return self.node_call(name, path, state, config, ambient_runtime(), blocking=blocking)

    def watch(self, call: Call) -> AbstractContextManager[RunnableConfig | None]:
        """Watch the model calls made inside of the block, where a policy wants to know of them."""
        return watching(call) if self.watches_models else nullcontext()

    @contextmanager
    def around(self, call: Call) -> Generator[RunnableConfig]:
        """Put the policies around what a function calls and lets out, through the ambient config."""
        with filtered_exits(call, call.config) as config, self.reach(call):
            call = call.replace(config=config or call.config)
            with self.watch(call):
                yield ambient_config() if self.watches_models else call.config

    @cached_property
    def _called(self) -> dict[str, Any]:
        return {
            "model": self.wraps("model"),
            "tool": self.wraps("tool"),
            "changing": sum("model" in kinds and _may_change(p) for p, kinds in self.placed),
            "metered": any("model" in kinds and _may_ask(p) for p, kinds in self.placed),
            "content": tuple(p for p, _ in self.placed if p.role == "content"),
        }

    @property
    def reaches(self) -> bool:
        """Whether a policy stands around what a node calls."""
        return any(self._called.values())

    def reach(self, call: Call) -> AbstractContextManager[None]:
        """Put the policies around the models, tools and graphs that are called inside of the block."""
        called = self._called
        if not self.reaches:
            return nullcontext()
        clean = clean_messages(call.input) if called["content"] else None
        return reaching(Place(call, **called, clean=clean))


def validate(policies: Sequence[Policy]) -> None:
    """Check that policies can stand together, the first outermost.

    Raises:
        ConfigurationError: Something is not a policy, one stands twice that must be single, or one that observes
            stands inside of one that refuses or changes calls.
    """
    inner: Policy | None = None
    if isinstance(policies, Policy):
        raise ConfigurationError(
            f"{_name(policies)} was given where a list is expected; give [{_name(policies)}(...)]"
        )
    for policy in policies:
        if not isinstance(policy, Policy):
            given = (
                f"the class {policy.__name__}"
                if isinstance(policy, type)
                else f"a {type(policy).__name__}"
            )
            raise ConfigurationError(
                f"{given} was given as a policy; give instances of Policy, such as RateLimit('10/second')"
            )
        if policy.role == "observe" and inner is not None:
            raise ConfigurationError(
                f"{_name(policy)} stands after {_name(inner)}, so it would not see what {_name(inner)} refuses; "
                f"put {_name(policy)} before it (the first policy is the outermost)"
            )
        if policy.role in ("admit", "content"):
            inner = inner or policy
    for kind, count in Counter(type(p) for p in policies if p.single).items():
        if count > 1:
            raise ConfigurationError(
                f"{count} {kind.__name__} policies were given for the same calls; keep one"
            )


def guard(
    *policies: Policy, clock: Clock = SYSTEM_CLOCK
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Attach policies to one node function, the first outermost.

    The function keeps its signature, so LangGraph still injects `config`, `runtime`, `store` and `writer`. Its first
    argument is the state.

    Raises:
        ConfigurationError: The policies cannot stand together, or what is decorated is not a plain function.

    Example:
        ```python
        @guard(Metrics(), RateLimit("10/second"))
        async def agent(state: State) -> dict: ...
        ```
    """
    stack = Stack.at("node", policies, clock)

    def attach(function: Callable[P, R]) -> Callable[P, R]:
        _check_guardable(function, policies)

        def call_of(args: tuple[Any, ...], *, blocking: bool) -> Call:
            state = args[0] if args else None
            return stack.ambient_call(_function_name(function), state, blocking=blocking)

        if _is_async(function):

            @wraps(function)
            async def guarded_async(*args: Any, **kwargs: Any) -> Any:
                async def handler(call: Call) -> Any:
                    with stack.around(call) as config:
                        return await cast(Any, function)(
                            *_first(call.input, args), **_injected(kwargs, config)
                        )

                return await act(stack.wraps("node"), call_of(args, blocking=False), handler)

            return cast(Callable[P, R], guarded_async)

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            async def handler(call: Call) -> Any:
                with stack.around(call) as config:
                    return cast(Any, function)(
                        *_first(call.input, args), **_injected(kwargs, config)
                    )

            return drive(act(stack.wraps("node"), call_of(args, blocking=True), handler))

        return cast(Callable[P, R], guarded)

    return attach


async def as_update(call: Call, reply: Any) -> Any:
    """How a run or node is answered: a text as a message in `messages`, anything else as the update that it is."""
    if not isinstance(reply, str):
        return reply
    return {"messages": replies(call.input if call.kind == "node" else None, reply)}


def _first(state: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (state, *args[1:]) if args else args


def _injected(kwargs: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
    """What LangGraph injected into a function, as it stands in the config."""
    runtime = runtime_in(config)
    if runtime is None or not kwargs:
        return kwargs
    stands = {"config": config, "runtime": runtime}
    stands |= {"writer": runtime.stream_writer, "store": runtime.store}
    return {name: stands.get(name, value) for name, value in kwargs.items()}


def _is_async(function: Callable[..., Any]) -> bool:
    call = type(function).__call__ if not inspect.isroutine(function) else function
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _check_guardable(function: object, policies: Sequence[Policy]) -> None:
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
        if policy.recovers:
            raise ConfigurationError(
                f"{_name(policy)} recovers from errors, which LangGraph does outside of a node, after its retries; "
                "attach it with harden(builder, nodes={name: [...]})"
            )


def _function_name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _may_change(policy: Policy) -> bool:
    return policy.role in (None, "content") and _overrides(policy, "wrap")


def _may_ask(policy: Policy) -> bool:
    """Whether a policy may ask what a call has spent."""
    return policy.role in (None, "admit") and _overrides(policy, "wrap")


def _overrides(policy: Policy, method: str) -> bool:
    return getattr(type(policy), method) is not getattr(Policy, method)


def _name(policy: Policy) -> str:
    return type(policy).__name__
