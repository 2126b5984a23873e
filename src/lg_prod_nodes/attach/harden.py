"""`harden`: policies around any graph, without changing its behavior otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, overload

from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.pregel import Pregel
from langgraph.typing import ContextT, InputT, OutputT, StateT

from lg_prod_nodes.attach.names import check_names
from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.clock import SYSTEM_CLOCK, Clock
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.core.policy import Policy
from lg_prod_nodes.policies.capture_errors import CaptureErrors
from lg_prod_nodes.policies.redact import Redact
from lg_prod_nodes.runtime.boundary import hardening_of
from lg_prod_nodes.runtime.graph import hardened, hardened_builder, plain, warn_of_retries
from lg_prod_nodes.runtime.patches import install_once
from lg_prod_nodes.runtime.placement import Hardening, observers_first, validate


@overload
def harden(
    graph: CompiledStateGraph[StateT, ContextT, InputT, OutputT],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]: ...
@overload
def harden(
    graph: StateGraph[StateT, ContextT, InputT, OutputT],
    policies: Sequence[Policy] = ...,
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = ...,
    clock: Clock = ...,
) -> StateGraph[StateT, ContextT, InputT, OutputT]: ...


def harden(
    graph: Any,
    policies: Sequence[Policy] = (),
    *,
    nodes: Mapping[str, Sequence[Policy]] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Any:
    """Attach policies to a graph.

    Args:
        graph: A `StateGraph`, or a compiled graph (`create_agent`, a supervisor, a swarm). It is not changed.
        policies: Policies for the whole graph, the first one outermost. Each acts on the calls that it is made for:
            runs, nodes, models or tools.
        nodes: Additional policies for single nodes, by name, inside those of the graph.
        clock: The clock of the policies.

    Returns:
        A hardened copy: a `StateGraph` to compile, or a compiled graph. The policies apply to subgraphs added as nodes
        too; a subgraph that was hardened already keeps its own policies and gets those it lacks. Hardening twice wraps
        once.

    Raises:
        ConfigurationError: A node name is unknown, the policies conflict, or the graph lacks a state field, node or
            tool that they name.
    """
    if not isinstance(graph, (StateGraph, Pregel)):
        raise ConfigurationError(
            f"harden was given a {type(graph).__name__}; give a StateGraph or a compiled graph, not a function or name"
        )
    _check_nodes(graph, nodes or {})
    for given in (policies, *(nodes or {}).values()):
        validate(given)
    single = {name: observers_first(given) for name, given in (nodes or {}).items()}
    hardening = Hardening(observers_first(policies), single, clock=clock)
    if (existing := hardening_of(graph)) is not None:
        hardening = existing.inside_of(hardening)
    hardening.prepare()
    install_once()
    _check_writes(graph, hardening)
    if isinstance(graph, Pregel):
        warn_of_retries(graph)
        return hardened(plain(graph), hardening)
    return hardened_builder(graph, hardening)


def _check_nodes(graph: Any, names: Mapping[str, Any]) -> None:
    known = sorted(name for name in graph.nodes if not name.startswith("__"))
    if unknown := sorted(set(names) - set(known)):
        advice = did_you_mean(unknown[0], known, "the graph has")
        raise ConfigurationError(f"no node named {', '.join(map(repr, unknown))}; {advice}")


def _check_writes(graph: Any, hardening: Hardening) -> None:
    for policy in (*hardening.own, *(p for given in hardening.nodes.values() for p in given)):
        if missing := sorted(policy.writes - set(graph.channels)):
            raise ConfigurationError(
                f"{type(policy).__name__} writes to {', '.join(missing)}, which the graph's state lacks; add the "
                "field, or give a function that returns an update of the fields it has"
            )
        goes_to = policy.recovery.goes_to if policy.recovery is not None else frozenset[str]()
        if unknown := sorted(goes_to - set(graph.nodes)):
            known = sorted(name for name in graph.nodes if not name.startswith("__"))
            raise ConfigurationError(
                f"{type(policy).__name__} goes to {', '.join(unknown)}, which the graph lacks; "
                f"{did_you_mean(unknown[0], known, 'it has')}"
            )
        if isinstance(policy, Redact):
            check_names(graph, policy)
        if isinstance(policy, CaptureErrors) and policy.state_key is not None:
            _check_holds_lists(policy.state_key, graph.channels[policy.state_key])


_NO_LISTS = (str, bytes, int, float, Mapping, set, frozenset)


def _check_holds_lists(field: str, channel: Any) -> None:
    declared = getattr(channel, "ValueType", Any)
    if get_origin(declared) is Annotated:
        declared = get_args(declared)[0]
    kind: Any = get_origin(declared) or declared
    if isinstance(kind, type) and issubclass(kind, _NO_LISTS):
        raise ConfigurationError(
            f"CaptureErrors(state_key={field!r}) adds a list to a field of type {kind.__name__}; declare the field as "
            f"{field}: Annotated[list[dict], operator.add]"
        )
