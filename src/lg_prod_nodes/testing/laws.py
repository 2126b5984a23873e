"""The laws that policies must obey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from lg_prod_nodes.attach.harden import harden
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.testing import scenes
from lg_prod_nodes.testing.ways import WAYS, Runner, Way

Scene = Callable[[Runner, scenes.Compile], Any]

_SCENES: tuple[Scene, ...] = (
    scenes.result,
    scenes.interrupts,
    scenes.commands,
    scenes.sends,
    scenes.errors,
    scenes.retries,
    scenes.handlers,
    scenes.draining,
    scenes.cancellations,
    scenes.stopping,
    scenes.models,
    scenes.tools,
)
_OF_ERRORS = (scenes.errors,)


class LawBroken(AssertionError):
    """Raised if a policy or node breaks a law; names the law, the way the graph ran, and what was seen instead."""


@dataclass(frozen=True)
class PolicyLaw:
    """A law, checked in one way to run a graph: call it with policies, the first one outermost.

    Attributes:
        scene: The graph to run.
        way: The way to run it.
    """

    scene: Scene
    way: Way

    def __call__(self, *policies: Policy) -> None:
        """Check policies around a graph, and around each of its nodes if they support that.

        Raises:
            LawBroken: The caller sees a difference to the run without policies.
        """
        if self.scene in _OF_ERRORS and any(policy.recovery is not None for policy in policies):
            return  # that is their purpose
        bare = _bare(self.scene, self.way)
        for attach in (_around_graph, _around_nodes):
            seen = self.scene(Runner(self.way), partial(attach, policies))
            if seen != bare:
                raise LawBroken(self._report(policies, bare, seen))

    def _report(self, policies: Sequence[Policy], bare: Any, seen: Any) -> str:
        names = ", ".join(type(policy).__name__ for policy in policies)
        law = (self.scene.__doc__ or "").strip()
        return f"{names} in {self.way} breaks the law: {law}\n  without: {bare}\n  with:    {seen}"

    def __str__(self) -> str:
        return f"{self.scene.__name__}-{self.way}"


def policy_laws() -> tuple[PolicyLaw, ...]:
    """Return every law in every way, to parametrize a test of your own with `ids=str`."""
    return tuple(PolicyLaw(scene, way) for scene in _SCENES for way in WAYS)


def check_policy(*policies: Policy) -> None:
    """Check that policies do not change the behavior of a graph.

    Configure them so that calls pass: a limit that is not reached, terms that do not occur.

    Args:
        *policies: The policies to check, as one stack, the first one outermost.

    Raises:
        LawBroken: Lists each broken law, and what was seen instead.

    Example:
        ```python
        check_policy(Tracing(), RateLimit("1000/second"), MyPolicy())
        ```
    """
    broken: list[str] = []
    for law in policy_laws():
        try:
            law(*policies)
        except LawBroken as error:
            broken.append(str(error))
    if broken:
        raise LawBroken("\n".join(broken))


@cache
def _bare(scene: Scene, way: Way) -> Any:
    """Return what a caller sees without policies."""
    return scene(Runner(way), lambda builder, *args: builder.compile(*args))


def _around_graph(policies: Sequence[Policy], builder: Any, *args: Any) -> Any:
    return harden(builder, policies).compile(*args)


def _around_nodes(policies: Sequence[Policy], builder: Any, *args: Any) -> Any:
    able = [policy for policy in policies if _can_stand_at_nodes(policy)]
    names = [name for name in builder.nodes if not name.startswith("__")]
    return harden(builder, nodes=dict.fromkeys(names, able)).compile(*args)


def _can_stand_at_nodes(policy: Policy) -> bool:
    try:
        return bool(policy.kinds_at("node"))
    except ConfigurationError:
        return False
