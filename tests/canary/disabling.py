"""Ways to take a guard of the library out, for the length of a test.

Where a guard stands is said by a path, so that a guard that moves makes its test fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from lg_prod_nodes import Redact
from lg_prod_nodes.content import walker
from lg_prod_nodes.content.clean import Trust
from lg_prod_nodes.content.functions import adapted
from lg_prod_nodes.content.walk import rewrite
from lg_prod_nodes.runtime import placement
from lg_prod_nodes.runtime.model_shell import _TokenCallbacks

Patch = pytest.MonkeyPatch
Disable = Callable[[Patch], None]

_HOME = "lg_prod_nodes."


def same(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value


def nothing(*args: Any, **kwargs: Any) -> Any:
    return nullcontext()


def put(path: str, instead: Any) -> Disable:
    """Have something else in a place of the library."""
    return lambda patch: patch.setattr(_HOME + path, instead)


def input_of(kind: str) -> Disable:
    """`Redact` does not clean what such a call is called with."""

    def disable(patch: Patch) -> None:
        native = Redact._cleaned_input

        async def cleaned(self: Any, call: Any, *args: Any) -> Any:
            return call.input if call.kind == kind else await native(self, call, *args)

        patch.setattr(Redact, "_cleaned_input", cleaned)

    return disable


def result_of(kind: str) -> Disable:
    """`Redact` does not clean what such a call gives."""

    def disable(patch: Patch) -> None:
        native = Redact._clean

        async def clean(self: Any, call: Any, replacer: Any, tokens: Any, value: Any) -> Any:
            if call.kind == kind and value is not call.input:
                return value
            return await native(self, call, replacer, tokens, value)

        patch.setattr(Redact, "_clean", clean)

    return disable


def fields_without(name: str) -> Disable:
    def disable(patch: Patch) -> None:
        left = tuple(field for field in walker.MESSAGE_FIELDS if field != name)
        patch.setattr(walker, "MESSAGE_FIELDS", left)

    return disable


class RawWriter:
    """Lets payloads pass as they are."""

    def __init__(self, write: Any, *args: Any) -> None:
        self._write = write

    def __call__(self, payload: Any) -> None:
        self._write(payload)

    def flush(self) -> None:
        """Nothing waits."""


def unreached_graphs(patch: Patch) -> None:
    native = placement.InnerPolicies

    def without(*args: Any, **kwargs: Any) -> Any:
        return native(*args, **{**kwargs, "content": ()})

    patch.setattr(placement, "InnerPolicies", without)


def unreached_subgraphs(patch: Patch) -> None:
    subgraph_as_it_is(patch)
    unreached_graphs(patch)


def raw_payload_pieces(patch: Patch) -> None:
    def whole(self: Any, payload: Any) -> None:
        self._write(rewrite(payload, self._change))

    patch.setattr("lg_prod_nodes.content.payload_stream.PayloadStream.__call__", whole)


def raw_events(patch: Patch) -> None:
    def events(events: Any, graph: Any, input: Any, config: Any, kwargs: Any) -> Any:
        return events(graph, input, config, **kwargs)

    patch.setattr("lg_prod_nodes.runtime.boundary.filtered_events", events)


def patch_by_patch(self: Any, ops: list[Any]) -> list[list[Any]]:
    """Each patch of a log by itself."""
    return [rewrite(ops, self._run.filtered)]


def raw_model_pieces(patch: Patch) -> None:
    patch.setattr(
        "lg_prod_nodes.content.message_stream.MessageStream.feed", lambda self, chunk: [chunk]
    )
    patch.setattr("lg_prod_nodes.content.message_stream.MessageStream.flush", lambda self: [])


def raw_in_a_thread(patch: Patch) -> None:
    native = _TokenCallbacks._filtered

    def filtered(self: Any, manager: Any) -> Any:
        made = native(self, manager)
        vars(made).pop("get_sync", None)
        return made

    patch.setattr(_TokenCallbacks, "_filtered", filtered)


def raw_task(patch: Patch) -> None:
    def guarded(function: Any, given: Any, call: Any) -> Any:
        return function, given

    patch.setattr("lg_prod_nodes.runtime.scope._guarded_task", guarded)


def raw_function(patch: Patch, module: str) -> None:
    def unfiltered(function: Any, call: Any, **adaptions: Any) -> Any:
        adaptions.pop("after", None)
        return adapted(function, **adaptions)

    patch.setattr(f"lg_prod_nodes.{module}.filtered_function", unfiltered)


def trusting_all(patch: Patch) -> None:
    patch.setattr(
        "lg_prod_nodes.content.clean.Trust.holds", lambda self, call, policy: call.kind == "node"
    )


def trusting_early(patch: Patch) -> None:
    """A node's place counts as clean though something was found in its input."""
    native = Trust.note

    def note(self: Any, call: Any, policy: Any, cleaned: Any) -> None:
        native(self, call, policy, call.input)

    patch.setattr(Trust, "note", note)


def trusting_the_past(patch: Patch) -> None:
    """A run from an earlier checkpoint counts as guarded."""
    native = Trust.note

    def note(self: Any, call: Any, policy: Any, cleaned: Any) -> None:
        native(self, call.replace(config={}) if call.kind == "run" else call, policy, cleaned)

    patch.setattr(Trust, "note", note)


def settling_at_once(patch: Patch) -> None:
    patch.setattr(
        "lg_prod_nodes.content.finality.EntityReach.settled", lambda self, text: len(text)
    )


def branch_as_it_is(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.runtime.graph.guarded_branch", lambda branch, *args: branch)


def subgraph_as_it_is(patch: Patch) -> None:
    patch.setattr("lg_prod_nodes.runtime.graph._subgraph", lambda graph, *args: graph)
