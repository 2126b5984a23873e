"""Which policies stand where: those of a graph, of single nodes, and of the graphs around it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from lg_prod_nodes.content.history import as_update
from lg_prod_nodes.core.call import Call
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.engine import Wrap
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy, Role, Site
from lg_prod_nodes.core.report import Kind, Observer
from lg_prod_nodes.core.run import (
    ambient_config,
    ambient_runtime,
    attempt_of,
    node_path,
    run_for,
    run_of,
)
from lg_prod_nodes.runtime.callbacks import watching
from lg_prod_nodes.runtime.contract import wrap_of
from lg_prod_nodes.runtime.scope import InnerPolicies, scope


@dataclass(frozen=True)
class Hardening:
    """The policies of one graph.

    Attributes:
        own: Those given for the whole graph, the first outermost.
        nodes: Those given for single nodes, inside of the graph's.
        inherited: Those of the graphs around a subgraph, outside of its own.
        path: Where a subgraph stands in the graphs around it, as in `"research/"`.
        clock: Where policies take the time from.
    """

    own: tuple[Policy, ...] = ()
    nodes: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    inherited: tuple[Policy, ...] = ()
    path: str = ""
    clock: Clock = SYSTEM_CLOCK

    def prepare(self) -> None:
        """Check that the policies can stand together, and let them load what takes time.

        Raises:
            ConfigurationError: They cannot.
        """
        for policies in (self.own, *self.nodes.values()):
            Stack.at("graph", policies, self.clock)

    def inside_of(self, outer: Hardening) -> Hardening:
        """Both for the same graph: what is here already is not put around it again."""
        nodes = {
            name: _joined(outer.nodes.get(name, ()), self.nodes.get(name, ()))
            for name in {**self.nodes, **outer.nodes}
        }
        own = observers_first(_joined(outer.own, self.own))
        return dataclasses.replace(self, own=own, nodes=nodes, clock=outer.clock)

    def as_subgraph(self, outer: Hardening, name: str) -> Hardening:
        """This graph's hardening as a node of another: it keeps its own policies and gets those that it lacks."""
        kept = {type(policy) for policy in self.own if policy.single}
        inherited = tuple(
            policy
            for policy in outer.inherited + outer.own
            if policy not in self.own and type(policy) not in kept
        )
        path = f"{outer.path}{name}/"
        return dataclasses.replace(self, inherited=inherited, path=path, clock=outer.clock)

    @cached_property
    def run(self) -> Stack:
        """The stack at the boundary of a run."""
        return Stack.at("graph", self.own, self.clock)

    def node(self, name: str, *, is_error_handler: bool = False) -> Stack:
        """The stack at a node; the user's error handlers are never asked for admission."""
        placed = self._placed(name)
        if is_error_handler:
            placed = [(policy, kinds) for policy, kinds in placed if policy.role != "admit"]
        return Stack(placed, self.clock)

    def recovery(self, name: str) -> Stack:
        """The stack at a policy's recovery of a node: what it writes is content like any other."""
        placed = [(p, kinds) for p, kinds in self._placed(name) if p.role == "content"]
        return Stack(placed, self.clock)

    def _placed(self, name: str) -> list[tuple[Policy, frozenset[Kind]]]:
        graph_wide = self.inherited + self.own
        return [
            *((p, p.kinds_at("graph") - {"run", "update"}) for p in graph_wide),
            *((p, p.kinds_at("node")) for p in self.nodes.get(name, ())),
        ]

    @property
    def guards_runs(self) -> bool:
        """Whether this graph has policies of its own, so that its runs are theirs to see."""
        return bool(self.own or self.nodes)

    def recoverers(self, name: str) -> tuple[Policy, ...]:
        """The policies that take over when a node has failed for good, the innermost first."""
        candidates = reversed(self.inherited + self.own + self.nodes.get(name, ()))
        return tuple(policy for policy in candidates if policy.recovery is not None)


def _joined(outer: tuple[Policy, ...], inner: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(policy for policy in outer if policy not in inner) + inner


def observers_first(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The policies with those that observe outermost, so that they see what the others refuse."""
    return tuple(sorted(policies, key=lambda policy: policy.role != "observe"))


class Stack:
    """Policies in their order, sorted by the kind of call that they wrap at one place of a graph.

    Attributes:
        placed: The policies, with the kinds of calls that each of them wraps here.
        clock: Where they take the time from.
        observers: Those that listen to events.
        inner: Those that stand around what a node calls.
    """

    def __init__(
        self, placed: Iterable[tuple[Policy, frozenset[Kind]]], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.placed = tuple(placed)
        self.clock = clock
        self.observers: tuple[Observer, ...] = tuple(
            p for p, _ in self.placed if _overrides(p, "observe")
        )
        self.inner = InnerPolicies(
            self.wraps("model"),
            self.wraps("tool"),
            self.wraps("tool"),
            changing=sum("model" in kinds and _may_change(p) for p, kinds in self.placed),
            content=tuple(p for p, _ in self.placed if p.role == "content"),
        )

    @classmethod
    def at(cls, site: Site, policies: Sequence[Policy], clock: Clock = SYSTEM_CLOCK) -> Stack:
        """The stack of policies attached to a site, observers outermost.

        Raises:
            ConfigurationError: The policies cannot stand together, see `validate`.
        """
        validate(policies)
        for policy in policies:
            for resource in policy.resources:
                resource.open()
        return cls(((p, p.kinds_at(site)) for p in observers_first(policies)), clock)

    def __repr__(self) -> str:
        return " > ".join(repr(policy) for policy, _ in self.placed)

    def wraps(self, kind: Kind, *, role: Role | None = None) -> tuple[Wrap, ...]:
        """The policies' `wrap` for a kind of call, outermost first; of those in a role alone if it is named."""
        return tuple(
            wrap_of(p)
            for p, kinds in self.placed
            if kind in kinds and role in (None, p.role) and _overrides(p, "wrap")
        )

    def changes(self, kind: Kind) -> bool:
        """Whether a policy may change the result of such a call."""
        return any(kind in kinds and _may_change(p) for p, kinds in self.placed)

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
        return Call.made(
            kind="node",
            name=name,
            input=input,
            run=run_for(config, runtime, self.clock),
            config=config,
            runtime=runtime,
            node=path,
            attempt=attempt_of(runtime),
            blocking=blocking,
            observers=self.observers,
            answer_with=as_update,
        )

    def ambient_call(self, name: str, state: Any, *, blocking: bool) -> Call:
        """The call of the node that is running, whose config is the ambient one."""
        config = ambient_config()
        path = node_path(config.get("metadata") or {}) or name
        return self.node_call(name, path, state, config, ambient_runtime(), blocking=blocking)

    @contextmanager
    def around(self, call: Call) -> Generator[RunnableConfig]:
        """Put the policies around what a function calls and lets out, through the ambient config."""
        with scope(call, self.inner, call.config) as config:
            if self.inner.model and run_of(call.runtime) is None:  # no boundary watches the run
                with watching(call.replace(config=config or call.config)) as watched:
                    yield watched
            else:
                yield config or call.config


def validate(policies: Sequence[Policy]) -> None:
    """Check that policies can stand together, the first outermost.

    Raises:
        ConfigurationError: Something is not a policy, or one stands twice that must be single.
    """
    if isinstance(policies, Policy):
        raise ConfigurationError(
            f"{_name(policies)} was given where a list is expected; give [{_name(policies)}(...)]"
        )
    for policy in policies:
        if isinstance(policy, type):
            name = policy.__name__
            raise ConfigurationError(
                f"the class {name} was given as a policy; give an instance: {name}(...)"
            )
        if not isinstance(policy, Policy):
            raise ConfigurationError(
                f"a {type(policy).__name__} was given as a policy; give instances of Policy, such as "
                "RateLimit('10/second')"
            )
    for kind, count in Counter(type(p) for p in policies if p.single).items():
        if count > 1:
            raise ConfigurationError(
                f"{count} {kind.__name__} policies were given for the same calls; keep one"
            )


def _may_change(policy: Policy) -> bool:
    return policy.role in (None, "content") and _overrides(policy, "wrap")


def _overrides(policy: Policy, method: str) -> bool:
    return getattr(type(policy), method) is not getattr(Policy, method)


def _name(policy: Policy) -> str:
    return type(policy).__name__
