"""Which policies stand where: those of a graph, of single nodes, and of the graphs around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lg_prod_nodes.core.call import SYSTEM_CLOCK, Clock, Kind
from lg_prod_nodes.core.policy import Policy, Stack


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
        own = _observers_first(_joined(outer.own, self.own))
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

    def watches_models(self, name: str) -> bool:
        """Whether a policy of a single node wants to know of the model calls in it."""
        return any("model" in policy.kinds_at("node") for policy in self.nodes.get(name, ()))

    def recoverers(self, name: str) -> tuple[Policy, ...]:
        """The policies that take over when a node has failed for good, the innermost first."""
        candidates = reversed(self.inherited + self.own + self.nodes.get(name, ()))
        return tuple(policy for policy in candidates if policy.recovers)


def _joined(outer: tuple[Policy, ...], inner: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(policy for policy in outer if policy not in inner) + inner


def _observers_first(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(sorted(policies, key=lambda policy: policy.role != "observe"))
