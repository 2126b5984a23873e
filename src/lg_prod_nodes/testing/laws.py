"""The laws that hold for policies."""

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
    """A policy or a node does what must not be done; says which law, in which way, and what is seen instead."""


@dataclass(frozen=True)
class PolicyLaw:
    """One law, in one way to run a graph: call it with policies, the first one outermost.

    Attributes:
        scene: What is run.
        way: How.
    """

    scene: Scene
    way: Way

    def __call__(self, *policies: Policy) -> None:
        """Check policies around a graph, and around each of its nodes where they can stand there.

        Raises:
            LawBroken: A caller sees something else than without them.
        """
        if self.scene in _OF_ERRORS and any(policy.recovery is not None for policy in policies):
            return  # that is what they are for
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
    """Give each law in each way, as parameters of a test of one's own, with `ids=str`."""
    return tuple(PolicyLaw(scene, way) for scene in _SCENES for way in WAYS)


def check_policy(*policies: Policy) -> None:
    """Check that nothing of what a graph means is changed by policies around it.

    Give them settings under which they let calls pass: a limit that is wide enough, terms that do not occur.

    Args:
        *policies: What to check, as one stack, the first one outermost.

    Raises:
        LawBroken: Lists each law that is broken, and what is seen instead.

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
    """What a caller sees without policies."""
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
