"""What a run streams, as server-sent events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from langgraph.errors import GraphDrained
from langgraph.types import StateSnapshot
from pydantic_core import to_json

from lg_prod_nodes.service.web.problems import problem_of


class Sent(NamedTuple):
    """An event.

    Attributes:
        name: The stream mode, with the namespace of a subgraph; or `end`, `error` or `drained`.
        data: Its data, as JSON.
    """

    name: str
    data: str


END = Sent("end", "null")


def event_of(part: Mapping[str, Any]) -> Sent:
    """Return the event for a part of a stream in LangGraph's format v2."""
    data = part["data"]
    if interrupts := part.get("interrupts"):
        data = {**data, "__interrupt__": interrupts} if isinstance(data, Mapping) else data
    return Sent("|".join((part["type"], *part["ns"])), _json(data))


def saved_event(state: StateSnapshot) -> Sent:
    """Return the event for a state that was saved before."""
    return Sent("values", _json(state.values))


def failure_event(error: Exception) -> Sent:
    """Return the event for a run that did not reach its end."""
    name = "drained" if isinstance(error, GraphDrained) else "error"
    return Sent(name, _json(problem_of(error).as_dict()))


def _json(data: Any) -> str:
    return to_json(data, fallback=lambda value: type(value).__name__, inf_nan_mode="null").decode()
