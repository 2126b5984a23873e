"""Which policies apply where: in a graph, at single nodes, and from parent graphs."""

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
from lg_prod_nodes.runtime.scope import InnerPolicies, Scope


@dataclass(frozen=True)
class Hardening:
    """The policies of one graph.

    Attributes:
        own: The policies of the whole graph, outermost first.
        nodes: The policies of single nodes, inside the graph's.
        inherited: The policies of a subgraph's parent graphs, outside its own.
        path: The subgraph's path in its parent graphs, such as `"research/"`.
        clock: The clock that policies use.
    """

    own: tuple[Policy, ...] = ()
    nodes: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    inherited: tuple[Policy, ...] = ()
    path: str = ""
    clock: Clock = SYSTEM_CLOCK

    def prepare(self) -> None:
        """Check that the policies can be combined, and let them load what takes time.

        Raises:
            ConfigurationError: The policies cannot be combined.
        """
        for policies in (self.own, *self.nodes.values()):
            Stack.at("graph", policies, self.clock)

    def inside_of(self, outer: Hardening) -> Hardening:
        """Both sets of policies for the same graph; those already present are not added again."""
        nodes = {
            name: _joined(outer.nodes.get(name, ()), self.nodes.get(name, ()))
            for name in {**self.nodes, **outer.nodes}
        }
        own = observers_first(_joined(outer.own, self.own))
        return dataclasses.replace(self, own=own, nodes=nodes, clock=outer.clock)

    def as_subgraph(self, outer: Hardening, name: str) -> Hardening:
        """This graph's policies when it is a node of another: its own, plus those that it lacks."""
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
        """The stack at a node; the user's error handlers are always admitted."""
        placed = self._placed(name)
        if is_error_handler:
            placed = [(policy, kinds) for policy, kinds in placed if policy.role != "admit"]
        return Stack(placed, self.clock)

    def recovery(self, name: str) -> Stack:
        """The stack around a policy's recovery of a node; what it writes is filtered like any content."""
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
        """Whether this graph has policies of its own, which see its runs."""
        return bool(self.own or self.nodes)

    def recoverers(self, name: str) -> tuple[Policy, ...]:
        """The policies that recover once a node has finally failed, innermost first."""
        candidates = reversed(self.inherited + self.own + self.nodes.get(name, ()))
        return tuple(policy for policy in candidates if policy.recovery is not None)


def _joined(outer: tuple[Policy, ...], inner: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(policy for policy in outer if policy not in inner) + inner


def observers_first(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """The policies with observers outermost, so that these see what the others refuse."""
    return tuple(sorted(policies, key=lambda policy: policy.role != "observe"))


class Stack:
    """Ordered policies, sorted by the kind of call that they wrap at one site of a graph.

    Attributes:
        placed: The policies, each with the kinds of calls that it wraps here.
        clock: The clock that they use.
        observers: The policies that listen to events.
        inner: The policies around what a node calls.
    """

    def __init__(
        self, placed: Iterable[tuple[Policy, frozenset[Kind]]], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.placed = tuple(placed)
        self.clock = clock
        self._wraps: dict[tuple[Kind, Role | None], tuple[Wrap, ...]] = {}
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
        """The stack of the policies attached to a site, observers outermost.

        Raises:
            ConfigurationError: The policies cannot be combined, see `validate`.
        """
        validate(policies)
        for policy in policies:
            for resource in policy.resources:
                resource.open()
        return cls(((p, p.kinds_at(site)) for p in observers_first(policies)), clock)

    def __repr__(self) -> str:
        return " > ".join(repr(policy) for policy, _ in self.placed)

    def wraps(self, kind: Kind, *, role: Role | None = None) -> tuple[Wrap, ...]:
        """The policies' `wrap` methods for a kind of call, outermost first; only those of the role, if given."""
        if (found := self._wraps.get((kind, role))) is None:
            found = self._wraps[kind, role] = tuple(
                wrap_of(p)
                for p, kinds in self.placed
                if kind in kinds and role in (None, p.role) and _overrides(p, "wrap")
            )
        return found

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
        """The call of the running node, taken from the ambient config."""
        config = ambient_config()
        path = node_path(config.get("metadata") or {}) or name
        return self.node_call(name, path, state, config, ambient_runtime(), blocking=blocking)

    @contextmanager
    def around(self, call: Call) -> Generator[RunnableConfig]:
        """Put the policies around what a function calls and emits, through the ambient config."""
        with Scope(call, self.inner, call.config) as config:
            if self.inner.model and run_of(call.runtime) is None:  # no boundary watches the run
                with watching(call.replace(config=config or call.config)) as watched:
                    yield watched
            else:
                yield config or call.config


def validate(policies: Sequence[Policy]) -> None:
    """Check that the policies, outermost first, can be combined.

    Raises:
        ConfigurationError: An item is not a policy, or a policy that must be unique occurs twice.
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
