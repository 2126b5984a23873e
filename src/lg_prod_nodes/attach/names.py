"""Checks the names of fields, tools and nodes in a policy's settings against a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from lg_prod_nodes.core.advice import did_you_mean
from lg_prod_nodes.core.errors import ConfigurationError
from lg_prod_nodes.policies.redact import Redact


def check_names(graph: Any, policy: Redact) -> None:
    """Refuse names that the graph lacks.

    All fields are known. Tools are known where a node lists them; another tool may still be called, so only a name
    that looks like a misspelled one is refused.

    Raises:
        ConfigurationError: A field is unknown, or a tool or node is misspelled.
    """
    graphs = list(_graphs(graph))
    fields = {name for each in graphs for name in _channels(each) if not name.startswith("__")}
    if all(isinstance(each, StateGraph | CompiledStateGraph) for each in graphs):
        for name in sorted(policy.fields - fields):
            raise ConfigurationError(
                f"Redact names the field {name!r}, which the graph's state lacks (a key anywhere else is "
                f"At({name!r})); {did_you_mean(name, sorted(fields), 'it has')}"
            )
    tools = {name for each in graphs for node in _runnables(each) for name in _tools(node)}
    nodes = {name for each in graphs for name in each.nodes if not name.startswith("__")}
    _check_spelling("tool", policy.tools, tools)
    _check_spelling("tool or node", policy.reveal_to, tools | nodes)


def _check_spelling(what: str, given: Iterable[str], known: set[str]) -> None:
    for name in sorted(set(given) - known):
        if close := get_close_matches(name, sorted(known), n=1, cutoff=0.8):
            raise ConfigurationError(
                f"Redact names the {what} {name!r}, which the graph lacks; did you mean {close[0]!r}?"
            )


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph, and those that are its nodes."""
    yield graph
    for node in _runnables(graph):
        if isinstance(node, Pregel):
            yield from _graphs(node)


def _channels(graph: Any) -> Iterable[str]:
    channels: Iterable[str] = getattr(
        graph, "builder", graph
    ).channels  # a compiled graph adds its edges'
    return channels


def _runnables(graph: Any) -> Iterator[Any]:
    for node in graph.nodes.values():
        yield getattr(node, "runnable", None) or getattr(node, "bound", None)


def _tools(node: Any) -> Iterable[str]:
    tools = getattr(node, "tools_by_name", None)
    return tools if isinstance(tools, dict) else ()
